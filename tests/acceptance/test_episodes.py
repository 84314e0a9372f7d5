"""Can an on-call engineer, with nothing but the command line, see what is open, take it on and silence it?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from driftline.cli import main
from driftline.store.connection import connect
from driftline.store.migrate import migrate
from tests.support.live import rows_of, run_driftline

pytestmark = pytest.mark.postgres

DRIFT, FLOOR, OLD = "3f2a9c1e" + "0" * 24, "3f2b0000" + "0" * 24, "aaaa0000" + "0" * 24
AGE = {"segment": "*", "feature": "age", "detector": "psi", "score": 0.312, "threshold": 0.1}
RECALL = {"segment": "plan=pro", "metric": "recall", "basis": "cohort", "value": 0.61, "floor": 0.75}
EPISODES = [
    (DRIFT, "churn", "drift", "warning", [AGE] * 5, "2024-05-01T12:00Z", None),
    (FLOOR, "churn", "performance", "critical", [RECALL], "2024-05-01T11:00Z", None),
    (OLD, "fraud", "drift", "critical", [AGE], "2024-04-01T00:00Z", "2024-04-02T00:00Z"),
]


@dataclass
class Desk:
    """A configuration, and the store that it names."""

    config: Path
    url: str

    def episodes(self, *arguments: str) -> Result:
        """Run the command line in this process: a process for each costs a second."""
        return CliRunner().invoke(main, ["episodes", *arguments, "--config", str(self.config)])

    def done(self, *arguments: str) -> str:
        result = self.episodes(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        told = json.loads(self.done("list", "--json", *arguments).splitlines()[-1])
        assert told["n"] == len(told["episodes"])
        return list(told["episodes"])

    def audit(self) -> list[tuple[Any, ...]]:
        query = "select actor, action, subject, detail from driftline.audit order by audit_id"
        return rows_of(self.url, query)

    def do(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)


async def _migrate(url: str) -> None:
    async with await connect(url) as connection:
        await migrate(connection)


@pytest.fixture
def empty(tmp_path: Path, postgres_url: str) -> Desk:
    asyncio.run(_migrate(postgres_url))
    models = {name: {"task": "binary", "reference": {"first_events": 10}} for name in ("churn", "fraud")}
    config = tmp_path / "monitor.yaml"
    config.write_text(json.dumps({"postgres": {"url": postgres_url}, "models": models}))
    return Desk(config, postgres_url)


@pytest.fixture
def desk(empty: Desk) -> Desk:
    for name in ("churn", "fraud"):
        empty.do("insert into driftline.model (name, settings) values (%s, '{}')", name)
    for episode_id, model, kind, severity, causes, opened, closed in EPISODES:
        closed_as = "recovered" if closed else None
        empty.do(
            "insert into driftline.episode"
            " (episode_id, model_id, version, kind, severity, causes, opened_at, closed_at, closed_as)"
            " select %s, model_id, '7', %s, %s, %s, %s, %s, %s from driftline.model where name = %s",
            *(episode_id, kind, severity, json.dumps(causes), opened, closed, closed_as, model),
        )
    empty.do("insert into driftline.evaluation (model_id, closed_through) values (1, '2024-05-02T00:00Z')")
    return empty


def test_what_is_open_is_told_in_words_the_worst_first_and_what_is_closed_on_demand(desk: Desk) -> None:
    desk.do(
        "insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at)"
        " values ('r', %s, 'churn', '7', 'running', now())",
        DRIFT,
    )

    listed = run_driftline("episodes", "list", "--config", str(desk.config))

    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines() == [
        "3f2b0000  critical  performance of churn 7, since 2024-05-01T11:00Z",
        "          recall of plan=pro (cohort 0.61, floor 0.75)",
        "          nobody acknowledged it",
        "",
        "3f2a9c1e  warning   drift of churn 7, since 2024-05-01T12:00Z",
        *["          age (psi 0.31, drift from 0.1)"] * 3,
        "          and 2 more",
        "          nobody acknowledged it; retraining running",
        "",
        "`driftline episodes ack 3f2b0000` says that you look after it.",
    ]
    assert [episode["episode_id"] for episode in desk.listed("--all")] == [FLOOR, DRIFT, OLD]
    [closed] = desk.listed("--all", "--model", "fraud")
    assert (closed["closed_as"], closed["closed_at"]) == ("recovered", "2024-04-02T00:00Z")


def test_an_episode_is_acknowledged_once_and_the_first_one_stays(desk: Desk) -> None:
    first = desk.done("ack", "3F2A9C1E", "--by", "ann", "--note", "a new campaign")
    again = desk.done("ack", "3f2a-9c", "--by", "bob")

    assert first == "3f2a9c1e, drift of churn 7, is acknowledged by ann\n"
    assert again == "3f2a9c1e, drift of churn 7, is already acknowledged by ann\n"
    assert desk.audit() == [("ann", "acknowledge_episode", DRIFT, {"note": "a new campaign"})]
    assert rows_of(desk.url, "select acknowledged_by from driftline.v_episodes where acknowledged_by is not null") == [
        ("ann",)
    ]


def test_a_snooze_lasts_as_long_as_was_said_and_can_be_ended(desk: Desk) -> None:
    told = json.loads(desk.done("snooze", "3f2b", "--for", "6h", "--by", "ann", "--json"))

    assert told["changed"] is True
    assert told["episode"]["episode_id"] == FLOOR
    seconds = (
        "select extract(epoch from snoozed_until - now())::int from driftline.episode where snoozed_until is not null"
    )
    [(left,)] = rows_of(desk.url, seconds)
    assert 6 * 3600 - 300 < left <= 6 * 3600
    assert "snoozed until" in desk.done("list")
    assert desk.done("snooze", FLOOR, "--for", "0s").endswith("alerts again\n")
    assert [(action, detail["for"]) for _, action, _, detail in desk.audit()] == [
        ("snooze_episode", "6h"),
        ("snooze_episode", "0s"),
    ]
    assert "is closed since 2024-04-02T00:00Z: there is nothing to snooze" in desk.done("snooze", "aaaa", "--for", "1h")
    assert len(desk.audit()) == 2


def test_what_a_closed_episode_still_holds_back_can_be_woken_but_not_snoozed(desk: Desk) -> None:
    desk.do("update driftline.episode set snoozed_until = now() + interval '1 hour' where episode_id = %s", OLD)

    snoozed = desk.done("snooze", "aaaa", "--for", "2h")
    woken = desk.done("snooze", "aaaa", "--for", "0s", "--by", "ann")
    again = desk.done("snooze", "aaaa", "--for", "0s")

    assert snoozed.endswith("is closed since 2024-04-02T00:00Z: there is nothing to snooze\n")
    assert woken == "aaaa0000, drift of fraud 7, alerts again\n"
    assert again.endswith("is closed since 2024-04-02T00:00Z: there is nothing to wake\n")
    held_back = "select snoozed_until between now() - interval '5 minutes' and now() from driftline.episode"
    assert rows_of(desk.url, f"{held_back} where snoozed_until is not null") == [(True,)]
    assert desk.audit() == [("ann", "snooze_episode", OLD, {"for": "0s", "note": ""})]


def test_the_outcome_of_a_retraining_is_told_in_words(desk: Desk) -> None:
    desk.do(
        "insert into driftline.retraining (request_id, episode_id, model, version, state, requested_at, outcome)"
        " values ('r', %s, 'churn', '7', 'succeeded', now(), %s)",
        *(DRIFT, '{"version": "8"}'),
    )

    assert "nobody acknowledged it; retraining succeeded: version 8\n" in desk.done("list")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ack", "3f2"), "3f2: 2 episodes begin so: 3f2b0000 (performance of churn 7), 3f2a9c1e (drift of churn 7)"),
        (("ack", "3f2a9c1f"), "3f2a9c1f: no episode begins so; there are 3f2a9c1e (drift of churn 7)"),
        (("ack", "x%"), "x%: no episode begins so; there are 3f2b0000 (performance of churn 7), 3f2a9c1e"),
        (("ack", ""), "ID: no episode begins so; there are 3f2b0000"),
        (("list", "--model", "chrun"), "--model: no model chrun; the configuration has: churn"),
        (("ack", "3f2a", "--by", " "), "--by: nobody is named; say who you are: --by NAME"),
    ],
)
def test_what_can_not_be_meant_is_one_line_that_names_near_ones(
    desk: Desk, arguments: tuple[str, ...], told: str
) -> None:
    result = desk.episodes(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"driftline: error: {told}")
    assert desk.audit() == []


def test_where_nothing_is_open_it_is_told_whether_anything_was_looked_at(empty: Desk) -> None:
    before = empty.done("list")
    empty.do("insert into driftline.model (name, settings) values ('churn', '{}')")
    empty.do("insert into driftline.evaluation (model_id, closed_through) values (1, '2024-05-02T00:00Z')")

    assert "No window was judged yet" in before
    assert empty.done("list") == "There was no episode yet: windows were judged up to 2024-05-02T00:00Z.\n"
    assert empty.listed("--all") == []


def test_a_role_that_may_only_look_and_a_store_that_is_not_there_are_told_with_their_exit_codes(
    desk: Desk, free_port: int
) -> None:
    role = f"looker_{desk.url.rpartition('_')[2]}"
    desk.do(f"create role {role} login password 'hunter2'")
    desk.do(f"grant usage on schema driftline to {role}")
    desk.do(f"grant select on all tables in schema driftline to {role}")
    at = desk.url.rpartition("@")[2]
    urls = [f"postgresql://{role}:hunter2@{at}", f"postgresql://x@127.0.0.1:{free_port}/ml", None]
    models = {"churn": {"task": "binary", "reference": {"first_events": 10}}}
    try:
        found = []
        for url in urls:
            desk.config.write_text(json.dumps({"models": models} | ({"postgres": {"url": url}} if url else {})))
            result = desk.episodes("ack", "3f2a", "--by", "ann")
            found.append((result.exit_code, result.stderr))
    finally:
        desk.do(f"drop owned by {role}")
        desk.do(f"drop role {role}")

    assert [code for code, _ in found] == [3, 4, 2]
    assert f"{role} may not: permission denied for table episode; grant what docs/operations.md lists" in found[0][1]
    assert "can't connect" in found[1][1]
    assert "has no postgres section" in found[2][1]
    assert all(len(told.splitlines()) == 1 and "hunter2" not in told for _, told in found)
    assert desk.audit() == []
