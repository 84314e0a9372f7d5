"""What becomes of one prediction id that comes in two partitions at the same moment?

Transactions of predictions share the join lock, so neither sees what the other one is about to insert. Who keys by the
id, as `docs/contracts.md` says, never sends it so; who does otherwise meets this.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from driftline.store.connection import Connection
from labels_join.join import Added
from streams.committing import model_commit
from tests.support.desk import Desk, a_desk
from tests.support.pipelines import MINUTE, SECOND, prediction

pytestmark = pytest.mark.postgres


async def cross(desk: Desk, monkeypatch: pytest.MonkeyPatch, apart_ms: int) -> int:
    """Commit two fetches that share an id, where neither inserts before both have looked for it.

    Return how often predictions were inserted, or were to be.
    """
    monkeypatch.setattr("streams.committing.fetches.BACK_OFF_S", (0.01,))
    insert, both_looked, tries = model_commit.add_predictions, asyncio.Barrier(2), 0

    async def insert_when_both_looked(*told: Any) -> Added:
        nonlocal tries
        tries += 1
        if tries <= 2:
            await both_looked.wait()
        return await insert(*told)

    monkeypatch.setattr(model_commit, "add_predictions", insert_when_both_looked)
    fetches = [
        desk.read(0, prediction("shared", partition * apart_ms), prediction(f"own{partition}", 0), partition=partition)
        for partition in (0, 1)
    ]
    assert await asyncio.gather(*fetches) == [None, None]
    return tries


async def test_the_same_prediction_in_two_partitions_is_refused_tried_again_and_counted_once(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_desk(connection, postgres_url, 2) as desk:
        with caplog.at_level(logging.WARNING, "driftline.worker"):
            tries = await cross(desk, monkeypatch, 0)

        assert tries == 3
        [refused] = [record.getMessage() for record in caplog.records]
        assert "refused: UniqueViolation" in refused
        assert desk.dead() == []
        assert [desk.position(partition) for partition in (0, 1)] == [2, 2]
        assert desk.counted() == {"prediction": 4, "repeated_prediction": 1}
        assert desk.rows("select count(*), count(distinct key) from driftline.prediction") == [(3, 3)]
        await desk.made.close(MINUTE)
        assert {row["n_current"] for row in await desk.made.drift(detector="psi", feature="x")} == {3}


async def test_an_id_with_another_time_in_another_partition_at_the_same_moment_counts_twice(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rule of the store says that these are one prediction: a limit, told in `docs/contracts.md`."""
    async with a_desk(connection, postgres_url, 2) as desk:
        assert await cross(desk, monkeypatch, 1 * SECOND) == 2

        assert desk.counted() == {"prediction": 4}
        # Only who comes at the same moment is not seen; a third one is.
        assert await desk.read(2, prediction("shared", 2 * SECOND)) is None
        assert desk.counted() == {"prediction": 5, "repeated_prediction": 1}
