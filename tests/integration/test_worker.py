"""Does a worker get every event into Postgres once, whatever that says, and close windows neither early nor never?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from driftline.errors import StateError
from driftline.kafka_admin import PartitionEnds, TopicInfo
from driftline.settings import PostgresSettings
from driftline.store.connection import Connection, open_pool
from streams import worker as module
from streams.evaluate import Progress, evaluate
from streams.monitored import MonitoredModel, Profiles
from streams.positions import LogPositions
from streams.transport import Fetch
from streams.worker import Worker, WorkerParts
from tests.support.events import Message
from tests.support.live import rows_of
from tests.support.pipelines import END_MS, START_MS, Lab, json_bytes, lab, prediction, settings_of

pytestmark = pytest.mark.postgres

TOPIC = "predictions"
POISON = 0.125
"""The score of an event that Postgres is told to refuse."""

SECOND = 1_000
CLOSED = "select (extract(epoch from closed_through) * 1000)::bigint from driftline.evaluation"


class NoBroker:
    """Answers nothing: these tests hand over fetches themselves."""

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        raise AssertionError("nobody asks")

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        return {place: PartitionEnds(0, 0) for place in partitions}


@dataclass
class Desk:
    """A worker, and the log of one topic that it reads."""

    parts: WorkerParts
    made: Lab
    url: str

    @cached_property
    def worker(self) -> Worker:
        return Worker(self.parts, self.made.decoder)

    async def read(
        self, start: int, *events: dict[str, Any], partition: int = 0, record_ms: int = END_MS
    ) -> int | None:
        """Hand over a fetch that begins at an offset."""
        named = (json_bytes({"model": "m"} | event) for event in events)
        records = [Message(value, (), offset, record_ms) for offset, value in enumerate(named, start)]
        return await self.worker.process(Fetch(TOPIC, partition, start, start + len(records), records))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return rows_of(self.url, query)

    def do(self, statement: str) -> None:
        """Change the store behind the worker's back."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def counted(self) -> dict[str, int]:
        return dict(self.rows("select reason, sum(n)::int from driftline.v_counts group by 1"))

    def dead(self) -> list[tuple[Any, ...]]:
        return self.rows("select record_offset, reason, model, payload from driftline.v_dead_letters order by 1")

    def position(self, partition: int = 0) -> int:
        [(position,)] = self.rows(f"select next from driftline.stream_offset where partition = {partition}")
        return int(position)

    async def ends(self, ends: Mapping[int, int], before_answering: Callable[[], None] = lambda: None) -> None:
        """Let the worker look, twice, at how far the logs of its partitions reach: idle needs a second look."""

        def answer() -> dict[tuple[str, int], int]:
            before_answering()
            return {(TOPIC, partition): end for partition, end in ends.items()}

        for _ in range(2):
            await self.worker.note_ends(answer, lambda topic, partition: (-1, -1))
            await asyncio.sleep(0.01)

    async def closed_through(self) -> int | None:
        """Let the worker close what it may, and return up to when, in milliseconds from `START_MS`."""
        await self.worker.close_windows()
        found = self.rows(CLOSED)
        return int(found[0][0]) - START_MS if found and found[0][0] is not None else None


@asynccontextmanager
async def a_desk(connection: Connection, url: str, partitions: int, **model: Any) -> AsyncIterator[Desk]:
    made = await lab(connection, model)
    info = {TOPIC: TopicInfo("first", partitions)}
    async with open_pool(url, PostgresSettings(url=url, connect_timeout="2s")) as pool:
        positions = LogPositions(pool, NoBroker(), info)
        await positions.register(info)
        parts = WorkerParts(settings_of("m", model), pool, made.pipeline, positions, {"m": (TOPIC,)})
        yield Desk(parts, made, url)


@pytest.fixture
async def desk(connection: Connection, postgres_url: str) -> AsyncIterator[Desk]:
    async with a_desk(connection, postgres_url, 1) as made:
        yield made


@pytest.fixture
async def four(connection: Connection, postgres_url: str) -> AsyncIterator[Desk]:
    """A model without labels whose predictions come in four partitions; windows of a minute."""
    model = {"labels": None, "performance": None, "windows": {"out_of_orderness": "0s", "idle_after": "1ms"}}
    async with a_desk(connection, postgres_url, 4, **model) as made:
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
    monkeypatch.setattr(module, "BACK_OFF_S", (0.01,))
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


async def test_windows_wait_for_partitions_that_said_nothing_until_these_are_idle(four: Desk) -> None:
    await four.read(0, *(prediction(f"p{second}", second * SECOND) for second in range(0, 200, 5)))
    assert await four.closed_through() is None

    await four.ends({0: 40, 1: 0, 2: 0})  # nobody looked at partition 3
    assert await four.closed_through() is None

    await four.ends({3: 0})
    assert await four.closed_through() == 180 * SECOND


async def test_a_partition_that_is_behind_is_never_idle_and_one_that_was_idle_is_no_longer(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
    await four.ends({0: 2, 1: 0, 2: 0, 3: 0})
    assert await four.closed_through() == 60 * SECOND

    # Partition 1 gets an event; before it is read, partition 0 goes on by an hour.
    await four.read(2, prediction("c", 3_600 * SECOND))
    await four.ends({0: 3, 1: 1, 2: 0, 3: 0})
    assert await four.closed_through() == 60 * SECOND

    await four.read(0, prediction("d", 80 * SECOND), partition=1)
    assert await four.closed_through() == 60 * SECOND
    await four.ends({0: 3, 1: 1, 2: 0, 3: 0})
    assert await four.closed_through() == 3_600 * SECOND


async def test_a_partition_whose_worker_is_dead_is_never_idle_though_it_was_read_to_its_end_once(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))
    await four.ends({0: 2, 1: 0, 2: 0, 3: 0})

    # From here on nobody looks at partition 3; whoever lives goes on.
    await four.read(2, prediction("c", 3_600 * SECOND))
    await four.ends({0: 3, 1: 0, 2: 0})

    assert await four.closed_through() == 60 * SECOND


async def test_idle_is_only_promised_for_what_others_had_read_before_the_ends_were_asked_for(four: Desk) -> None:
    await four.read(0, prediction("a", 0), prediction("b", 70 * SECOND))

    later = START_MS / 1000

    def meanwhile() -> None:
        nonlocal later
        later += 3_600
        four.do(f"update driftline.stream_offset set newest_event = to_timestamp({later}) where partition = 0")

    await four.ends({1: 0, 2: 0, 3: 0}, meanwhile)

    # During the first look the others came to the first hour, during the second to another one: that is not promised.
    assert await four.closed_through() == 3_600 * SECOND


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

        monkeypatch.setattr(module, "evaluate", fail_for_one)
        with pytest.raises(RuntimeError, match=r"^broken: OverflowError: what nobody foresaw$"):
            await both.worker.close_windows()

        assert good.rows(CLOSED) == [(START_MS + 60 * SECOND,)]


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
            broken.setattr("streams.evaluate._Evaluation._write_cohorts", fail)
            with pytest.raises(RuntimeError, match="nothing is committed"):
                await desk.worker.close_windows()
        before = list(caplog.messages)
        await desk.worker.close_windows()

    [(episode_id,)] = desk.rows("select episode_id from driftline.v_episodes")
    who = f"m v1: drift episode {episode_id.hex[:8]}"
    assert before == []
    assert [re.sub(r"\(psi .*\)", "(psi …)", line) for line in caplog.messages] == [
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
