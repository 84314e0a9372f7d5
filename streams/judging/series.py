"""What sequential detectors say when a window closes: which series they watch, and what the panes showed. No I/O.

They see the panes of a model one after the other, each once, in event time, without late events; the window's verdict
on a feature is the clearest change that its panes showed in any of the feature's series, else how the clearest of them
stands where the window ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np

from detectors.budget import DELTA_MAX
from detectors.noise.swings import SeriesSwings
from detectors.reference.profile import STEPS_PER_SCALE, Profile
from detectors.reference.summaries import Ints
from detectors.sequential.cuts import Cut
from detectors.sequential.registry import make_bank
from driftline.settings import DriftSettings
from labels_join.outcomes import WATCHED_STEPS_PER_SCALE
from labels_join.performance import error_series, watched_errors
from streams.judging.verdicts import Floats, Verdict
from streams.panes import PaneLayout

CATEGORIES_WATCHED_MAX = 20
"""Shares of the most frequent categories are watched one by one; rarer ones only within window statistics."""

PANES_AT_ONCE = 64
"""Panes whose vectors are taken apart together: enough to spare most calls, few enough to bound memory."""


@dataclass(frozen=True, eq=False)
class SeriesLayout:
    """Which series a model's sequential detectors watch, and where each stands in a pane's vector.

    Parameters
    ----------
    names
        The distinct watched names in the order of verdicts: features, then error series.
    owner
        int64 [series]; place of each series' name among `names`.
    is_mean
        bool [feature series]; a standardised mean, else a share.
    place
        int64 [feature series]; where the sum, or the bin's count, stands in the pane's vector.
    feature
        int64 [feature series]; the series' feature.
    ranges, units, effects
        float64 [series]; see `detectors.sequential.adwin.AdwinBank`.
    """

    names: tuple[str, ...]
    owner: Ints
    is_mean: np.ndarray[tuple[int], np.dtype[np.bool_]]
    place: Ints
    feature: Ints
    ranges: Floats
    units: Floats
    effects: Floats

    def clearest_of(self, clearness: Floats) -> Ints:
        """Return, for each name, the first of its series that is the clearest."""
        order = np.lexsort((-clearness, self.owner))
        return order[np.searchsorted(self.owner, np.arange(len(self.names)))]


@lru_cache(maxsize=4096)
def series_layout(layout: PaneLayout, drift: DriftSettings, with_errors: bool) -> SeriesLayout:
    """Lay out the series: each numeric feature's mean and missing share, each category's share, each error rate."""
    owner, is_mean, place, feature_of, ranges, units, effects = [], [], [], [], [], [], []

    def watch(of: int, mean: bool, at: int, spread: float, unit: float, effect: float) -> None:
        owner.append(of)
        is_mean.append(mean)
        place.append(at)
        feature_of.append(of)
        ranges.append(spread)
        units.append(unit)
        effects.append(effect)

    adwin = drift.adwin
    for index, feature in enumerate(layout.profile.features):
        start = int(layout.starts[index])
        if feature.kind == "numeric":
            watch(index, True, int(layout.sums[index]), 16.0, 1.0 / STEPS_PER_SCALE, adwin.effect_mean)
        else:
            for category in range(min(len(feature.categories), CATEGORIES_WATCHED_MAX)):
                watch(index, False, start + category, 1.0, 1.0, adwin.effect_share)
            watch(index, False, start + feature.other_index, 1.0, 1.0, adwin.effect_share)
        watch(index, False, start + feature.missing_index, 1.0, 1.0, adwin.effect_share)
    names = [feature.name for feature in layout.profile.features]
    n_features_series = len(place)
    if with_errors:
        regression = layout.profile.task == "regression"
        for name in error_series(layout.profile):
            owner.append(len(names))
            names.append(name)
            ranges.append(8.0 if regression else 1.0)
            units.append(1.0 / WATCHED_STEPS_PER_SCALE if regression else 1.0)
            effects.append(adwin.effect_mean if regression else adwin.effect_share)
    return SeriesLayout(
        tuple(names),
        np.array(owner, np.int64),
        np.array(is_mean[:n_features_series], np.bool_),
        np.array(place, np.int64),
        np.array(feature_of, np.int64),
        np.array(ranges, np.float64),
        np.array(units, np.float64),
        np.array(effects, np.float64),
    )


@dataclass(frozen=True, slots=True)
class Pane:
    """One pane of one version and segment, in-time events only.

    Parameters
    ----------
    features
        The merged pane vector, or None if no prediction lies in it.
    outcomes
        The merged vector of the outcomes that arrived in it, or None.
    """

    start_ms: int
    features: Ints | None
    outcomes: Ints | None


class SequentialDetectors:
    """The sequential detectors of one version and segment: fed with panes, asked once a window.

    Parameters
    ----------
    deltas
        How sure each of them must be of a change; plug-ins have their own defaults.
    snapshot
        State to go on from, as `snapshot` returned it under the same profile and settings; None for a new one.
    """

    def __init__(
        self,
        layout: PaneLayout,
        drift: DriftSettings,
        *,
        deltas: Mapping[str, float],
        with_errors: bool,
        snapshot: bytes | None,
    ) -> None:
        self._layout = layout
        self._series = series_layout(layout, drift, with_errors)
        self._with_errors = with_errors
        series, names = self._series, drift.sequential
        n_series = len(series.owner)
        at = SeriesSwings.size(n_series)
        self._swings = SeriesSwings(n_series, None if snapshot is None else snapshot[:at])
        states = [None] * len(names) if snapshot is None else _unpacked(snapshot[at:])
        self._banks = {
            name: make_bank(name, deltas.get(name, DELTA_MAX), series.ranges, series.units, series.effects, state)
            for name, state in zip(names, states, strict=True)
        }

    def snapshot(self) -> bytes:
        """Return the state."""
        return self._swings.to_bytes() + _packed([bank.snapshot() for bank in self._banks.values()])

    def judge(self, panes: Iterable[Pane]) -> list[Verdict]:
        """Feed the panes of one window and return its verdicts, one for each detector and watched name.

        Of each series it is the clearest change that was detected on the way, else how it stands where the window ends.
        """
        found: dict[str, Cut] = {}
        for starts_ms, values in self._values(panes):
            for name, bank in self._banks.items():
                for cut in bank.update_many(*values, starts_ms):
                    found[name] = _clearer(found[name], cut) if name in found else cut
        verdicts: list[Verdict] = []
        for name, bank in self._banks.items():
            last = bank.clearest()
            verdicts += self._verdicts(name, _told(found[name], last) if name in found else last)
        return verdicts

    def _verdicts(self, detector: str, best: Cut) -> Iterator[Verdict]:
        clearest = self._series.clearest_of(_clearness(best))
        columns = (column[clearest].tolist() for column in best)
        for name, detected, gap, epsilon, n_old, n_new, since_ms in zip(self._series.names, *columns, strict=True):
            yield Verdict(
                name,
                detector,
                abs(gap),
                epsilon,
                float("nan"),
                n_old,
                n_new,
                "drift" if detected else "ok" if n_old else "not_ready",
                changed_ms=since_ms if detected else None,
                fell=detected and gap < 0,
                reason=None if detected or n_old else "no_change_yet",
            )

    def _values(self, panes: Iterable[Pane]) -> Iterator[tuple[Ints, tuple[Ints, Ints, Ints]]]:
        """Yield of some panes in a row their starts and, by pane and series, counts, sums and sums of squares."""
        remaining = iter(panes)
        while some := list(islice(remaining, PANES_AT_ONCE)):
            counts, sums, squares = self._feature_values(some)
            for row, pane in enumerate(some):
                if self._with_errors and pane.outcomes is not None:
                    errors = watched_errors(pane.outcomes, self._layout.profile)
                    for values, of_errors in zip((counts, sums, squares), errors, strict=True):
                        values[row, len(self._series.place) :] = of_errors
            dispersions = self._swings.learn(counts, sums, squares)
            for bank in self._banks.values():
                bank.disperse(dispersions)
            yield np.array([pane.start_ms for pane in some], np.int64), (counts, sums, squares)

    def _feature_values(self, panes: Sequence[Pane]) -> tuple[Ints, Ints, Ints]:
        series, layout = self._series, self._layout
        n_features = len(series.place)
        dense = np.zeros((len(panes), layout.width), np.int64)
        for row, pane in enumerate(panes):
            if pane.features is not None:
                dense[row] = pane.features[: layout.width]
        counts, sums, squares = (np.zeros((len(panes), len(series.owner)), np.int64) for _ in range(3))
        per_feature = np.add.reduceat(dense[:, : layout.n_bins], layout.starts[:-1], axis=1)
        ends = layout.starts[1:]
        usable = per_feature - dense[:, ends - 1] - dense[:, ends - 2]
        counts[:, :n_features] = np.where(series.is_mean, usable[:, series.feature], per_feature[:, series.feature])
        sums[:, :n_features] = dense[:, series.place]
        # Behind a sum of steps stands that of their squares; a count is the square of itself, as its steps are 0 or 1.
        squares[:, :n_features] = dense[:, series.place + series.is_mean]
        return counts, sums, squares


def _packed(states: Sequence[bytes]) -> bytes:
    return np.array([len(states), *map(len, states)], "<i8").tobytes() + b"".join(states)


def _unpacked(snapshot: bytes) -> list[bytes]:
    n = int(np.frombuffer(snapshot, "<i8", count=1)[0])
    sizes = np.frombuffer(snapshot, "<i8", offset=8, count=n)
    ends = (8 * (n + 1) + np.cumsum(sizes)).tolist()
    return [snapshot[end - size : end] for size, end in zip(sizes.tolist(), ends, strict=True)]


def _clearer(one: Cut, other: Cut) -> Cut:
    """Return, series by series, whichever of two is clearer."""
    return _choose(_clearness(other) > _clearness(one), other, one)


def _told(found: Cut, last: Cut) -> Cut:
    """Return what was detected; where nothing was, how it stands now, though it is no change."""
    return _choose(found.detected, found, last)


def _choose(first: np.ndarray[tuple[int], np.dtype[np.bool_]], one: Cut, other: Cut) -> Cut:
    return Cut(*(np.where(first, *of) for of in zip(one, other, strict=True)))


def _clearness(cut: Cut) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    tested = cut.n_old > 0
    return np.where(tested, np.abs(cut.gap) / np.where(cut.epsilon > 0, cut.epsilon, 1.0), -1.0)


def sequential_spec(profile: Profile, drift: DriftSettings, *, deltas: Mapping[str, float], with_errors: bool) -> str:
    """Return what a sequential state was built for; a state of another spec is never continued."""
    told = " ".join(dict.fromkeys(repr(delta) for delta in deltas.values()))
    return f"{profile.digest} {' '.join(drift.sequential)} {drift.adwin.model_dump_json()} {told} {with_errors}"
