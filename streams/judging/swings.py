"""How much a model's features swing from piece to piece of event time: learnt as windows close, and stored.

Late events are left out, so a live stream and its replay learn the same.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from detectors.noise.dependence import FloatArray, worst_case
from detectors.noise.swings import PIECES_A_SLIDE, FeatureSwings
from detectors.reference.summaries import Ints
from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, rows, run, timestamp
from streams.closing.rollups import Group, counted_in_force
from streams.closing.seasons import Seasons
from streams.monitored import MonitoredModel
from streams.panes import PaneLayout
from streams.windows import floor_to


class Swings:
    """What is known of all features of a model, for one transaction: loaded once, taught slide by slide, saved once.

    Parameters
    ----------
    layouts
        By version code: the profile in force and its pane layout.
    """

    def __init__(
        self, connection: Connection, model: MonitoredModel, layouts: Mapping[int, tuple[int, PaneLayout]]
    ) -> None:
        self._connection = connection
        self._model = model
        self._layouts = layouts
        self._known: dict[Group, FeatureSwings] = {}
        self._changed: set[Group] = set()

    async def load(self) -> None:
        """Read what is known under the references in force."""
        for item in await rows(self._connection, "swings", model_id=self._model.model_id):
            if item.version in self._layouts and self._layouts[item.version][0] == item.profile_id:
                group = Group(item.version, item.segment)
                self._known[group] = FeatureSwings.from_bytes(zlib.decompress(item.content))

    async def learn(self, slide_ms: int, panes: Iterable[Any], seasons: Seasons) -> None:
        """Take the pane deltas of a slide into account; a length that is over, by what its like phase held."""
        windows = self._model.settings.windows
        vectors: dict[tuple[int, int], list[list[bytes]]] = defaultdict(lambda: [[] for _ in range(PIECES_A_SLIDE)])
        for delta in counted_in_force(self._layouts, panes):
            part = (delta.pane_start - slide_ms) * PIECES_A_SLIDE // windows.slide_ms
            vectors[delta.version, delta.segment][part].append(delta.vector)
        length_ms = floor_to(slide_ms, windows.length_ms)
        for group, of_parts in ((Group(*key), of_parts) for key, of_parts in vectors.items()):
            profile_id, layout = self._layouts[group.version]
            before = self._known.get(group) or FeatureSwings.unknown(
                len(layout.profile.features), layout.n_bins, length_ms
            )
            if self._is_seasonal and before.start_ms != length_ms:
                over = (before.start_ms, before.start_ms + windows.length_ms)
                like = await seasons.last(group, profile_id, layout.n_bins, over)
                before = before.seasonal(like, layout.starts[:-1])
            parts = np.stack([_added(of_part, layout.n_bins) for of_part in of_parts])
            self._known[group] = before.after(parts, length_ms, layout.starts[:-1])
            self._changed.add(group)

    def dispersions(self, group: Group) -> FloatArray | None:
        """Return each feature's dispersion, see `detectors.windows.drift.judge`; None where nothing is known.

        The reference's events may resemble each other as much, so it holds for both samples.
        """
        known = self._known.get(group)
        return None if known is None else known.known(self._freedoms(group), seasonal=self._is_seasonal)

    def divisors(self, group: Group, significance: float) -> FloatArray | None:
        """Return of each feature how many rows that go together say as much as one; None where nothing is known."""
        dispersions = self.dispersions(group)
        return None if dispersions is None else worst_case(dispersions, self._freedoms(group), significance)

    @property
    def _is_seasonal(self) -> bool:
        return self._model.settings.windows.seasonality_ms is not None

    def _freedoms(self, group: Group) -> FloatArray:
        # Missing and other are empty bins of most features, and all shares but one are free.
        freedoms: FloatArray = np.maximum(np.diff(self._layouts[group.version][1].starts) - 3.0, 1.0)
        return freedoms

    async def save(self, closed_ms: int) -> None:
        """Write what changed in the slides that are closed through a time."""
        groups = sorted(self._changed)
        if groups:
            await run(
                self._connection,
                "save_swings",
                model_id=self._model.model_id,
                seen_through=timestamp(closed_ms),
                version=pg_array("int2", [group.version for group in groups]),
                segment=pg_array("int2", [group.segment for group in groups]),
                profile_id=pg_array("int4", [self._layouts[group.version][0] for group in groups]),
                content=pg_bytea_array([zlib.compress(self._known[group].to_bytes(), 1) for group in groups]),
            )


def _added(vectors: list[bytes], n_bins: int) -> Ints:
    """Add up the bins of pane vectors, which are dense."""
    parts = [np.zeros(n_bins, np.int64), *(np.frombuffer(vector, "<i8", n_bins) for vector in vectors)]
    added: Ints = np.add.reduce(parts, axis=0, dtype=np.int64)
    return added
