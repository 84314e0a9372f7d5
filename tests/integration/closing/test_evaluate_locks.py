"""Do evaluations keep out of each other's way, and out of the writers'?"""

import asyncio
from typing import Any, NoReturn

import psycopg
import pytest

from driftline.store import connection as store
from driftline.store.connection import Connection
from streams.closing import evaluate
from streams.committing import merging
from tests.support.pipelines import MINUTE, SECOND, START_MS, Lab, lab, migrated, prediction

pytestmark = pytest.mark.postgres


async def test_looking_whether_there_is_anything_to_do_holds_up_no_writer(
    connection: Connection, postgres_url: str
) -> None:
    made = await lab(connection, {"windows": {"restate_after": "1h"}})
    await made.commit("all", prediction("a", 0), prediction("b", 70 * SECOND))
    async with migrated(postgres_url) as other:
        async with other.transaction():
            # As a writer does, from the beginning to the end of its transaction.
            await other.execute("select pg_advisory_xact_lock_shared(2, %s)", [made.model.bucket])
            await connection.execute("set lock_timeout = '100ms'")
            assert await made.close(MINUTE - 1, restate="when due") == 0
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await made.close(MINUTE, restate="when due")
        assert await made.close(MINUTE, restate="when due") == 1
        async with other.transaction():
            await other.execute("select pg_advisory_xact_lock_shared(2, %s)", [made.model.bucket])
            assert await made.close(2 * MINUTE - 1, restate="when due") == 0


async def test_only_one_evaluates_a_model_at_a_time(connection: Connection, postgres_url: str) -> None:
    made = await lab(connection)
    await made.commit("predictions", prediction("a", 0))
    async with migrated(postgres_url) as other:
        second: Lab = await lab(other)
        async with connection.transaction():
            await connection.execute("select pg_try_advisory_xact_lock(5, %s)", [made.model.model_id])
            assert await second.close() == 0
        assert await second.close() == 1


@pytest.mark.parametrize(("module", "step"), [(evaluate, "_Evaluation.run"), (merging, "_merged")])
async def test_who_is_stopped_while_it_keeps_all_others_out_is_sent_away(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    stopped = asyncio.Event()

    async def stop(*_: object) -> NoReturn:
        stopped.set()
        await asyncio.Event().wait()
        raise AssertionError

    made = await lab(connection)
    await made.commit("predictions", prediction("a", 0))
    await made.commit("predictions", prediction("b", 1))
    monkeypatch.setattr(store, "HOLD_MS_MAX", 200)
    owner, _, name = step.rpartition(".")
    monkeypatch.setattr(getattr(module, owner) if owner else module, name, stop)
    doing = asyncio.create_task(
        made.close()
        if module is evaluate
        else merging.merge_passed_panes(connection, made.pipeline.profiles, made.model, 0, START_MS + MINUTE)
    )
    await stopped.wait()

    async with migrated(postgres_url) as other, other.transaction():
        await other.execute("set local lock_timeout = '20s'")
        await other.execute("select pg_advisory_xact_lock(5, %s)", [made.model.model_id])
        await other.execute("select pg_advisory_xact_lock(2, %s)", [made.model.bucket])
    doing.cancel()
    with pytest.raises((asyncio.CancelledError, psycopg.OperationalError)):
        await doing
