"""What waits for its slide to close? One summary of each pane, version and segment, however many fetches brought it.

A fetch leaves a delta of every pane it touches, some dozens a second. They are merged as panes pass the watermark: so
what waits is bounded by panes and segments, not by fetches, and a slide closes at once, whatever it holds. Merging is
exact, and late deltas stay apart from the others, so no result depends on whether it was done; a replay does without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, rows, run, the_row, timestamp
from streams.monitored import MonitoredModel, Profiles
from streams.rollups import Kind, Rollup, RollupStore
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
        async with connection.transaction():
            # Nobody else folds them meanwhile, and nobody moves them to another reference; writers only add.
            if not (await the_row(connection, "try_lock_evaluation", model_id=model.model_id)).taken:
                return None
            await rows(connection, "lock_panes_shared", buckets=[model.bucket])
            store = RollupStore(connection, profiles, model)
            panes = await rows(connection, "take_crowded_panes", **stretch, rows_max=DELTAS_AT_ONCE_MAX)
            outcomes = await rows(connection, "take_crowded_outcomes", **stretch, rows_max=DELTAS_AT_ONCE_MAX)
            await _put_back_panes(connection, model, await _merged(store, "features", panes, _pane_of))
            await _put_back_outcomes(connection, model, await _merged(store, "arrival", outcomes, _outcome_of))
        if not panes and not outcomes:
            return to_ms


def _pane_of(delta: Any) -> tuple[int, int, int, bool, int]:
    return delta.version, delta.segment, delta.pane_start, delta.late, delta.profile_id


def _outcome_of(delta: Any) -> tuple[int, int, int, int, bool, int]:
    return delta.version, delta.segment, delta.cohort_start, delta.arrival_start, delta.late, delta.profile_id


async def _merged(store: RollupStore, kind: Kind, deltas: Sequence[Any], key_of: Any) -> list[tuple[Any, Rollup]]:
    """Add up the deltas that are alike; by key, so that they stand in the store as they will be read."""
    alike: dict[Hashable, list[Any]] = defaultdict(list)
    for delta in deltas:
        alike[key_of(delta)].append(delta)
    merged = []
    for key, of in sorted(alike.items()):
        vector = await store.merge_vectors(kind, of[0].profile_id, [delta.vector for delta in of])
        merged.append((key, Rollup(sum(delta.n for delta in of), vector.tobytes())))
    return merged


async def _put_back_panes(connection: Connection, model: MonitoredModel, merged: Sequence[tuple[Any, Rollup]]) -> None:
    if not merged:
        return
    version, segment, pane_start, late, profile_id = zip(*(key for key, _ in merged), strict=True)
    await run(
        connection,
        "add_panes",
        model_id=pg_array("int2", [model.model_id] * len(merged)),
        version=pg_array("int2", version),
        segment=pg_array("int2", segment),
        pane_start=pg_array("timestamptz", pane_start),
        late=pg_array("bool", late),
        profile_id=pg_array("int4", profile_id),
        n=pg_array("int8", [rollup.n for _, rollup in merged]),
        vector=pg_bytea_array([rollup.vector for _, rollup in merged]),
    )


async def _put_back_outcomes(
    connection: Connection, model: MonitoredModel, merged: Sequence[tuple[Any, Rollup]]
) -> None:
    if not merged:
        return
    version, segment, cohort_start, arrival_start, late, profile_id = zip(*(key for key, _ in merged), strict=True)
    await run(
        connection,
        "add_outcomes",
        model_id=model.model_id,
        version=pg_array("int2", version),
        segment=pg_array("int2", segment),
        cohort_start=pg_array("timestamptz", cohort_start),
        arrival_start=pg_array("timestamptz", arrival_start),
        late=pg_array("bool", late),
        profile_id=pg_array("int4", profile_id),
        n=pg_array("int8", [rollup.n for _, rollup in merged]),
        vector=pg_bytea_array([rollup.vector for _, rollup in merged]),
    )
