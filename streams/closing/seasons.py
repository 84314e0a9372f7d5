"""What did the like phases of past seasons hold: the same hours of the past days, or of the past weeks?

Where a model has a season, window statistics compare with these instead of the reference. They are read from rollups:
what the store knows when a window is judged, which without late events is the same live and in a replay.
Invariant: a phase counts whole or not at all, and only under the profile in force.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.reference.summaries import Ints
from driftline.settings.windows import SEASONS, SEASONS_MIN
from driftline.store.connection import Connection
from streams.closing.rollups import Group, Rollup, RollupKey, RollupStore
from streams.monitored import MonitoredModel, count_of_models
from streams.windows import grains_of, like_phases


class Seasons:
    """The like phases of one model's stretches, read once for all groups that share a stretch."""

    def __init__(self, connection: Connection, store: RollupStore, model: MonitoredModel) -> None:
        self._connection = connection
        self._store = store
        self._model = model
        self._phases: dict[tuple[int, int], Mapping[RollupKey, Rollup]] = {}
        self._n_unknown = 0

    def forget(self) -> None:
        """Read phases anew: deltas were folded into the rollups."""
        self._phases.clear()

    async def reference(
        self, group: Group, profile_id: int, n_bins: int, stretch: tuple[int, int], *, ready: bool
    ) -> Ints:
        """Return the counts by bin of a stretch's like phases together; nothing where too few seasons hold any.

        Too few are less than `SEASONS_MIN`, or phases with fewer events together than a window must have. Where that
        is all that the stretch lacks, being `ready` itself, it is counted.
        """
        period_ms = self._model.settings.windows.seasonality_ms
        assert period_ms is not None
        total, n_events, n_seasons = np.zeros(n_bins, np.int64), 0, 0
        for phase in like_phases(stretch, period_ms, SEASONS[period_ms]):
            found = await self._of(group, profile_id, phase)
            if found:
                n_seasons += 1
                n_events += sum(rollup.n for rollup in found)
                total += await self._merged(profile_id, n_bins, found)
        if n_seasons >= SEASONS_MIN and n_events >= self._model.settings.windows.min_events:
            return total
        self._n_unknown += ready
        return np.zeros(n_bins, np.int64)

    async def save(self) -> None:
        """Count the windows of versions and segments that could not be judged for want of past seasons."""
        if self._n_unknown:
            await count_of_models(self._connection, [self._model.name], [self._n_unknown], reason="season_unknown")

    async def last(self, group: Group, profile_id: int, n_bins: int, stretch: tuple[int, int]) -> Ints | None:
        """Return the counts by bin of the like phase one season before a stretch; None where it held nothing."""
        period_ms = self._model.settings.windows.seasonality_ms
        assert period_ms is not None
        found = await self._of(group, profile_id, like_phases(stretch, period_ms, 1)[0])
        return await self._merged(profile_id, n_bins, found) if found else None

    async def _of(self, group: Group, profile_id: int, phase: tuple[int, int]) -> list[Rollup]:
        if phase not in self._phases:
            self._phases[phase] = await self._store.load(("features",), *phase)
        rollups = self._phases[phase]
        keys = (RollupKey("features", ms, group, profile_id) for ms in grains_of(*phase, self._model.grain_ms))
        return [rollups[key] for key in keys if key in rollups]

    async def _merged(self, profile_id: int, n_bins: int, found: list[Rollup]) -> Ints:
        merged = await self._store.merge_vectors("features", profile_id, [rollup.vector for rollup in found])
        return merged[:n_bins]
