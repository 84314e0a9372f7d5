"""Judging windows by how their events are distributed: window statistics and data quality, by version and segment.

A window with too few events reaches back, but not over what was judged before. One that late events came to is judged
again over the same stretch, and only the groups that they belong to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from driftline.store.connection import Connection, rows, timestamp
from streams.closing.checks import quality_of
from streams.closing.results import JudgedGroup
from streams.closing.rollups import Group, Rollup, RollupKey, RollupStore
from streams.closing.seasons import Seasons
from streams.judging.sequence import Sequence as Detectors
from streams.judging.spending import window_allowance
from streams.judging.swings import Swings
from streams.judging.verdicts import Reason, reference_counts, window_verdicts, with_reasons
from streams.judging.why import explanations
from streams.monitored import MonitoredModel
from streams.panes import PaneLayout
from streams.windows import grains_of, judged_stretch


class Distributions:
    """The judge of one model's distributions, within one transaction of its evaluation."""

    def __init__(
        self,
        connection: Connection,
        model: MonitoredModel,
        store: RollupStore,
        layouts: Mapping[int, tuple[int, PaneLayout]],
        swings: Swings,
        seasons: Seasons,
    ) -> None:
        self.connection = connection
        self.model = model
        self.windows = model.settings.windows
        self.store = store
        self.layouts = layouts
        self.swings = swings
        self.seasons = seasons

    @property
    def are_judged(self) -> bool:
        """Whether anything is configured that looks at whole windows."""
        return bool(self.model.settings.drift.window_effects or self.model.settings.quality.checks)

    async def judge(
        self, window: tuple[int, int], rollups: Mapping[RollupKey, Rollup], sequence: Detectors
    ) -> list[JudgedGroup]:
        """Judge the window for each version and segment, reaching back where it holds too few events."""
        counts = self._counts(rollups)
        if any(self._n(of, window) < self.windows.min_events for of in counts.values()):
            from_ms = window[1] - self.windows.reach_ms
            rollups = await self.store.load(("features",), min(from_ms, window[0]), window[1])
            counts = {group: of for group, of in self._counts(rollups).items() if group in counts}
        judged = []
        n_versions = len({group.version for group in counts})
        for group, of in sorted(counts.items()):
            stretch = judged_stretch(
                of,
                window,
                grain_ms=self.model.grain_ms,
                min_events=self.windows.min_events,
                lookback_ms_max=self.windows.reach_ms,
                judged_through_ms=sequence.judged_through(group),
            )
            if stretch is not None:
                sequence.mark_judged(group, window[1])
            judged.append(
                await self._judge_stretch(
                    group, stretch or window, rollups, ready=stretch is not None, n_versions=n_versions
                )
            )
        return judged

    async def judge_again(self, window: tuple[int, int], touched: set[tuple[Group, int]]) -> list[JudgedGroup]:
        """Judge again the groups that deltas came to, by what is known now of how they swing; the others stay."""
        if not self.are_judged:
            return []
        spans = await rows(
            self.connection,
            "verdict_spans",
            model_id=self.model.model_id,
            segments=self.model.segment_codes,
            window_end=timestamp(window[1]),
        )
        start_of = {Group(span.version, span.segment): span.window_start for span in spans}
        of_another_reference = {
            Group(span.version, span.segment)
            for span in spans
            if span.version not in self.layouts or span.profile_id != self.layouts[span.version][0]
        }
        rollups = await self.store.load(("features",), min([window[0], *start_of.values()]), window[1])
        self.seasons.forget()
        judged, grains = [], grains_of(*window, self.model.grain_ms)
        counts_of = {
            group: counts
            for group, counts in self._counts(rollups).items()
            if group not in of_another_reference and (group in start_of or any(ms in counts for ms in grains))
        }
        n_versions = len({group.version for group in counts_of})
        for group, counts in sorted(counts_of.items()):
            stretch = (start_of.get(group, window[0]), window[1])
            if not any((group, ms) in touched for ms in grains_of(*stretch, self.model.grain_ms)):
                continue
            ready = self._n(counts, stretch) >= self.windows.min_events
            judged.append(await self._judge_stretch(group, stretch, rollups, ready=ready, n_versions=n_versions))
        return judged

    async def _judge_stretch(
        self,
        group: Group,
        stretch: tuple[int, int],
        rollups: Mapping[RollupKey, Rollup],
        *,
        ready: bool,
        n_versions: int,
    ) -> JudgedGroup:
        profile_id, layout = self.layouts[group.version]
        keys = (RollupKey("features", ms, group, profile_id) for ms in grains_of(*stretch, self.model.grain_ms))
        vectors = [rollups[key].vector for key in keys if key in rollups]
        merged = await self.store.merge_vectors("features", profile_id, vectors)
        segment, settings = self.model.segment_name(group.segment), self.model.settings
        reference = reference_counts(layout, segment)
        n_reference, n_current = (int(counts[: layout.starts[1]].sum()) for counts in (reference, merged))
        sizes = n_reference, n_current, n_versions
        quality = quality_of(self.model, group, layout, merged, self.swings, sizes, ready=ready)
        reason: Reason | None = None if ready else "few_events"
        if self.windows.seasonality_ms is not None:
            reference = await self.seasons.reference(group, profile_id, layout.n_bins, stretch, ready=ready)
            n_reference = int(reference[: layout.starts[1]].sum())
            reason = reason if n_reference else reason or "season_unknown"
        allowed = window_allowance(settings, layout, n_reference, n_current, n_versions)
        verdicts = window_verdicts(
            merged,
            layout,
            settings.drift,
            significance=allowed.significance,
            ready=reason is None,
            segment=segment,
            dependence=self.swings.dispersions(group),
            reference=reference,
        )
        verdicts = with_reasons(verdicts, reason)
        why = explanations(merged, layout, reference, verdicts)
        return JudgedGroup(stretch[0], group, profile_id, verdicts, allowed.expected, why, quality)

    def _counts(self, rollups: Mapping[RollupKey, Rollup]) -> dict[Group, dict[int, int]]:
        """Return how many predictions each grain holds, by group, under the profile in force."""
        counts: dict[Group, dict[int, int]] = defaultdict(dict)
        for key, rollup in rollups.items():
            if key.kind == "features" and self._is_in_force(key):
                counts[key.group][key.grain_ms] = rollup.n
        return counts

    def _is_in_force(self, key: RollupKey) -> bool:
        return key.group.version in self.layouts and self.layouts[key.group.version][0] == key.profile_id

    def _n(self, counts: Mapping[int, int], stretch: tuple[int, int]) -> int:
        return sum(counts.get(ms, 0) for ms in grains_of(*stretch, self.model.grain_ms))
