"""Do evaluations keep out of each other's way, and out of the writers'?"""

import psycopg
import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import MINUTE, SECOND, Lab, lab, migrated, prediction

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
