"""Keeping how late labels are: counted as slides close, by blocks of cohorts, from what arrived in event time alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from detectors.reference.summaries import ALL_TRAFFIC
from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, rows, run
from labels_join.delays import DelayCurves, Delays, DelaySpec, delay_curves, strata_of
from streams.closing.rollups import RollupStore
from streams.monitored import MonitoredModel
from streams.panes import PaneLayout


class LabelDelays:
    """The label delays of all versions of one model, for one transaction: loaded once, fed slide by slide, saved once.

    Parameters
    ----------
    layouts
        By version code: the profile in force and its layout. Under another reference, horizon or positive class
        counting begins anew.
    """

    def __init__(
        self,
        connection: Connection,
        model: MonitoredModel,
        store: RollupStore,
        layouts: Mapping[int, tuple[int, PaneLayout]],
    ) -> None:
        self._connection = connection
        self._model = model
        self._store = store
        self._layouts = layouts
        self._spec = DelaySpec(model.grain_ms, model.horizon_ms)
        self._closed_ms = 0
        self._known: dict[int, Delays] = {}
        self._touched: set[tuple[int, int]] = set()
        self._forgotten: set[tuple[int, int]] = set()
        self._curves: dict[tuple[int, int], DelayCurves | str] = {}

    async def load(self, closed_ms: int) -> None:
        """Read what was counted under the references in force.

        Parameters
        ----------
        closed_ms
            Through when slides are closed.
        """
        self._closed_ms = closed_ms
        if self._model.settings.performance is None:
            return
        ages = len(self._spec.ages_ms)
        for item in await rows(self._connection, "label_delays", model_id=self._model.model_id):
            if item.version in self._layouts and item.spec == self._spec_of(item.version):
                known = self._known.setdefault(item.version, Delays(item.watched_since))
                counts = np.frombuffer(item.content, "<i8").astype(np.int64)
                known.blocks[item.block_start] = counts.reshape(ages, item.n_classes, -1)
            else:
                self._forgotten.add((item.version, item.block_start))

    def _spec_of(self, version: int) -> str:
        positive = self._model.settings.positive_class
        return f"{self._layouts[version][0]} {self._spec.grain_ms} {self._spec.horizon_ms} {positive}"

    async def count(self, slide: tuple[int, int], outcomes: Iterable[Any]) -> None:
        """Count the labels that arrived in a closed slide."""
        self._closed_ms = slide[1]
        if self._model.settings.performance is None:
            return
        start_ms, end_ms = slide
        alike: dict[tuple[int, int, int], list[bytes]] = defaultdict(list)
        for delta in outcomes:
            in_force = self._layouts.get(delta.version, (None,))[0]
            if delta.segment == ALL_TRAFFIC and delta.profile_id == in_force:
                known = self._known.setdefault(delta.version, Delays(start_ms))
                if delta.cohort_start >= known.since_ms:
                    age = self._spec.age_index(max(0, end_ms - delta.cohort_start - self._spec.grain_ms))
                    alike[delta.version, self._spec.block_of(delta.cohort_start), age].append(delta.vector)
        for (version, block_ms, age), vectors in alike.items():
            profile_id, layout = self._layouts[version]
            vector = await self._store.merge_vectors("arrival", profile_id, vectors)
            strata = strata_of(vector, layout.profile, self._model.settings.positive_class).sum(axis=0)
            self._known[version].add(self._spec, block_ms, age, strata)
            self._touched.add((version, block_ms))
            self._forgotten.discard((version, block_ms))
        for version, known in self._known.items():
            self._forgotten |= {(version, block_ms) for block_ms in known.forget(self._spec, end_ms)}
            self._curves[version, end_ms] = delay_curves(self._spec, known, end_ms)

    def known_at(self, as_of_ms: int) -> int:
        """Return as of when something is known that is asked for as of a time: the last closed slide's end at most."""
        return min(as_of_ms, self._closed_ms)

    def curves(self, version: int, as_of_ms: int) -> DelayCurves | str:
        """Return what was known at the end of a slide that was closed in this transaction, or is known now."""
        as_of_ms = self.known_at(as_of_ms)
        if (version, as_of_ms) not in self._curves:
            known = self._known.get(version, Delays(as_of_ms))
            self._curves[version, as_of_ms] = delay_curves(self._spec, known, as_of_ms)
        return self._curves[version, as_of_ms]

    async def save(self) -> None:
        """Write the blocks that changed, and drop the old ones."""
        changed = sorted(self._touched - self._forgotten)
        blocks = [self._known[version].blocks[block_ms] for version, block_ms in changed]
        if changed:
            await run(
                self._connection,
                "save_label_delays",
                model_id=self._model.model_id,
                version=pg_array("int2", [version for version, _ in changed]),
                block_start=pg_array("timestamptz", [block_ms for _, block_ms in changed]),
                watched_since=pg_array("timestamptz", [self._known[version].since_ms for version, _ in changed]),
                spec=[self._spec_of(version) for version, _ in changed],
                n_classes=pg_array("int2", [block.shape[1] for block in blocks]),
                content=pg_bytea_array([block.astype("<i8").tobytes() for block in blocks]),
            )
        if self._forgotten:
            gone = sorted(self._forgotten)
            await run(
                self._connection,
                "drop_label_delays",
                model_id=self._model.model_id,
                version=pg_array("int2", [version for version, _ in gone]),
                block_start=pg_array("timestamptz", [block_ms for _, block_ms in gone]),
            )
