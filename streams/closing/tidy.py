"""What can no label and no window reach any more, and what was kept for long enough? It is dropped.

Invariant: nothing goes before its time by event time has passed for every model that may need it; a model whose
watermark is not known may need everything. Results go a bounded number of rows at a time, counted in the transaction
that drops them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from driftline.settings.services import RetentionSettings
from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, bounded, rows, run, timestamp
from streams.monitored import MonitoredModel, count_of_models, horizon_s_of

PARTITIONED = ("prediction", "label", "served_features")
ROWS_AT_ONCE_MAX = 20_000
"""How many rows of a kind one call drops: fewer than a second's work, more than a minute brings."""


async def drop_old_rollups(connection: Connection, model: MonitoredModel, watermark_ms: int) -> None:
    """Drop a model's rollups that neither a label nor a window can reach."""
    windows = model.settings.windows
    reach_ms = max(model.horizon_ms, windows.lookback_max_ms, windows.seasons_ms)
    before_ms = watermark_ms - reach_ms - 2 * windows.length_ms
    await run(connection, "drop_old_rollups", model_id=model.model_id, before=timestamp(before_ms))


async def drop_old_partitions(
    connection: Connection, models: Mapping[str, MonitoredModel], watermarks_ms: Mapping[str, int | None]
) -> None:
    """Drop partitions whose events are older than the present horizon of all models that share them.

    Models share the partitions of a horizon that they have, or had before their configuration changed.
    """
    for horizon_s in sorted({horizon_s for model in models.values() for horizon_s in model.horizons_s}):
        oldest_ms = []
        for name, model in models.items():
            if horizon_s in model.horizons_s:
                watermark_ms = watermarks_ms[name]
                oldest_ms.append(None if watermark_ms is None else watermark_ms - horizon_s_of(model.settings) * 1000)
        known_ms = [ms for ms in oldest_ms if ms is not None]
        if len(known_ms) == len(oldest_ms):
            for parent in PARTITIONED:
                await run(
                    connection, "drop_partitions", parent=parent, horizon_s=horizon_s, before=timestamp(min(known_ms))
                )


async def drop_expired(
    connection: Connection,
    retention: RetentionSettings,
    models: Mapping[str, MonitoredModel],
    watermarks_ms: Mapping[str, int | None],
    input_topics: Collection[str],
    *,
    rows_max: int = ROWS_AT_ONCE_MAX,
) -> None:
    """Drop results that were kept for as long as `retention` says, and count them.

    Parameters
    ----------
    watermarks_ms
        By model; what is kept by event time stays where it is None.
    input_topics
        Whose dead letters are ours to drop.
    rows_max
        Bound on the rows of each kind.
    """
    known = {models[name].model_id: ms for name, ms in watermarks_ms.items() if ms is not None}

    async def drop_by_event_time(statement: str, kept_ms: int, *, reason: str) -> None:
        before = pg_array("timestamptz", [ms - kept_ms for ms in known.values()])
        model_ids = pg_array("int2", list(known))
        await _drop(connection, statement, reason, model_ids=model_ids, before=before, rows_max=rows_max)

    async def drop_by_clock(statement: str, kept_ms: int, *, reason: str, **whose: list[str]) -> None:
        await _drop(connection, statement, reason, kept_s=kept_ms / 1000, rows_max=rows_max, **whose)

    await run(connection, "note_states_seen")
    await drop_by_event_time("expire_states", retention.verdicts_ms, reason="expired_state")
    await drop_by_event_time("expire_verdicts", retention.verdicts_ms, reason="expired_verdict")
    await drop_by_event_time("expire_performance", retention.performance_ms, reason="expired_performance")
    await drop_by_event_time("expire_episodes", retention.episodes_ms, reason="expired_episode")
    await drop_by_event_time("expire_requests", retention.episodes_ms, reason="expired_request")
    await drop_by_event_time("expire_spending", retention.episodes_ms, reason="expired_spending")
    await drop_by_clock("expire_messages", retention.messages_ms, reason="expired_message", models=list(models))
    await drop_by_clock(
        "expire_dead_letters", retention.dead_letters_ms, reason="expired_dead_letter", topics=list(input_topics)
    )


async def _drop(connection: Connection, statement: str, reason: str, **parameters: object) -> None:
    async with bounded(connection):
        gone = await rows(connection, statement, **parameters)
        if gone:
            await count_of_models(connection, [of.model for of in gone], [of.n for of in gone], reason=reason)
