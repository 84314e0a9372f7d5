"""Of which models can a window be closed or restated? Asked without a lock, for all of them in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, rows
from streams.monitored import MonitoredModel
from streams.windows import last_end


@dataclass(frozen=True, slots=True)
class Due:
    """What is asked of one model: up to where it may be closed, and how long restatements wait, None for ever."""

    model_id: int
    closable_ms: int
    restate_after_ms: int | None

    @classmethod
    def of(cls, model: MonitoredModel, watermark_ms: int, restate_after_ms: int | None) -> Self:
        """Ask of a model whose watermark is known."""
        windows = model.settings.windows
        closable_ms = last_end(watermark_ms - windows.allowed_lateness_ms, windows.length_ms, windows.slide_ms)
        return cls(model.model_id, closable_ms, restate_after_ms)


async def due(connection: Connection, asked: Sequence[Due]) -> set[int]:
    """Return the ids of the models that have something to close or to restate.

    To wait for the pane lock alone, and in vain, would hold up all writers every time.
    """
    if not asked:
        return set()
    found = await rows(
        connection,
        "evaluations_due",
        model_ids=pg_array("int2", [of.model_id for of in asked]),
        closable=pg_array("timestamptz", [of.closable_ms for of in asked]),
        restate_after_ms=[of.restate_after_ms for of in asked],
    )
    return {item.model_id for item in found}


async def evaluations_due(
    connection: Connection, models: Iterable[MonitoredModel], watermarks_ms: Mapping[str, int | None]
) -> set[str]:
    """Name the models of which something can be closed or restated by their watermarks."""
    asked = {
        model.model_id: (model.name, Due.of(model, watermark_ms, model.settings.windows.restate_after_ms))
        for model in models
        if (watermark_ms := watermarks_ms[model.name]) is not None
    }
    found = await due(connection, [of for _, of in asked.values()])
    return {asked[model_id][0] for model_id in found}
