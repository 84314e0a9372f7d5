"""Where can a window of panes be cut in two, and do the parts differ? Of many series, and after many panes, at once.

A window is the running total of its events at every bucket boundary: a cut point's older part is one row of it. To
look at every boundary of every series after every pane is most of what adaptive windows cost, and nearly never is there
anything to see. So `Suspicion` leaves out all but the few that could be cut, by a bound that takes a third of the
arithmetic and looks at many panes at once; `best_cuts` then decides, of these.

Invariant: what `best_cuts` detects, `Suspicion` names; so its bound changes no result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Stands for "fewer events than a part may have": its reciprocal makes every gap insignificant without dividing by zero.
_TOO_FEW = 1e-100
# What rounding may take from a bound: of windows of up to 2^32 events within their range it is below 2e-5.
_ROUNDED = 1.0 - 1e-4
# What numbers of half as many digits lose of those that they are made of, a few times over.
_FEWER_DIGITS = 2.0**-20
# Numbers that are worked on at once: a few columns of so many stay in a core's own cache.
_AT_ONCE = 32_768


@dataclass(frozen=True)
class AdwinSpec:
    """How sensitive and how fine-grained the window is.

    Parameters
    ----------
    delta
        Bound on the chance of a false cut in each test, in (0, 1).
    max_buckets
        Buckets of each size; one more and the two oldest of that size merge.
    min_window
        Least number of events in the older and in the newer part.
    grace
        A window of this many events or fewer is not tested.
    clock
        Only every `clock`-th pane with events is tested; a verdict may come that many panes late.
    """

    delta: float = 0.002
    max_buckets: int = 5
    min_window: int = 5
    grace: int = 10
    clock: int = 1


class Cut(NamedTuple):
    """The best place to cut each series' window; all arrays have shape ``(S,)``.

    A series of which nothing is told has gap 0, its range as epsilon and sizes 0.
    """

    detected: BoolArray
    gap: FloatArray
    """Mean of the newer part minus mean of the older part, in natural units."""
    epsilon: FloatArray
    """The gap that it takes to cut there: the statistical bound or the series' effect, whichever is larger."""
    n_old: IntArray
    n_new: IntArray
    since_ms: IntArray
    """Start of the newer part's first pane: the estimated time of change."""


class Watched(NamedTuple):
    """What is known of the series beforehand, shape ``(S,)``; see `detectors.sequential.adwin.AdwinBank`."""

    ranges: FloatArray
    units: FloatArray
    effects: FloatArray
    dispersions: FloatArray

    def of(self, columns: IntArray) -> Self:
        """Return some of them."""
        return type(self)(*(values[columns] for values in self))


class Best(NamedTuple):
    """The best boundary of each window; all arrays have shape ``(S,)``, see `Cut`."""

    detected: BoolArray
    gap: FloatArray
    epsilon: FloatArray
    n_old: IntArray
    n_new: IntArray
    place: IntArray
    """Of the boundary, among those that were given."""


def best_cuts(spec: AdwinSpec, watched: Watched, boundaries: IntArray, whole: IntArray) -> Best:
    """Return the best boundary of each window: the one with the largest ratio of gap to epsilon.

    Parameters
    ----------
    boundaries
        int64 [2 or 3, boundaries, S]; events, sum of their steps (and of their squares) up to each boundary within the
        window, oldest first; at least one boundary. One without events counts as none.
    whole
        int64 [3, S]; the same of the whole window.
    """
    counts, sums = boundaries[:2]
    width, total, square = whole
    # Dividing floats is much quicker than dividing integers, which become floats all the same.
    n_old = counts.astype(np.float64)
    n_new = width - n_old
    gap = (total - sums).astype(np.float64)
    gap /= np.maximum(n_new, 1.0)
    gap -= sums.astype(np.float64) / np.maximum(n_old, 1.0)
    gap *= watched.units

    reciprocal = 1.0 / np.maximum(n_old - (spec.min_window - 1), _TOO_FEW)
    reciprocal += 1.0 / np.maximum(n_new - (spec.min_window - 1), _TOO_FEW)
    confidence = _confidence(spec, width) * watched.dispersions
    variance = watched.units * watched.units * _variance(width, total, square)
    epsilon = np.sqrt(2.0 * variance * confidence * reciprocal)
    epsilon += (2.0 / 3.0) * confidence * watched.ranges * reciprocal
    np.maximum(epsilon, watched.effects, out=epsilon)

    ratio = np.abs(gap) / epsilon
    np.putmask(ratio, reciprocal > 2.0, -1.0)
    place = np.argmax(ratio, axis=0)
    at = (place, np.arange(place.size))
    tested = (width > spec.grace) & (ratio[at] >= 0.0)
    best_gap = np.where(tested, gap[at], 0.0)
    best_epsilon = np.where(tested, epsilon[at], watched.ranges)
    sizes = np.where(tested, counts[at], 0), np.where(tested, width - counts[at], 0)
    detected = tested & (np.abs(best_gap) >= best_epsilon)
    return Best(detected, best_gap, best_epsilon, *sizes, place)


class Suspicion:
    """Which windows may have to be cut? Of all series, after some panes in a row, as long as none is cut.

    Parameters
    ----------
    totals
        int64 [3, rows, S]; events, sum of their steps and of the steps' squares up to each row; row 0 is zero.
    boundaries
        int64 [panes, boundaries]; rows of the boundaries within the windows that end with each pane, 0 for none.
    ends
        int64 [panes]; the row with which the window ends, ascending.

    Notes
    -----
    With n events in all and c before a boundary, let q = c (n - c) / n, and d the distance of the sum before the
    boundary from c times the window's mean; the gap is d / q. Parts count as `min_window` - 1 events less each, so
    epsilon is at least sqrt(2 k v / q) + 2 k R / 3 q, with confidence k, variance v and range R. Times q, a cut needs
    d >= sqrt(2 k v q) + 2 k R / 3, hence d^2 >= 2 k v q + (2 k R / 3)^2, which takes no root and no division;
    and d >= effect q. The confidence of the first window is the least.
    """

    def __init__(
        self, spec: AdwinSpec, watched: Watched, totals: IntArray, boundaries: IntArray, ends: IntArray
    ) -> None:
        self._boundaries = boundaries
        self._counts, self._sums = totals[:2].astype(np.float64)
        width, total, square = totals[:, ends]
        self._n = np.maximum(width, 1).astype(np.float64)
        self._means = total / self._n
        confidence = _confidence(spec, width[0]) * watched.dispersions
        self._linear = (2.0 / 3.0 * _ROUNDED) * confidence * (watched.ranges / watched.units)
        self._slopes = (2.0 * _ROUNDED * _ROUNDED) * confidence * _variance(width, total, square)
        self._effects = (_ROUNDED / watched.units) * watched.effects
        # Around one mean of the series, what is left is small enough for half of the digits.
        around, shifts = self._sums - self._counts * self._means[0], self._means - self._means[0]
        self._around, self._few, self._shifts, self._steep, self._falling = (
            of.astype(np.float32) for of in (around, self._counts, shifts, self._slopes, self._slopes / self._n)
        )
        lost = _FEWER_DIGITS * (np.abs(around).max(axis=0) + width[-1] * np.abs(shifts).max(axis=0))
        least = np.maximum(self._linear - lost, 0.0) ** 2 - _FEWER_DIGITS * self._slopes.max(axis=0) * width[-1]
        self._least = least.astype(np.float32)

    def blocks(self) -> Iterator[slice]:
        """Part the panes into stretches that are best looked at together."""
        step = max(1, _AT_ONCE // (self._boundaries.shape[1] * self._counts.shape[1]))
        return (slice(start, start + step) for start in range(0, len(self._boundaries), step))

    def named(self, block: slice, asked: BoolArray) -> tuple[IntArray, IntArray]:
        """Name the windows that may have to be cut after some panes, as (which of all panes, which series).

        Parameters
        ----------
        asked
            bool [S]; which series matter.
        """
        boundaries = self._boundaries[block]
        older = self._few[boundaries]
        beyond = older * self._shifts[block, None]
        np.subtract(self._around[boundaries], beyond, out=beyond)
        beyond *= beyond
        chance = older * self._falling[block, None]  # minus 2 k v q
        chance -= self._steep[block, None]
        chance *= older
        beyond += chance
        columns = np.flatnonzero((beyond.max(axis=1).max(axis=0) >= self._least) & asked)
        if not columns.size:
            return columns, columns
        older, sums = (of[boundaries[..., None], columns] for of in (self._counts, self._sums))
        distance = np.abs(sums - older * self._means[block, None, columns])
        of_older = older * (1.0 - older / self._n[block, None, columns])
        needed = np.sqrt(self._slopes[block, None, columns] * of_older) + self._linear[columns]
        reached = (distance >= needed) & (distance >= self._effects[columns] * of_older)
        pane, place = np.nonzero(reached.any(axis=1))
        return pane + block.start, columns[place]


def _confidence(spec: AdwinSpec, width: IntArray) -> FloatArray:
    confidence: FloatArray = np.log(2.0 * np.log(np.maximum(width, 3)) / spec.delta)
    return confidence


def _variance(width: IntArray, total: IntArray, square: IntArray) -> FloatArray:
    """Return the population variance in steps, from integers centred before they become floats."""
    # Wrapping is harmless: what is left after the centring fits, whatever overflowed on the way.
    n = np.maximum(width, 1)
    centre = total // n
    rest = total - width * centre
    centred = square - centre * (total + rest)
    mean = rest / n
    variance: FloatArray = np.maximum(centred / n - mean * mean, 0.0)
    return variance
