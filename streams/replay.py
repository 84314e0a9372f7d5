"""Files instead of Kafka: the same commit, the same evaluation, as fast as they go.

Rows are sorted by time and handed over like fetches of two partitions, one of predictions and one of labels, whichever
is behind in event time first; so windows close while the replay runs, as they do live: over a connection of their own,
beside the next commit. At the end of the files everything that is open is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from driftline.events import DeadLetter, DeadReason, Decoded, LabelBatch, PredictionBatch
from driftline.store.connection import Connection, run
from streams.closing.evaluate import Restate, evaluate
from streams.committing.commit import DeadLetterOf, Pipeline, Position, commit_fetch
from streams.monitored import MonitoredModel
from streams.references.freeze import freeze_references
from streams.watermarks import LATEST_MS

ROWS_A_FETCH = 20_000
END_OF_TIME_MS = LATEST_MS + 1
"""After every event."""

PREDICTIONS = "replay.predictions"
LABELS = "replay.labels"

_Batch = TypeVar("_Batch", PredictionBatch, LabelBatch)


@dataclass(slots=True)
class ReplayResult:
    """What a replay came to.

    Parameters
    ----------
    counts
        Events by reason.
    windows
        Windows that were closed and held something.
    """

    counts: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    dead: list[DeadLetter] = field(default_factory=list)


class _Source:
    """One partition of the replayed log: a batch in the order of time, read piece by piece."""

    def __init__(self, topic: str, batch: PredictionBatch | LabelBatch) -> None:
        self.topic = topic
        self.batch = batch
        self.read = 0

    @property
    def is_read(self) -> bool:
        return self.read == len(self.batch)

    @property
    def next_ms(self) -> int:
        return int(self.batch.time_ms[self.read])

    @property
    def newest_ms(self) -> int | None:
        """Newest event time read; the end of time when all is, None before the first."""
        if self.is_read:
            return END_OF_TIME_MS
        return int(self.batch.time_ms[self.read - 1]) if self.read else None

    def take(self, model: str) -> tuple[Position, Decoded]:
        start, self.read = self.read, min(self.read + ROWS_A_FETCH, len(self.batch))
        order = np.arange(self.read - start, dtype=np.int64)
        rows = replace(self.batch.pick(order + start), order=order)
        decoded = Decoded(record_of=order)
        if isinstance(rows, PredictionBatch):
            decoded.predictions[model] = rows
        else:
            decoded.labels[model] = rows
        return Position(self.topic, 0, "", start, self.read), decoded


def in_time_order(batch: _Batch) -> _Batch:
    """Return a batch in the order of event time; rows of one moment stay as they stood."""
    return batch.pick(np.argsort(batch.time_ms, kind="stable"))


async def replay(
    connection: Connection,
    evaluator: Connection,
    pipeline: Pipeline,
    model: MonitoredModel,
    predictions: PredictionBatch,
    labels: LabelBatch | None,
    *,
    categories_max: int,
    progress: Callable[[int], None] = lambda rows: None,
) -> ReplayResult:
    """Replay one model's predictions and labels into an empty store.

    Parameters
    ----------
    evaluator
        A second connection, over which windows are closed.
    categories_max
        Bound on the categories of a feature, for a reference that is frozen on the way.
    progress
        Told how many rows were just committed.

    Raises
    ------
    psycopg.Error
        If Postgres fails.
    """
    sources = [_Source(PREDICTIONS, in_time_order(predictions))]
    if labels is not None:
        sources.append(_Source(LABELS, in_time_order(labels)))
    for source in sources:
        await run(connection, "register_partition", topic=source.topic, partition=0, topic_id="", next=0)
    result = ReplayResult()
    closing = asyncio.create_task(asyncio.sleep(0))

    async def closed() -> None:
        """Wait until all that could be closed is: what closing finds must not depend on which of the two is quicker."""
        await closing

    try:
        while unread := [source for source in sources if not source.is_read]:
            source = min(unread, key=lambda source: source.next_ms)
            position, decoded = source.take(model.name)
            times = source.batch.time_ms[position.start : position.next]
            letter_of = _dead_letter_of(position)
            committed = await commit_fetch(connection, pipeline, position, decoded, times, letter_of, closed)
            assert committed is not None, "somebody else writes into the replay's store"
            result.counts.update({reason: n for (_, reason), n in committed.counts.items()})
            result.dead += committed.dead
            progress(position.next - position.start)
            if (watermark_ms := _watermark(sources, model)) is not None:
                await freeze_references(
                    connection, pipeline.profiles, model, watermark_ms, categories_max=categories_max
                )
                closing = asyncio.create_task(_close(evaluator, pipeline, model, watermark_ms, result))
        await closing
    finally:
        closing.cancel()
    await freeze_references(connection, pipeline.profiles, model, END_OF_TIME_MS, categories_max=categories_max)
    await _close(evaluator, pipeline, model, END_OF_TIME_MS, result)
    return result


def _watermark(sources: Sequence[_Source], model: MonitoredModel) -> int | None:
    newest = [source.newest_ms for source in sources]
    known = [ms for ms in newest if ms is not None]
    return min(known) - model.settings.windows.out_of_orderness_ms if len(known) == len(newest) else None


async def _close(
    connection: Connection,
    pipeline: Pipeline,
    model: MonitoredModel,
    watermark_ms: int,
    result: ReplayResult,
) -> None:
    """Close what a watermark allows; at the end of time, everything."""
    # When restatements are due is told by the clock on the wall, and a replay must not depend on it.
    restate: Restate = "now" if watermark_ms == END_OF_TIME_MS else "not now"
    behind = True
    while behind:
        done = await evaluate(connection, pipeline.profiles, model, watermark_ms, restate=restate)
        result.windows += done.windows
        behind = done.behind


def _dead_letter_of(position: Position) -> DeadLetterOf:
    def make(order: int, model: str, reason: DeadReason, detail: str) -> DeadLetter:
        return DeadLetter(reason, detail, model, position.topic, 0, position.start + order, 0, b"")

    return make
