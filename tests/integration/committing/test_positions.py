"""Does the log go on where Postgres says, and nowhere when it is not the log that was read before?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from faust.types.tuples import TP
from psycopg_pool import AsyncConnectionPool

from driftline.errors import ServiceUnavailableError
from driftline.kafka_admin import PartitionEnds, TopicInfo
from driftline.settings import PostgresSettings
from driftline.store.connection import Connection, open_pool
from streams.reading import positions as module
from streams.reading.losses import Audience
from streams.reading.positions import ABSENT_LOOKS_MAX, LogPositions

pytestmark = pytest.mark.postgres

T0, T1 = TP("t", 0), TP("t", 1)
AUDIENCE = Audience({"one": ("t",), "two": ("t", "u"), "three": ("u",)}, "drift")


class Log:
    """One topic of a broker, as one would find it."""

    def __init__(self) -> None:
        self.topic_id = "first"
        self.ends_of = {("t", 0): PartitionEnds(0, 100), ("t", 1): PartitionEnds(0, 100)}
        self.is_there = True
        self.away = 0
        """How many questions are not answered."""

    @property
    def info(self) -> TopicInfo:
        return TopicInfo(self.topic_id, len(self.ends_of))

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise ServiceUnavailableError("no answer", where="kafka")

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        self._answer()
        return {name: self.info for name in names if self.is_there}

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        self._answer()
        return {place: self.ends_of[place] for place in partitions}

    def opened(self, pool: AsyncConnectionPool[Connection]) -> LogPositions:
        """Find the topic as a worker that starts now."""
        return LogPositions(pool, self, {"t": self.info}, AUDIENCE)


@pytest.fixture
async def pool(connection: Connection, postgres_url: str) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    async with open_pool(postgres_url, PostgresSettings(url=postgres_url)) as opened:
        yield opened


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    return Log()


async def read_to(connection: Connection, partition: int, position: int) -> None:
    await connection.execute("update driftline.stream_offset set next = %s where partition = %s", [position, partition])


async def lost(connection: Connection) -> list[tuple[object, ...]]:
    found = await connection.execute("select topic, partition, model, reason, n::int from driftline.v_counts")
    return [tuple(row) for row in await found.fetchall()]


async def registered(connection: Connection) -> list[tuple[object, ...]]:
    found = await connection.execute("select partition, topic_id, next::int from driftline.stream_offset order by 1")
    return [tuple(row) for row in await found.fetchall()]


async def test_every_partition_is_known_from_its_oldest_record_on_before_anybody_reads_it(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    log.ends_of["t", 1] = PartitionEnds(40, 100)
    positions = log.opened(pool)

    await positions.register({"t": log.info})

    assert await registered(connection) == [(0, "first", 0), (1, "first", 40)]
    assert await positions.resume([T0, T1]) == {T0: 0, T1: 40}
    assert await lost(connection) == []  # what was gone before it was ever watched is no loss of ours


async def test_the_log_goes_on_where_postgres_says(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    await read_to(connection, 1, 100)

    assert await positions.resume([T1]) == {T1: 100}
    assert await positions.resume([]) == {}


async def test_a_partition_that_holds_nothing_is_gone_on_with_where_it_ends(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    # One never had a record; all that the other had was read, and then deleted.
    log.ends_of = {("t", 0): PartitionEnds(0, 0), ("t", 1): PartitionEnds(0, 100)}
    await log.opened(pool).register({"t": log.info})
    await read_to(connection, 1, 100)
    log.ends_of["t", 1] = PartitionEnds(100, 100)

    for _ in range(2):
        positions = log.opened(pool)
        await positions.register({"t": log.info})
        assert await positions.resume([T0, T1]) == {T0: 0, T1: 100}
        assert positions.fatal is None
    assert await lost(connection) == []


async def told(connection: Connection) -> list[dict[str, Any]]:
    found = await connection.execute("select topic, model, occurred_at, payload from driftline.outbox order by model")
    return [row._asdict() for row in await found.fetchall()]


async def test_records_deleted_before_they_were_read_are_told_to_each_model_that_reads_the_topic(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    await connection.execute(
        "update driftline.stream_offset set next = 30, newest_event = '2026-01-01 10:00+00' where partition = 1"
    )
    log.ends_of["t", 1] = PartitionEnds(75, 100)

    await positions.resume([T1])

    newest = datetime(2026, 1, 1, 10, tzinfo=UTC)
    one, two = await told(connection)
    assert [(m["topic"], m["model"], m["occurred_at"]) for m in (one, two)] == [
        ("drift", "one", newest),
        ("drift", "two", newest),
    ]
    event = two["payload"]
    assert event.pop("id") != one["payload"]["id"]
    assert event == {
        "specversion": "1.0",
        "source": "/driftline/models/two",
        "type": "driftline.records.lost",
        "subject": "two",
        "time": "2026-01-01T10:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {"model": "two", "topic": "t", "partition": 1, "first_offset": 30, "last_offset": 74, "n": 45},
    }


async def test_a_loss_before_anything_was_read_is_told_without_a_time(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    log.ends_of["t", 0] = PartitionEnds(75, 100)

    await positions.resume([T0])

    assert [("time" in m["payload"], m["payload"]["data"]["n"]) for m in await told(connection)] == [(False, 75)] * 2


async def test_records_deleted_before_they_were_read_are_counted_once_however_many_workers_notice(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [log.opened(pool) for _ in range(3)]
    await workers[0].register({"t": log.info})
    await read_to(connection, 0, 30)
    log.ends_of["t", 0] = PartitionEnds(75, 100)

    with caplog.at_level(logging.ERROR):
        resumed = await asyncio.gather(*(worker.resume([T0]) for worker in workers))

    assert resumed == [{T0: 75}] * 3
    assert await lost(connection) == [("t", 0, "*", "lost_record", 45)]
    line = "t, partition 0: records 30 to 74 were deleted before they were read; they are lost"
    assert [record.message for record in caplog.records] == [line]
    assert [message["model"] for message in await told(connection)] == ["one", "two"]


async def test_a_log_that_ends_before_what_was_read_is_not_gone_on_with(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    log.topic_id = ""  # an old broker, which does not tell topics of one name apart
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    await read_to(connection, 1, 101)

    assert await positions.resume([T0, T1]) == {}

    assert "t, partition 1: ends at offset 100, but was read up to 101" in str(positions.fatal)
    assert positions.fatal is not None
    assert positions.fatal.exit_code == 3


async def test_a_topic_made_anew_while_nobody_read_it_is_not_gone_on_with(
    log: Log, pool: AsyncConnectionPool[Connection]
) -> None:
    await log.opened(pool).register({"t": log.info})
    log.topic_id = "second"
    positions = log.opened(pool)
    await positions.register({"t": log.info})

    assert await positions.resume([T0]) == {}

    assert "t, partition 0: is another topic than the one that was read before (id second, was first)" in str(
        positions.fatal
    )


async def test_a_topic_made_anew_while_it_is_read_is_noticed_though_its_offsets_fit(
    log: Log, pool: AsyncConnectionPool[Connection]
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    await positions.look()
    assert positions.fatal is None
    log.topic_id = "second"

    await positions.look()

    assert "t: is another topic than the one that was read before (id second, was first)" in str(positions.fatal)
    assert "delete its rows from driftline.stream_offset" in str(positions.fatal)


@pytest.mark.parametrize(("before", "after"), [("", "told"), ("told", "")])
async def test_a_broker_that_learns_or_forgets_to_tell_ids_is_no_new_topic(
    log: Log, pool: AsyncConnectionPool[Connection], before: str, after: str
) -> None:
    log.topic_id = before
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    log.topic_id = after

    await positions.look()

    assert await positions.resume([T0]) == {T0: 0}


async def test_a_topic_that_is_missing_for_a_moment_is_forgiven_one_that_is_gone_is_not(
    log: Log, pool: AsyncConnectionPool[Connection]
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    for _ in range(3):
        log.is_there = False
        for _ in range(ABSENT_LOOKS_MAX - 1):
            await positions.look()
        log.is_there = True
        await positions.look()
    assert positions.fatal is None

    log.is_there = False
    for _ in range(ABSENT_LOOKS_MAX):
        await positions.look()

    assert str(positions.fatal).startswith("t: is gone; ")


async def test_partitions_that_are_added_hold_the_watermark_back_before_anybody_reads_them(
    log: Log, pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    await read_to(connection, 0, 50)
    log.ends_of["t", 2] = PartitionEnds(0, 7)

    await positions.look()

    assert await registered(connection) == [(0, "first", 50), (1, "first", 0), (2, "first", 0)]


async def test_asking_goes_on_until_the_broker_answers(log: Log, pool: AsyncConnectionPool[Connection]) -> None:
    positions = log.opened(pool)
    await positions.register({"t": log.info})
    log.away = 3

    assert await positions.resume([T0]) == {T0: 0}

    assert positions.fatal is None
