"""Is the dashboard whole: laid out, explained, over contract views only, and the same every time?"""

import json
from itertools import combinations, product
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from dashboards.grafana import panel_statements
from dashboards.grafana.files import DATA_SOURCE_VARIABLES, dashboard_json, provisioning
from driftline.cli import main

BOARD: dict[str, Any] = json.loads(dashboard_json())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
COLUMNS = 24


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """The squares of the grid that a panel covers."""
    at = panel["gridPos"]
    return set(product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))


def test_panels_fill_the_grid_without_overlap_or_hole() -> None:
    for one, other in combinations(BOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    covered = set().union(*map(cells, BOARD["panels"]))
    height = 1 + max(y for _, y in covered)
    assert covered == set(product(range(COLUMNS), range(height)))


def test_every_panel_explains_itself_and_says_what_nothing_means() -> None:
    for panel in PANELS:
        title, defaults = panel["title"], panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), title
        assert len(panel["description"]) <= 120, title
        assert defaults["noValue"], title
        assert defaults["unit"], title
        assert defaults["thresholds"]["steps"][0]["value"] is None, title
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    assert [panel["id"] for panel in BOARD["panels"]] == list(range(1, 1 + len(BOARD["panels"])))


def test_every_query_goes_to_the_data_source_that_is_chosen() -> None:
    chosen = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
    queries = [target for panel in PANELS for target in panel["targets"]]
    marks = BOARD["annotations"]["list"]

    assert all(of["datasource"] == chosen for of in [*PANELS, *queries, *marks, *(of["target"] for of in marks)])
    assert {of["type"] for of in BOARD["templating"]["list"]} == {"datasource", "query"}
    assert BOARD["templating"]["list"][0]["current"]["value"] == "driftline"


def test_every_statement_is_shown_somewhere() -> None:
    shown = {target["rawSql"] for panel in PANELS for target in panel["targets"]}
    shown |= {of["target"]["rawSql"] for of in BOARD["annotations"]["list"]}
    shown |= {of["query"] for of in BOARD["templating"]["list"]}

    assert sorted(name for name, sql in panel_statements().items() if sql not in shown) == []


def test_an_export_has_the_same_bytes_every_time_and_a_uid_of_its_own(tmp_path: Path) -> None:
    run = CliRunner().invoke
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        assert run(main, ["dashboards", "export", "--out", str(folder)]).exit_code == 0
    printed = run(main, ["dashboards", "export", "--out", "-"])

    files = {str(path): text for path, text in provisioning().items()}
    for folder in (first, second):
        found = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}
        assert found == files
    assert printed.stdout == files["dashboards/driftline-overview.json"]
    assert json.loads(printed.stdout)["uid"] == "driftline-overview"


def test_provisioning_takes_every_address_and_secret_from_the_environment() -> None:
    files = {path.as_posix(): text for path, text in provisioning().items()}
    (source,) = yaml.safe_load(files["datasources/driftline.yaml"])["datasources"]
    (provider,) = yaml.safe_load(files["dashboards/driftline.yaml"])["providers"]

    named = {value for part in (source, source["jsonData"], source["secureJsonData"]) for value in part.values()
             if isinstance(value, str) and "$" in value}  # fmt: skip
    assert named == {f"${{{name}}}" for name in DATA_SOURCE_VARIABLES}
    assert source["uid"] == "driftline"
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    assert not any("datasources" in str(path) for path in provisioning("their-own"))


def test_a_folder_that_may_not_be_written_is_an_argument_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(main, ["dashboards", "export", "--out", str(tmp_path / "file")])

    assert done.exit_code == 2
    assert "can't be written" in done.stderr
