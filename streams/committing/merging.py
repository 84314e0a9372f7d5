"""What waits for its slide to close? One summary of each pane, version and segment, however many fetches brought it.

A fetch leaves a delta of every pane it touches, some dozens a second. They are merged as panes pass the watermark: so
what waits is bounded by panes and segments, not by fetches, and a slide closes at once, whatever it holds. Merging is
exact, and late deltas stay apart from the others, so no result depends on whether it was done; a replay does without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from driftline.store.connection import Connection, bounded, rows, the_row, timestamp
from labels_join.outcomes import OutcomeDeltas
from streams.closing.rollups import Kind, RollupStore
from streams.committing.deltas import OutcomesOf, PanesOf, write_outcomes, write_panes
from streams.monitored import MonitoredModel, Profiles
from streams.panes import PaneDeltas, widened
from streams.windows import floor_to

DELTAS_AT_ONCE_MAX = 2_000
"""With a hundred features these are some 25 MB."""


async def merge_passed_panes(
    connection: Connection, profiles: Profiles, model: MonitoredModel, from_ms: int, watermark_ms: int
) -> int | None:
    """Merge the deltas of panes that passed the watermark.

    Parameters
    ----------
    from_ms
        Panes before were merged already; what came to them late may stay as it is.

    Returns
    -------
    Up to where panes are merged now; None if somebody else is at this model.
    """
    to_ms = floor_to(watermark_ms, model.settings.windows.pane_ms)
    if to_ms <= from_ms:
        return from_ms
    stretch = {"model_id": model.model_id, "from": timestamp(from_ms), "to": timestamp(to_ms)}
    while True:
        async with bounded(connection):
            # Nobody else folds them meanwhile, and nobody moves them to another reference; writers only add.
            if not (await the_row(connection, "try_lock_evaluation", model_id=model.model_id)).taken:
                return None
            await rows(connection, "lock_panes_shared", buckets=[model.bucket])
            store = RollupStore(connection, profiles, model)
            panes = await rows(connection, "take_crowded_panes", **stretch, rows_max=DELTAS_AT_ONCE_MAX)
            outcomes = await rows(connection, "take_crowded_outcomes", **stretch, rows_max=DELTAS_AT_ONCE_MAX)
            merged = await _merged(store, "features", panes, _pane_of)
            await write_panes(
                connection,
                [
                    PanesOf(model.model_id, of, PaneDeltas(*(*columns, await store.n_bins(of))))
                    for of, columns in merged.items()
                ],
            )
            for of, columns in (await _merged(store, "arrival", outcomes, _outcome_of)).items():
                await write_outcomes(connection, OutcomesOf(model.model_id, of, OutcomeDeltas(*columns)))
        if not panes and not outcomes:
            return to_ms


def _pane_of(delta: Any) -> tuple[int, int, int, bool]:
    return delta.version, delta.segment, delta.pane_start, delta.late


def _outcome_of(delta: Any) -> tuple[int, int, int, int, bool]:
    return delta.version, delta.segment, delta.cohort_start, delta.arrival_start, delta.late


async def _merged(
    store: RollupStore, kind: Kind, deltas: Sequence[Any], key_of: Callable[[Any], tuple[int, ...]]
) -> dict[int, tuple[Any, ...]]:
    """Add up the deltas that are alike; by key, so that they stand in the store as they will be read.

    Returns
    -------
    By profile, the columns of their keys, how many events they are of, and their vectors.
    """
    alike: dict[tuple[int, ...], list[Any]] = defaultdict(list)
    for delta in deltas:
        alike[delta.profile_id, *key_of(delta)].append(delta)
    merged: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for (profile_id, *key), of in sorted(alike.items()):
        vector = await store.merge_vectors(kind, profile_id, [widened(delta.vector) for delta in of])
        merged[profile_id].append((*key, sum(delta.n for delta in of), vector.tobytes()))
    return {profile_id: _columns(found) for profile_id, found in merged.items()}


def _columns(found: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    *columns, vectors = zip(*found, strict=True)
    return (*map(np.array, columns), list(vectors))
