"""Does `driftline dashboards push` leave exactly our things in a Grafana, and say clearly why it could not?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dashboards.grafana import push as pushing
from dashboards.grafana.files import dashboard_json
from driftline.cli import main
from tests.support.grafana import Answer, FakeGrafana, serving
from tests.support.services import free_port

TOKEN = "glsa_not-to-be-shown"
PASSWORD = "pw-not-to-be-shown"
DATABASE = f"postgresql://reader:{PASSWORD}@db.example:5433/ml?sslmode=disable"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment of this machine counts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("GRAFANA_URL", "GRAFANA_TOKEN", "GRAFANA_DATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def grafana() -> FakeGrafana:
    return FakeGrafana(TOKEN)


@pytest.fixture
def address(grafana: FakeGrafana) -> Iterator[str]:
    with serving(grafana) as address:
        yield address


def push(address: str, *arguments: str, token: str = TOKEN) -> Result:
    done = CliRunner().invoke(main, ["dashboards", "push", "--url", address, *arguments], env={"GRAFANA_TOKEN": token})
    assert TOKEN not in done.output + done.stderr
    assert PASSWORD not in done.output + done.stderr
    return done


def test_what_is_exported_is_pushed_into_a_folder_of_its_own_and_again_over_itself(
    grafana: FakeGrafana, address: str
) -> None:
    first, second = push(address, "--json"), push(address, "--json")

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + first.stderr
    assert grafana.folders == {"driftline": {"uid": "driftline", "title": "Driftline"}}
    (pushed,) = grafana.dashboards.values()
    assert pushed["dashboard"] == json.loads(dashboard_json())
    assert (pushed["folderUid"], pushed["overwrite"]) == ("driftline", True)
    assert json.loads(first.stdout) == {
        "url": f"{address}/d/driftline-overview/driftline-overview",
        "grafana": "11.6.0",
        "folder_created": True,
        "data_source": "driftline",
        "data_source_missing": True,
    }
    assert json.loads(second.stdout)["folder_created"] is False
    assert grafana.data_sources == {}


def test_the_data_source_is_made_when_asked_for_and_changed_the_next_time(grafana: FakeGrafana, address: str) -> None:
    assert push(address, "--database", DATABASE).exit_code == 0
    assert push(address, "--database", DATABASE.replace("5433", "5434")).exit_code == 0

    (source,) = grafana.data_sources.values()
    assert (source["uid"], source["type"], source["url"]) == (
        "driftline",
        "grafana-postgresql-datasource",
        "db.example:5434",
    )
    assert (source["user"], source["jsonData"]["database"], source["jsonData"]["sslmode"]) == (
        "reader",
        "ml",
        "disable",
    )
    assert source["secureJsonData"] == {"password": PASSWORD}
    assert "no data source" not in push(address).output


def test_another_data_source_and_another_path_are_taken_as_they_are(grafana: FakeGrafana) -> None:
    below = FakeGrafana(TOKEN, "/tools/grafana")
    below.data_sources["warehouse"] = {}
    with serving(below) as address:
        done = push(f"{address}/tools/grafana", "--data-source", "warehouse")

    assert done.exit_code == 0, done.stderr
    assert f"{address}/tools/grafana/d/driftline-overview" in done.output
    (pushed,) = below.dashboards.values()
    (chosen,) = (of for of in pushed["dashboard"]["templating"]["list"] if of["type"] == "datasource")
    assert chosen["current"]["value"] == "warehouse"


PAGE = "<html>Welcome to something else</html>"


@pytest.mark.parametrize(
    ("answer", "exit_code", "told"),
    [
        (Answer(401, {"message": "Invalid API key"}), 2, "answers 401, Invalid API key; the token is not valid"),
        (Answer(403, {"message": "no permission"}), 2, "answers 403, no permission; the token's role"),
        (Answer(404, {"message": "Not found"}), 2, "is this Grafana's address"),
        (Answer(404, PAGE), 2, "is this Grafana's address"),
        (Answer(400, {"message": "Cannot save provisioned dashboard"}), 2, "Cannot save provisioned dashboard"),
        (Answer(200, PAGE), 2, "answers, but not as Grafana does"),
        (Answer(200, []), 2, "answers, but not as Grafana does"),
        (Answer(200, {}), 2, "answers, but not as Grafana does"),
        (Answer(302, "", {"Location": "http://127.0.0.1:9/login"}), 2, "answers with a redirect"),
        (Answer(429, {"message": "slow down"}), 4, "answers 429, slow down"),
        (Answer(503, PAGE), 4, "answers 503; wait or repair it"),
        (Answer(200, {}, after_s=1.5), 4, "does not answer in time"),
    ],
)
def test_what_grafana_refuses_is_one_line_with_the_right_exit_code(
    grafana: FakeGrafana,
    address: str,
    answer: Answer,
    exit_code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pushing, "TIMEOUT_S", 0.5)
    grafana.answer_all = answer

    done = push(address)

    assert (done.exit_code, len(done.stderr.splitlines())) == (exit_code, 1), done.stderr
    assert done.stderr.startswith(f"driftline: error: grafana at {address}/: ")
    assert told in done.stderr
    assert len(grafana.requests) == 1  # refused once, nothing else is tried


def test_a_wrong_token_is_refused_before_anything_is_made(grafana: FakeGrafana, address: str) -> None:
    assert push(address, "--database", DATABASE, token="another").exit_code == 2
    assert (grafana.folders, grafana.data_sources, grafana.dashboards) == ({}, {}, {})


def test_nobody_at_the_address_is_a_service_that_is_away() -> None:
    done = push(f"http://127.0.0.1:{free_port()}")

    assert (done.exit_code, len(done.stderr.splitlines())) == (4, 1)
    assert "/: can't be reached: Connection refused; check --url and the server" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "grafana.example",
        "ftp://grafana.example",
        "http://",
        "http://host:port",
        f"http://admin:{PASSWORD}@127.0.0.1:3000",
        "https://127.0.0.1:3000/?verify=false",
    ],
)
def test_what_is_no_plain_address_is_refused_without_a_request(url: str) -> None:
    done = push(url)

    assert done.exit_code == 2
    assert "--url: is no plain address" in done.stderr


def test_a_wrong_database_url_is_refused_without_showing_it(grafana: FakeGrafana, address: str) -> None:
    for wrong in (
        f"{PASSWORD}",
        f"postgresql://reader:{PASSWORD}@db.example/ml?no_such={PASSWORD}",
        "postgresql://h/d",
    ):
        assert push(address, "--database", wrong).exit_code == 2
    assert push(address, "--database", DATABASE, "--data-source", "other").exit_code == 2
    assert grafana.requests == []


def test_the_token_is_not_in_what_python_shows_of_the_target() -> None:
    assert TOKEN not in repr(pushing.Target("http://h", TOKEN))


def test_without_a_token_it_says_which_variable_is_missing(address: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["dashboards", "push", "--url", address])

    assert done.exit_code == 2
    assert "GRAFANA_TOKEN" in done.stderr
