"""Does a worker get every event into Postgres once, whatever that says, and close windows neither early nor never?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from driftline.errors import StateError
from driftline.settings import PostgresSettings
from driftline.store.connection import Connection, open_pool, timestamp
from streams.closing.evaluate import Progress, evaluate
from streams.monitored import MonitoredModel, Profiles
from tests.support.desk import CLOSED, TOPIC, Desk, a_desk
from tests.support.pipelines import START_MS, json_bytes, prediction

pytestmark = pytest.mark.postgres

POISON = 0.125
"""The score of an event that Postgres is told to refuse."""

SECOND = 1_000


@pytest.fixture
async def desk(connection: Connection, postgres_url: str) -> AsyncIterator[Desk]:
    async with a_desk(connection, postgres_url, 1) as made:
        yield made


def events(first: int, n: int, poisoned: Iterable[int] = ()) -> list[dict[str, Any]]:
    return [
        prediction(f"p{row}", row * 10, score=POISON if row in poisoned else 0.75) for row in range(first, first + n)
    ]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("23514", id="a value that breaks a rule"),
        pytest.param("22003", id="a number out of range"),
        pytest.param("54000", id="a row that is too large"),
        pytest.param("XX000", id="a request for too much memory"),
    ],
)
async def test_a_record_that_postgres_refuses_is_a_dead_letter_and_all_others_count(
    desk: Desk, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.committing.fetches.BACK_OFF_S", (0.01,))
    desk.do(f"""
        create function refuse() returns trigger language plpgsql as $$
        begin raise exception 'can not be stored' using errcode = '{code}'; end $$;
        create trigger refuse before insert on driftline.prediction
            for each row when (new.score = {POISON}) execute function refuse()""")

    assert await desk.read(0, *events(0, 40, poisoned=[3, 4, 39])) is None
    assert await desk.read(40, *events(40, 10)) is None

    assert [(offset, reason, model) for offset, reason, model, _ in desk.dead()] == [
        (offset, "refused_by_store", None) for offset in (3, 4, 39)
    ]
    assert [bytes(payload) for *_, payload in desk.dead()] == [
        json_bytes({"model": "m"} | event) for event in events(0, 40, [3, 4, 39]) if event["score"] == POISON
    ]
    assert desk.counted() == {"prediction": 47, "dead_refused_by_store": 3}
    assert desk.position() == 50


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("alter table driftline.prediction rename to elsewhere", "UndefinedTable"),
        ("alter table driftline.dead_letter rename column reason to elsewhere", "UndefinedColumn"),
        ("alter schema driftline rename to elsewhere", "InvalidSchemaName|UndefinedTable|UndefinedFunction"),
    ],
)
async def test_where_postgres_refuses_us_no_event_is_blamed(desk: Desk, harm: str, told: str) -> None:
    await desk.read(0, *events(0, 5))
    desk.do(harm)

    with pytest.raises(StateError, match=f"postgres refuses: ({told}): ") as caught:
        await desk.read(5, {"prediction_id": "no model's"} | events(5, 1)[0], {"score": "not even an event"})

    assert caught.value.exit_code == 3
    schema = "elsewhere" if "schema" in harm else "driftline"
    assert desk.rows(f"select next::int from {schema}.stream_offset") == [(5,)]
    assert desk.rows(f"select from {schema}.dead_letter") == []


async def test_a_right_taken_away_while_working_ends_the_worker(
    connection: Connection, postgres_url: str, desk: Desk
) -> None:
    await desk.read(0, *events(0, 5))
    # The test's own user may do anything, so the worker acts as a role that may not.
    name = f"limited_{urlsplit(postgres_url).path.rpartition('_')[2]}"
    role = sql.Identifier(name)
    await connection.execute(sql.SQL("create role {}").format(role))
    try:
        await connection.execute(sql.SQL("grant usage on schema driftline to {}").format(role))
        for grant in ("select, insert, update, delete on all tables", "execute on all functions"):
            await connection.execute(sql.SQL("grant {} in schema driftline to {}").format(sql.SQL(grant), role))
        await connection.execute(sql.SQL("revoke insert on driftline.pane from {}").format(role))
        url = f"{postgres_url}?options=-c%20role%3D{name}"
        async with open_pool(url, PostgresSettings(url=url)) as pool:
            limited = Desk(replace(desk.parts, pool=pool), desk.made, postgres_url)
            with pytest.raises(StateError, match="InsufficientPrivilege: permission denied for table pane"):
                await limited.read(5, *events(5, 5))
        assert desk.position() == 5
        assert desk.dead() == []
    finally:
        await connection.execute(sql.SQL("drop owned by {}").format(role))
        await connection.execute(sql.SQL("drop role {}").format(role))


async def test_a_fetch_waits_for_postgres_and_is_committed_once_when_it_is_back(
    desk: Desk, connection: Connection, postgres_server_url: str
) -> None:
    name = sql.Identifier(urlsplit(desk.url).path[1:])
    await desk.read(0, *events(0, 5))
    with psycopg.connect(postgres_server_url, autocommit=True, row_factory=tuple_row) as server:
        server.execute(sql.SQL("alter database {} allow_connections false").format(name))
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name._obj[0]])
        reading = asyncio.create_task(desk.read(5, *events(5, 5)))
        await asyncio.sleep(2)
        assert not reading.done()
        server.execute(sql.SQL("alter database {} allow_connections true").format(name))

    assert await asyncio.wait_for(reading, 60) is None

    assert desk.counted() == {"prediction": 10}
    assert desk.position() == 10


async def test_a_worker_that_is_stopped_while_postgres_is_away_gives_up_its_fetch(
    desk: Desk, postgres_server_url: str
) -> None:
    name = sql.Identifier(urlsplit(desk.url).path[1:])
    with psycopg.connect(postgres_server_url, autocommit=True, row_factory=tuple_row) as server:
        server.execute(sql.SQL("alter database {} allow_connections false").format(name))
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name._obj[0]])
        reading = asyncio.create_task(desk.read(0, *events(0, 5)))
        await asyncio.sleep(0.5)
        desk.worker.stopping.set()
        assert await asyncio.wait_for(reading, 60) == 0
        server.execute(sql.SQL("alter database {} allow_connections true").format(name))

    assert desk.position() == 0


async def test_events_of_a_log_without_times_are_not_in_the_future(desk: Desk) -> None:
    await desk.read(0, *events(0, 5), record_ms=-1)

    assert desk.counted() == {"prediction": 5}


async def test_a_fetch_that_was_read_from_another_place_writes_nothing_and_says_where_to_go_on(desk: Desk) -> None:
    await desk.read(0, *events(0, 10))

    assert await desk.read(0, *events(0, 10)) == 10  # an heir read on
    assert await desk.read(15, *events(15, 5)) == 10  # an earlier fetch is missing

    assert desk.counted() == {"prediction": 10}
    assert desk.position() == 10


async def test_a_partition_that_nobody_registered_any_more_ends_the_worker(desk: Desk) -> None:
    await desk.read(0, *events(0, 10))
    desk.do("delete from driftline.stream_offset")

    with pytest.raises(StateError, match="predictions, partition 0: has no position in postgres any more"):
        await desk.read(10, *events(10, 10))

    assert desk.dead() == []


async def test_a_model_whose_windows_can_not_be_closed_holds_up_no_other(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(connection, postgres_url, 1, windows={"out_of_orderness": "0s"}) as good:
        await good.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
        broken = replace(good.made.model, name="broken", model_id=2)
        models = {"broken": broken, "m": good.made.model}
        topics = dict.fromkeys(models, (TOPIC,))
        pipeline = replace(good.parts.pipeline, models=models)
        both = Desk(replace(good.parts, pipeline=pipeline, topics=topics), good.made, postgres_url)

        async def fail_for_one(
            connection: Connection, profiles: Profiles, model: MonitoredModel, watermark_ms: int
        ) -> Progress:
            if model.name == "broken":
                raise OverflowError("what nobody foresaw")
            return await evaluate(connection, profiles, model, watermark_ms)

        await connection.execute(
            "insert into driftline.pane (model_id, version, segment, pane_start, late, profile_id, n, vector)"
            " values (2, 0, -1, %s, false, 0, 1, '')",
            [timestamp(START_MS)],
        )
        monkeypatch.setattr("streams.worker.evaluate", fail_for_one)
        with pytest.raises(RuntimeError, match=r"^broken: OverflowError: what nobody foresaw$"):
            await both.worker.close_windows()

        assert good.rows(CLOSED) == [(START_MS + 60 * SECOND,)]


async def test_a_tick_over_many_models_with_nothing_to_do_asks_as_little_as_over_one(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(connection, postgres_url, 1, windows={"out_of_orderness": "0s"}) as one:
        await one.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
        idle = {f"m{number}": replace(one.made.model, name=f"m{number}", model_id=number) for number in range(2, 200)}
        models = {"m": one.made.model, **idle}
        pipeline = replace(one.parts.pipeline, models=models)
        topics = dict.fromkeys(models, (TOPIC,))
        many = Desk(replace(one.parts, pipeline=pipeline, topics=topics), one.made, postgres_url)
        await many.worker.close_windows()
        assert one.rows(CLOSED) == [(START_MS + 60 * SECOND,)]
        asked = []
        execute = Connection.execute

        async def listen(self: Connection, query: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(query)
            return await execute(self, query, *args, **kwargs)

        monkeypatch.setattr(Connection, "execute", listen)
        await many.worker.close_windows()
        assert len([query for query in asked if query]) <= 3, asked  # the pool's own sign of life is an empty query


def drifting(number: int, shift: float) -> list[dict[str, Any]]:
    """A minute of predictions as in the reference, but for `x`, which may be shifted."""
    spread = [(row * 77 % 200 / 200, "ab"[row % 2]) for row in range(200)]
    return [
        prediction(
            f"{number}-{row}", (number * 200 + row) * 300, row % 2, features={"x": x + shift, "c": c}, score=x + 1 / 400
        )
        for row, (x, c) in enumerate(spread)
    ]


async def test_what_a_worker_finds_is_in_its_log_once_it_is_committed(
    connection: Connection, postgres_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "driftline.worker")
    model = {
        "labels": None,
        "performance": None,
        "drift": {"detectors": ["psi"]},
        "windows": {"out_of_orderness": "0s"},
    }
    async with a_desk(connection, postgres_url, 1, **model) as desk:
        for number in range(12):
            await desk.read(number * 200, *drifting(number, shift=0.5 if 3 <= number < 8 else 0.0))

        async def fail(*_: object) -> None:
            raise OverflowError("nothing is committed")

        with monkeypatch.context() as broken:
            broken.setattr("streams.closing.evaluate._Evaluation._write_cohorts", fail)
            with pytest.raises(RuntimeError, match="nothing is committed"):
                await desk.worker.close_windows()
        before = list(caplog.messages)
        await desk.worker.close_windows()

    [(episode_id,)] = desk.rows("select episode_id from driftline.v_episodes")
    who = f"m v1: drift episode {episode_id.hex[:8]}"
    assert before == []
    assert [re.sub(r"\(psi .*", "(psi …)", line) for line in caplog.messages] == [
        f"{who} opened, critical: x (psi …)",
        f"{who} asks for a retraining: x (psi …)",
        f"{who} closed, recovered: x (psi …)",
    ]


async def test_a_worker_says_that_it_runs_what_it_reads_and_that_it_stopped(desk: Desk) -> None:
    states = []
    for state, partitions in (("running", [(TOPIC, 0)]), ("stopped", [])):
        await desk.worker.beat(state, partitions)
        states += desk.rows("select worker_id, state, partitions, lag::int from driftline.v_workers")

    own = desk.worker.worker_id
    assert states == [(own, "running", [[TOPIC, 0]], 0), (own, "stopped", [], None)]
