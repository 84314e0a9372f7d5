"""What can no label and no window reach any more? It is dropped, whole partitions at a time.

Invariant: nothing goes before its time by event time has passed for every model that may need it; a model whose
watermark is not known may need everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from driftline.store.connection import Connection, run, timestamp
from streams.monitored import MonitoredModel, horizon_s_of

PARTITIONED = ("prediction", "label", "served_features")


async def drop_old_rollups(connection: Connection, model: MonitoredModel, watermark_ms: int) -> None:
    """Drop a model's rollups that neither a label nor a window can reach."""
    windows = model.settings.windows
    before_ms = watermark_ms - max(model.horizon_ms, windows.lookback_max_ms) - 2 * windows.length_ms
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
