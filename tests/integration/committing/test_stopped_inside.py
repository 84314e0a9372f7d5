"""Is whoever is stopped or cut off in the middle of a transaction sent away, so that all others can go on?

A stopped process answers nothing, but the kernel keeps its connection: without a bound, the server would keep its locks
for as long. The bound of a fetch is shorter and tried in `test_commit.py`, that of relays in `test_outbox.py`.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import psycopg
import pytest
from faust.types.tuples import TP

from driftline.kafka_admin import PartitionEnds, TopicInfo
from driftline.settings import PostgresSettings
from driftline.settings.services import RetentionSettings
from driftline.store import connection as store
from driftline.store.connection import Connection, open_pool, row
from driftline.store.migrate import migrate
from streams.closing.tidy import drop_expired
from streams.committing import merging
from streams.forget import forget
from streams.reading.positions import LogPositions
from streams.references.freeze import freeze_references
from tests.support.pipelines import DAY, MINUTE, SECOND, START_MS, Lab, lab, prediction

pytestmark = pytest.mark.postgres

MODEL = {"labels": {}, "windows": {"length": "1m", "restate_after": "0s"}}
ALONE = ["select pg_advisory_xact_lock(5, {model_id})", "select pg_advisory_xact_lock(2, {bucket})"]


class Overrun:
    """A broker whose log begins behind what was read."""

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        return {name: TopicInfo("t", 1) for name in names}

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        return {place: PartitionEnds(75, 100) for place in partitions}


async def close(made: Lab, _: str) -> None:
    await made.close()


async def merge(made: Lab, _: str) -> None:
    await merging.merge_passed_panes(made.connection, made.pipeline.profiles, made.model, 0, START_MS + MINUTE)


async def freeze(made: Lab, _: str) -> None:
    profiles, at_ms = made.pipeline.profiles, START_MS + DAY
    await freeze_references(made.connection, profiles, made.model, at_ms, categories_max=50)


async def tidy(made: Lab, _: str) -> None:
    await made.close()
    retention = RetentionSettings.model_validate({"verdicts": "2h"})
    await drop_expired(made.connection, retention, {"m": made.model}, {"m": START_MS + DAY}, [])


async def skip_lost(made: Lab, url: str) -> None:
    await made.position("predictions", 0, 1)
    await made.connection.execute("update driftline.stream_offset set topic_id = 't', next = 30")
    async with open_pool(url, PostgresSettings(url=url)) as pool:
        positions = LogPositions(pool, Overrun(), {"m.predictions": TopicInfo("t", 1)})
        await positions.resume([TP("m.predictions", 0)])


async def erase(made: Lab, _: str) -> None:
    await forget(made.connection, ["m"], False, "a", b"secret", "ann", "")


async def bring_up_to_date(made: Lab, _: str) -> None:
    await migrate(made.connection)


@dataclass(frozen=True)
class Case:
    """Somebody who is stopped.

    Parameters
    ----------
    inside
        The function at whose beginning that happens, within the transaction.
    waited_for
        What others can't do meanwhile.
    """

    do: Callable[[Lab, str], Awaitable[None]]
    inside: str
    waited_for: list[str]


CASES = [
    Case(close, "streams.closing.evaluate._Evaluation.run", ALONE),
    Case(merge, "streams.committing.merging._merged", ALONE),
    Case(freeze, "streams.references.freeze.kept_events", ["select pg_advisory_xact_lock(1, {bucket})", ALONE[1]]),
    Case(tidy, "streams.closing.tidy.count_of_models", ["select from driftline.verdict for update"]),
    Case(skip_lost, "streams.reading.positions.note_loss", ["select from driftline.stream_offset for update"]),
    Case(erase, "streams.forget._telling_letters", ["select from driftline.prediction for update"]),
    Case(bring_up_to_date, "driftline.store.migrate.schema_version", ["select pg_advisory_xact_lock(6, 0)"]),
]


@pytest.mark.parametrize("is_bounded", [True, False], ids=["bounded", "without the bound"])
@pytest.mark.parametrize("case", CASES, ids=[case.do.__name__ for case in CASES])
async def test_others_go_on_only_because_who_is_stopped_is_sent_away(
    case: Case, is_bounded: bool, connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await lab(connection, MODEL | ({"reference": {"first_events": 2}} if case.do is freeze else {}))
    await made.commit("predictions", prediction("a", 0))
    await made.commit("predictions", prediction("b", 1 * SECOND))
    monkeypatch.setattr(store, "HOLD_MS_MAX", 200 if is_bounded else 0)
    stopped = asyncio.Event()

    async def stop(*_: object, **__: object) -> NoReturn:
        stopped.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(case.inside, stop)
    doing = asyncio.ensure_future(case.do(made, postgres_url))
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait([doing, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert stopped.is_set(), f"it was never there: {doing}"

    waits: list[type[Exception]] = []
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute(f"set local lock_timeout = '{20_000 if is_bounded else 300}ms'".encode())
        place = {"model_id": made.model.model_id, "bucket": made.model.bucket}
        for statement in case.waited_for:
            try:
                async with other.transaction():
                    await other.execute(statement.format(**place).encode())
            except psycopg.errors.LockNotAvailable:
                waits.append(psycopg.errors.LockNotAvailable)
    doing.cancel()
    with suppress(asyncio.CancelledError, psycopg.OperationalError):
        await doing
    assert len(waits) == (0 if is_bounded else len(case.waited_for))


async def begin_bounded(connection: Connection) -> None:
    await connection.execute("begin")
    whole_ms = str(store.TRANSACTION_MS_MAX)
    await row(connection, "bound_hold", idle_ms=str(store.HOLD_MS_MAX), lock_ms=None, whole_ms=whole_ms)


async def begin_fetch(connection: Connection) -> None:
    await connection.execute("begin")
    await row(connection, "begin_fetch", idle_ms="5000", lock_ms="15000", whole_ms=str(store.TRANSACTION_MS_MAX))


@pytest.mark.parametrize("begin", [begin_bounded, begin_fetch])
@pytest.mark.parametrize("whole_ms", [1_000, 0])
async def test_who_is_cut_off_in_half_a_statement_is_sent_away(
    begin: Callable[[Connection], Awaitable[None]],
    whole_ms: int,
    connection: Connection,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_sent_away = whole_ms > 0 and connection.info.server_version >= 170000  # older ones can't, as the documents say
    monkeypatch.setattr(store, "HOLD_MS_MAX", 200)
    monkeypatch.setattr(store, "TRANSACTION_MS_MAX", whole_ms)
    await begin(connection)
    await connection.execute("select pg_advisory_xact_lock(9, 1)")
    query = b"\0select $1::text\0" + struct.pack(">h", 0)
    parse = b"P" + struct.pack(">i", len(query) + 4) + query
    bind = b"B" + struct.pack(">i", 100_000) + b"\0\0"  # the other bytes never come

    os.write(connection.fileno(), parse + bind)

    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute(f"set local lock_timeout = '{20_000 if is_sent_away else 1_500}ms'".encode())
        if is_sent_away:
            await other.execute("select pg_advisory_xact_lock(9, 1)")
        else:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await other.execute("select pg_advisory_xact_lock(9, 1)")
    connection.pgconn.finish()
