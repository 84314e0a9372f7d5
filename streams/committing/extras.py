"""What comes beside what counts: predictions that come twice, and features that nobody knows. Counted by pane.

Late events are left out, as of the traffic. Nearly always there is nothing to write. Whoever writes holds the model's
pane lock, so that a slide that closes has all of it.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from driftline.events import FeatureBatch, Ints, Mask, PredictionBatch
from driftline.store.arrays import pg_array, storable
from driftline.store.connection import Connection, run
from streams.monitored import MonitoredModel

Extras = Counter[tuple[int, str | None]]
"""How many, by start of the pane and name of the new feature; None stands for predictions that came twice."""


def repeats_by_pane(time_ms: Ints, late: Mask, pane_ms: int) -> Extras:
    """Count predictions that came before.

    Examples
    --------
    >>> repeats_by_pane(np.array([5, 12, 19]), np.array([False, False, True]), 10)
    Counter({(0, None): 1, (10, None): 1})
    """
    starts, n = np.unique(time_ms[~late] // pane_ms * pane_ms, return_counts=True)
    return Counter({(start_ms, None): of for start_ms, of in zip(starts.tolist(), n.tolist(), strict=True)})


def new_features_by_pane(batch: PredictionBatch | FeatureBatch, late: Mask, pane_ms: int) -> Extras:
    """Count the events of the sample that carry each feature that is not known."""
    found: Extras = Counter()
    for name, carried in batch.new_features.items():
        times = batch.time_ms[carried & ~late] // pane_ms * pane_ms
        found.update((start_ms, name) for start_ms in times.tolist())
    return found


async def write_extras(connection: Connection, model: MonitoredModel, extras: Extras) -> None:
    """Insert what was counted; the caller holds the pane lock."""
    if not extras:
        return
    counted = sorted(extras.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    await run(
        connection,
        "add_extras",
        model_id=model.model_id,
        pane_start=pg_array("timestamptz", [start_ms for (start_ms, _), _ in counted]),
        feature=[None if name is None else storable(name) for (_, name), _ in counted],
        n=pg_array("int8", [n for _, n in counted]),
    )
