"""Closing windows: when a model's watermark passes, panes become rollups, rollups become verdicts and metrics.

One transaction closes a few windows of one model. It holds the model's pane lock alone, so it sees every delta that was
written before and none is half there. From the end of one window to the end of the next is a slide. The steps, for each
slide in the order of event time:

1. **take** the slide's pane deltas and the outcomes that arrived in it;
2. **fold** them into rollups, also of the cohorts that the outcomes belong to;
3. **judge** the window that ends with the slide: window statistics over its rollups, sequential detectors over its
   panes, metrics by arrival and estimated from its scores;
4. **decide** what follows from that: episodes, messages, requests (`streams.deciding.policing`).

Then metrics by cohort are written anew for every closed window that was touched. Deltas that come to what is closed are
found by where they lie; they restate the windows that were judged over them, at most once in `restate_after`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from driftline.store.connection import BEGINNING_OF_TIME_MS, Connection, bounded, rows, run, the_row, timestamp
from retraining.messages import Subject
from retraining.policy import Decision
from streams.closing.checks import TrafficWatch
from streams.closing.delays import LabelDelays
from streams.closing.distributions import Distributions
from streams.closing.due import Due, due
from streams.closing.measure import Measures
from streams.closing.results import JudgedGroup, write_verdicts
from streams.closing.rollups import Group, RollupStore
from streams.closing.seasons import Seasons
from streams.deciding.policing import Policing
from streams.judging.sequence import Sequence as Detectors
from streams.judging.swings import Swings
from streams.monitored import MonitoredModel, Profiles, profile_of_version
from streams.panes import PaneLayout
from streams.watermarks import BEFORE_ALL_MS
from streams.windows import floor_to, grains_of, last_end, windows_with

SLIDES_A_TRANSACTION_MAX = 8
"""How many slides one transaction closes, so that writers never wait long in a catch-up."""


Restate = Literal["when due", "now", "not now"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What one call of `evaluate` did.

    Parameters
    ----------
    windows
        Windows that were closed and held something.
    behind
        Whether more slides could be closed at once.
    decided
        What followed from them, of whom, in order; it is committed.
    """

    windows: int
    behind: bool
    decided: tuple[tuple[Subject, Decision], ...] = ()


async def evaluate(
    connection: Connection,
    profiles: Profiles,
    model: MonitoredModel,
    watermark_ms: int,
    *,
    restate: Restate = "when due",
) -> Progress:
    """Close what a model's watermark allows, a few slides at most, and restate what late events changed.

    Parameters
    ----------
    restate
        Whether to wait for `restate_after` since the last restatement.
    """
    if restate != "now":
        restate_after_ms = model.settings.windows.restate_after_ms if restate == "when due" else None
        if not await due(connection, [Due.of(model, watermark_ms, restate_after_ms)]):
            return Progress(0, behind=False)
    async with bounded(connection):
        taken = await the_row(connection, "try_lock_evaluation", model_id=model.model_id)
        if not taken.taken:
            return Progress(0, behind=False)
        await rows(connection, "begin_evaluation")
        await rows(connection, "lock_panes_alone", bucket=model.bucket)
        await model.refresh_names(connection)
        return await _Evaluation(connection, profiles, model).run(watermark_ms, restate)


class _Evaluation:
    """One transaction of one model's evaluation; see the module for its steps."""

    def __init__(self, connection: Connection, profiles: Profiles, model: MonitoredModel) -> None:
        self.connection = connection
        self.profiles = profiles
        self.model = model
        self.windows = model.settings.windows
        self.store = RollupStore(connection, profiles, model)
        self.layouts: dict[int, tuple[int, PaneLayout]] = {}
        """By version code: the profile in force and its layout."""
        self.delays = LabelDelays(connection, model, self.store, self.layouts)
        self.measures = Measures(connection, profiles, model, self.store, self.layouts, self.delays)
        self.swings = Swings(connection, model, self.layouts)
        self.seasons = Seasons(connection, self.store, model)
        self.distributions = Distributions(connection, model, self.store, self.layouts, self.swings, self.seasons)
        self.traffic = TrafficWatch(connection, model, self.layouts)
        self.touched_cohorts: dict[int, int] = {}
        """By start: the end of the slide that touched the cohort last."""

    async def run(self, watermark_ms: int, restate: Restate) -> Progress:
        state = await the_row(self.connection, "evaluation_state", model_id=self.model.model_id)
        await self._read_profiles()
        target_ms = self._last_end(watermark_ms - self.windows.allowed_lateness_ms)
        closed_ms = state.closed_through
        if closed_ms is None:
            earliest_ms = await self._earliest_delta(BEFORE_ALL_MS)
            if earliest_ms is None or self._last_end(earliest_ms) >= target_ms:
                return Progress(0, behind=False)
            closed_ms = self._last_end(earliest_ms)
        await self.swings.load()
        await self.traffic.load()
        await self.delays.load(closed_ms)
        sequence = await Detectors.load(self.connection, self.model, self.layouts)
        policing = await Policing.load(self.connection, self.model, self.layouts, self.measures)
        closed, n_windows = 0, 0
        while closed_ms < target_ms and closed < SLIDES_A_TRANSACTION_MAX:
            next_ms = await self._next_slide(closed_ms, target_ms)
            if next_ms != closed_ms and await self.traffic.is_awaited(closed_ms, next_ms, watermark_ms):
                next_ms = closed_ms
                await self.traffic.close_empty(next_ms, policing)
                closed += 1
            elif next_ms is not None:
                n_windows += await self._close_slide(next_ms, sequence, policing)
                closed += 1
            closed_ms = target_ms if next_ms is None else next_ms + self.windows.slide_ms
        await sequence.save(closed_ms)
        await self.swings.save(closed_ms)
        await self.traffic.save()
        await self.delays.save()
        await policing.save()
        await self.seasons.save()
        seen, restated_ms = state.seen_outcome_delta_id, state.restated_at
        is_due = state.now - restated_ms >= self.windows.restate_after_ms
        if restate == "now" or (restate == "when due" and is_due):
            await self._restate(closed_ms, seen)
            newest = await the_row(self.connection, "newest_outcome", model_id=self.model.model_id, seen=seen)
            seen, restated_ms = newest.seen, state.now
        await self._write_cohorts(closed_ms)
        await run(
            self.connection,
            "save_evaluation_state",
            model_id=self.model.model_id,
            closed_through=timestamp(closed_ms),
            seen_outcome_delta_id=seen,
            restated_at="-infinity" if restated_ms == BEGINNING_OF_TIME_MS else timestamp(restated_ms),
        )
        return Progress(n_windows, closed_ms < target_ms, policing.decided)

    async def _read_profiles(self) -> None:
        in_force = await self.profiles.in_force(self.connection, [self.model])
        for code, name in enumerate(self.model.names("version")):
            profile_id = profile_of_version(in_force, self.model, name)
            if profile_id is not None:
                self.layouts[code] = (profile_id, await self.profiles.layout(self.connection, profile_id))

    async def _earliest_delta(self, from_ms: int) -> int | None:
        found = await the_row(
            self.connection, "earliest_delta", model_id=self.model.model_id, **{"from": timestamp(from_ms)}
        )
        earliest: int | None = found.earliest
        return earliest

    async def _next_slide(self, closed_ms: int, target_ms: int) -> int | None:
        """Return the next slide to close: the next one, or, where its window would be empty, the next with anything."""
        found = await the_row(
            self.connection, "latest_rollup", model_id=self.model.model_id, before=timestamp(closed_ms)
        )
        if found.latest is not None and found.latest >= closed_ms + self.windows.slide_ms - self.windows.length_ms:
            return closed_ms
        earliest_ms = await self._earliest_delta(closed_ms)
        if earliest_ms is None or earliest_ms >= target_ms:
            return None
        return self._last_end(earliest_ms)

    def _last_end(self, ms: int) -> int:
        return last_end(ms, self.windows.length_ms, self.windows.slide_ms)

    def _grain(self, ms: int) -> int:
        return floor_to(ms, self.model.grain_ms)

    async def _close_slide(self, slide_ms: int, sequence: Detectors, policing: Policing) -> bool:
        end_ms = slide_ms + self.windows.slide_ms
        window = (end_ms - self.windows.length_ms, end_ms)
        panes = await self.store.take("take_panes", slide_ms, end_ms)
        outcomes = await self.store.take("take_outcomes", slide_ms, end_ms)
        await self.store.fold(panes, outcomes)
        await self.delays.count((slide_ms, end_ms), outcomes)
        self.touched_cohorts |= dict.fromkeys((slide_ms, *(delta.cohort_start for delta in outcomes)), end_ms)
        rollups = await self.store.load(("features", "arrival"), *window)
        judged: list[JudgedGroup] = []
        if self.distributions.are_judged:
            self.seasons.forget()
            await self.swings.learn(slide_ms, panes, self.seasons)
            judged += await self.distributions.judge(window, rollups, sequence)
        if self.model.settings.drift.sequential:
            judged += await sequence.judge(window, panes, outcomes, self.store)
        traffic = await self.traffic.closed((slide_ms, end_ms), panes, outcomes)
        await write_verdicts(self.connection, self.model, end_ms, judged if traffic is None else [*judged, traffic])
        arrivals = await self.measures.write("arrival", window, window[1])
        await self.measures.write_estimates(window, rollups)
        await policing.slide_closed(window, judged, outcomes, arrivals, traffic)
        return bool(rollups)

    async def _restate(self, closed_ms: int, seen_outcome: int) -> None:
        """Fold deltas that came to what is closed, and judge anew what was judged over them."""
        panes = await self.store.take("take_panes", BEFORE_ALL_MS, closed_ms)
        outcomes = await self.store.take("take_outcomes", BEFORE_ALL_MS, closed_ms)
        await self.store.fold(panes, outcomes)
        grains = {self._grain(delta.pane_start) for delta in panes}
        fresh = await rows(
            self.connection,
            "cohorts_with_new_outcomes",
            model_id=self.model.model_id,
            seen=seen_outcome,
            before=timestamp(closed_ms),
        )
        cohorts = grains | {delta.cohort_start for delta in (*outcomes, *fresh)}
        self.touched_cohorts |= dict.fromkeys(cohorts, closed_ms)
        touched = {(Group(delta.version, delta.segment), self._grain(delta.pane_start)) for delta in panes}
        for window in sorted({*self._closed_windows(grains, closed_ms), *await self._windows_reaching(grains)}):
            await write_verdicts(
                self.connection, self.model, window[1], await self.distributions.judge_again(window, touched)
            )
        for window in self._closed_windows(grains, closed_ms):
            await self.measures.write_estimates(window, await self.store.load(("features",), *window))
        arrivals = grains | {self._grain(delta.arrival_start) for delta in outcomes}
        for window in self._closed_windows(arrivals, closed_ms):
            await self.measures.write("arrival", window, window[1])

    async def _windows_reaching(self, grains: set[int]) -> list[tuple[int, int]]:
        """Return the windows that were judged over some grains, be it that they reached back over them."""
        if not grains:
            return []
        stretches = await rows(
            self.connection,
            "judged_stretches",
            model_id=self.model.model_id,
            segments=self.model.segment_codes,
            **{"from": timestamp(min(grains)), "to": timestamp(max(grains) + self.windows.lookback_max_ms)},
        )
        return [
            (stretch.window_end - self.windows.length_ms, stretch.window_end)
            for stretch in stretches
            if any(stretch.window_start <= ms < stretch.window_end for ms in grains)
        ]

    def _closed_windows(self, grains: Iterable[int], closed_ms: int) -> list[tuple[int, int]]:
        return sorted(
            {
                window
                for ms in grains
                for window in windows_with(ms, self.windows.length_ms, self.windows.slide_ms)
                if window[1] <= closed_ms
            }
        )

    async def _write_cohorts(self, closed_ms: int) -> None:
        """Write the cohort metrics of every closed window that was touched, with all labels that are here."""
        for window in self._closed_windows(self.touched_cohorts, closed_ms):
            touched_ms = [self.touched_cohorts.get(ms, window[1]) for ms in grains_of(*window, self.model.grain_ms)]
            await self.measures.write("cohort", window, max(touched_ms))
