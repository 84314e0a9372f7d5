"""Metrics of windows: by cohort as labels mature, by arrival when they come, estimated before any label is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from detectors.metrics import Estimate
from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC, Ints, merge_vectors
from driftline.store.connection import Connection, rows, timestamp
from labels_join.correction import Corrected, LateGrain, corrected
from labels_join.estimate import estimated_metrics
from labels_join.performance import labels_by_class, metrics_of
from streams.closing.delays import LabelDelays
from streams.closing.results import MeasuredGroup, drop_metrics, write_metrics
from streams.closing.rollups import Group, Rollup, RollupKey, RollupStore
from streams.monitored import MonitoredModel, Profiles
from streams.panes import NO_PROFILE, PaneLayout, scored_cells
from streams.windows import grains_of

Basis = Literal["cohort", "arrival"]


class Measures:
    """Computes the metrics of one model's windows, inside the caller's transaction.

    Parameters
    ----------
    layouts
        By version code: the profile in force and its layout.
    delays
        How late labels are, as of the slides that were closed.
    """

    def __init__(
        self,
        connection: Connection,
        profiles: Profiles,
        model: MonitoredModel,
        store: RollupStore,
        layouts: Mapping[int, tuple[int, PaneLayout]],
        delays: LabelDelays,
    ) -> None:
        self._delays = delays
        self._connection = connection
        self._profiles = profiles
        self._model = model
        self._store = store
        self._layouts = layouts

    async def write(self, basis: Basis, window: tuple[int, int], as_of_ms: int) -> list[MeasuredGroup]:
        """Write the metrics of a window with all labels that are here, and return them.

        Arrival windows are closed, so all their outcomes are in rollups; those of a cohort may be waiting.

        Parameters
        ----------
        as_of_ms
            End of the slide that brought the window's last label: so late is it when correcting for late labels.
        """
        waiting = await self._waiting_outcomes(window) if basis == "cohort" and self._model.settings.has_labels else ()
        measured, emptied = await self._measure(basis, window, waiting, as_of_ms)
        await write_metrics(self._connection, self._model, measured)
        await drop_metrics(self._connection, self._model, window[1], basis, emptied)
        return measured

    async def write_estimates(self, window: tuple[int, int], rollups: Mapping[RollupKey, Rollup]) -> None:
        """Write what the scores of a closed window's predictions say of its metrics, where the reference has labels.

        Parameters
        ----------
        rollups
            Those of the window, of any kinds.
        """
        performance, labels = self._model.settings.performance, self._model.settings.labels
        if performance is None or labels is None:
            return
        cells: dict[Group, list[bytes]] = defaultdict(list)
        n_predictions: dict[Group, int] = defaultdict(int)
        for key, rollup in rollups.items():
            profile_id, layout = self._layouts.get(key.group.version, (NO_PROFILE, None))
            if key.kind == "features" and layout is not None and key.profile_id == profile_id:
                cells[key.group].append(rollup.vector[8 * layout.width :])
                n_predictions[key.group] += rollup.n
        measured = []
        for group, parts in sorted(cells.items()):
            layout = self._layouts[group.version][1]
            scored = scored_cells(merge_vectors(parts, 0), layout)
            positive = self._model.settings.positive_class
            metrics = estimated_metrics(scored, layout.profile, positive, performance.metrics)
            measured.append(
                MeasuredGroup(window, group, "estimated", metrics, n_predictions[group], 0, labels.keep_share)
            )
        await write_metrics(self._connection, self._model, measured)

    async def closed_cohort(self, window: tuple[int, int], as_of_ms: int) -> list[MeasuredGroup]:
        """Return a cohort's metrics as of the slide that was closed last, whatever came to the store since then."""
        measured, _ = await self._measure("cohort", window, (), as_of_ms)
        return measured

    async def outcomes(self, basis: Basis, stretch: tuple[int, int], version: int) -> dict[int, Ints]:
        """Return the merged outcomes of a version's segments in a stretch of closed slides, under its reference."""
        profile_id = self._layouts[version][0]
        found: dict[int, list[bytes]] = defaultdict(list)
        for key, rollup in (await self._store.load((basis,), *stretch)).items():
            if key.group.version == version and key.profile_id == profile_id:
                found[key.group.segment].append(rollup.vector)
        return {
            segment: await self._store.merge_vectors(basis, profile_id, vectors)
            for segment, vectors in sorted(found.items())
        }

    async def features(self, stretch: tuple[int, int], version: int) -> Ints:
        """Return the counts by bin of all traffic of a version in a stretch of closed slides, under its reference."""
        profile_id, layout = self._layouts[version]
        found = await rows(
            self._connection,
            "feature_vectors",
            model_id=self._model.model_id,
            versions=[version],
            segment=ALL_TRAFFIC,
            **{"from": timestamp(stretch[0]), "to": timestamp(stretch[1])},
        )
        vectors = [item.vector for item in found if item.profile_id == profile_id]
        return (await self._store.merge_vectors("features", profile_id, vectors))[: layout.n_bins]

    async def labels_by_class(self, profile_id: int, vectors: list[bytes]) -> dict[str, int]:
        """Return how many labels of each true class some outcome vectors hold."""
        vector = await self._store.merge_vectors("arrival", profile_id, vectors)
        layout = await self._profiles.layout(self._connection, profile_id)
        return labels_by_class(vector, layout.profile, self._model.settings.positive_class)

    async def _measure(
        self, basis: Basis, window: tuple[int, int], waiting: Iterable[Any], as_of_ms: int
    ) -> tuple[list[MeasuredGroup], list[Group]]:
        """Return the metrics of a window under whatever profiles, and the groups that have nothing to measure."""
        performance, labels = self._model.settings.performance, self._model.settings.labels
        if performance is None or labels is None:
            return [], []
        n_predictions = await self._store.count_predictions(*window)
        outcomes: dict[Group, dict[int, list[Rollup]]] = defaultdict(lambda: defaultdict(list))
        by_grain: dict[Group, dict[tuple[int, int], list[bytes]]] = defaultdict(lambda: defaultdict(list))
        for key, rollup in (await self._store.load((basis,), *window)).items():
            outcomes[key.group][key.profile_id].append(rollup)
            by_grain[key.group][key.grain_ms, key.profile_id].append(rollup.vector)
        for delta in waiting:
            group = Group(delta.version, delta.segment)
            outcomes[group][delta.profile_id].append(Rollup(delta.n, delta.vector))
            by_grain[group][delta.cohort_start, delta.profile_id].append(delta.vector)
        measured, emptied = [], []
        for group in sorted({*outcomes, *(n_predictions if basis == "cohort" else ())}):
            n_labelled = sum(part.n for parts in outcomes[group].values() for part in parts)
            if not n_labelled and (basis == "arrival" or not n_predictions.get(group)):
                emptied.append(group)  # all its labels were corrected by later ones
                continue
            if not outcomes[group] and group.version not in self._layouts:
                continue  # nothing says of which classes there are no labels yet
            of_profile = outcomes[group] or {self._layouts[group.version][0]: []}
            merged = [await self._outcomes(basis, *of) for of in sorted(of_profile.items())]
            metrics = metrics_of(merged, self._model.settings.positive_class, performance.metrics)
            sizes = n_predictions.get(group, 0), n_labelled
            late = await self._corrected(group, by_grain[group], metrics, as_of_ms) if basis == "cohort" else None
            measured.append(MeasuredGroup(window, group, basis, metrics, *sizes, labels.keep_share, late))
        return measured, emptied

    async def _corrected(
        self,
        group: Group,
        by_grain: Mapping[tuple[int, int], list[bytes]],
        metrics: Mapping[str, Estimate],
        as_of_ms: int,
    ) -> Corrected:
        """Correct a cohort's metrics for late labels, by the delays of all traffic of its version."""
        curves = self._delays.curves(group.version, as_of_ms)
        in_force = self._layouts.get(group.version)
        if isinstance(curves, str) or in_force is None or any(of != in_force[0] for _, of in by_grain):
            return Corrected({}, None, None, curves if isinstance(curves, str) else "it began under another reference")
        profile = in_force[1].profile
        grains = []
        for (grain_ms, profile_id), vectors in sorted(by_grain.items()):
            vector = await self._store.merge_vectors("cohort", profile_id, vectors)
            age_ms = max(0, self._delays.known_at(as_of_ms) - grain_ms - self._model.grain_ms)
            grains.append(LateGrain.of(age_ms, vector, profile, self._model.settings.positive_class))
        return corrected(curves, grains, metrics, profile)

    async def _outcomes(self, basis: Basis, profile_id: int, parts: Iterable[Rollup]) -> tuple[Ints, Profile]:
        layout = await self._profiles.layout(self._connection, profile_id)
        return await self._store.merge_vectors(basis, profile_id, [part.vector for part in parts]), layout.profile

    async def _waiting_outcomes(self, window: tuple[int, int]) -> list[Any]:
        """Return outcomes of a window's predictions that arrived in what is still open."""
        cohort_starts = [timestamp(ms) for ms in grains_of(*window, self._model.grain_ms)]
        return await rows(
            self._connection, "waiting_outcomes", model_id=self._model.model_id, cohort_starts=cohort_starts
        )
