"""How long does a worker's minute take in which there is something to drop?

Measured is one run of what `Worker.tidy` does, a day after the month ended and with everything kept for as long as the
month is: rollups and partitions that nothing can reach, then at most `ROWS_AT_ONCE_MAX` rows of each kind. All of it is
undone afterwards, so that a store can be measured again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.store.month import Month
from driftline.settings import Settings
from driftline.settings.services import RetentionSettings
from driftline.store.connection import Connection
from streams.closing.tidy import drop_expired, drop_old_partitions, drop_old_rollups
from streams.monitored import MonitoredModel, register_models

MODEL = {"task": "binary", "reference": {"first_events": 1}, "labels": {"horizon": "30d"}}
"""What retention asks of a model; the store has its reference."""

INPUTS = ("driftline.predictions", "driftline.labels", "driftline.features")
N_EXPIRED = "select coalesce(sum(n), 0)::bigint from driftline.event_count where reason like 'expired_%'"


@dataclass(frozen=True, slots=True)
class Tidied:
    """How long the parts of one run took in milliseconds, and how many expired rows were dropped."""

    rollups_ms: float
    partitions_ms: float
    expired_ms: float
    n_expired: int


async def time_tidying(connection: Connection, month: Month) -> Tidied:
    """Tidy once, and undo it."""
    settings = Settings.model_validate({"models": {f"model-{n:03d}": MODEL for n in range(1, month.models + 1)}})
    kept = RetentionSettings.model_validate(
        dict.fromkeys(("verdicts", "performance", "episodes", "messages", "dead_letters"), f"{month.days}d")
    )
    now_ms = int((month.end + timedelta(days=1)).timestamp() * 1000)
    async with connection.transaction(force_rollback=True):
        models = await register_models(connection, settings)
        watermarks_ms: dict[str, int | None] = dict.fromkeys(models, now_ms)
        before = await _n_expired(connection)
        rollups_ms = await _timed(_drop_rollups(connection, models.values(), now_ms))
        partitions_ms = await _timed(drop_old_partitions(connection, models, watermarks_ms))
        expired_ms = await _timed(drop_expired(connection, kept, models, watermarks_ms, INPUTS))
        return Tidied(rollups_ms, partitions_ms, expired_ms, await _n_expired(connection) - before)


async def _drop_rollups(connection: Connection, models: Iterable[MonitoredModel], now_ms: int) -> None:
    for model in models:
        await drop_old_rollups(connection, model, now_ms)


async def _timed(work: Awaitable[None]) -> float:
    started = time.perf_counter()
    await work
    return (time.perf_counter() - started) * 1000


async def _n_expired(connection: Connection) -> int:
    [(n,)] = await (await connection.execute(N_EXPIRED)).fetchall()
    return int(n)
