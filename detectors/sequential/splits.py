"""Has a series' mean left what it was? Page-Hinkley, CUSUM, DDM and HDDM-A over panes, for many series at once.

All four keep two totals of a series: everything since its last change, and the part of it up to the *split*, after
which something may have changed. They differ in where they put the split and in how large a gap between the two parts
it takes. Changes upwards and downwards have a split each.

Invariants: a snapshot restores bit for bit; a pane without events changes nothing; the state has a fixed size; after a
change a series begins anew, so that one change is told once; a change needs a gap that is both significant
and at least the series' effect; no event is significant all by itself.
"""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detectors.sequential.adwin import EVENTS_MAX
from detectors.sequential.bank import Bank
from detectors.sequential.cuts import BoolArray, Cut, FloatArray, IntArray

EVENTS_MIN = 30
"""Events of the older part before anything is compared with it."""

_NEW_MIN = 5
_SIGNS = np.array([[1.0], [-1.0]])
_ALMOST_NOTHING = 1e-100


class Parts(NamedTuple):
    """What a rule may look at, shape ``(2, S)``: row 0 for changes upwards and row 1 for downwards, natural units."""

    n_old: FloatArray
    n_new: FloatArray
    old_mean: FloatArray
    """Of the part up to the split; counted in the row's direction, as all means are."""
    old_deviation: FloatArray
    """Standard deviation of the part's events."""
    mean: FloatArray
    """Of both parts."""
    deviation: FloatArray
    gap: FloatArray
    """Newer minus older mean."""
    path: FloatArray
    """Page-Hinkley's sum above the lowest that it was."""
    tolerance: FloatArray
    """A gap that is no change yet: half the effect."""
    spread: FloatArray
    """Width of the range of values."""

    @property
    def n(self) -> FloatArray:
        """Events of both parts."""
        return self.n_old + self.n_new

    @property
    def size(self) -> FloatArray:
        """Events that would make the gap as certain if the older part were endless."""
        size: FloatArray = np.maximum(self.n_old * self.n_new / np.maximum(self.n, 1.0), _ALMOST_NOTHING)
        return size


class Rule(NamedTuple):
    """One of the detectors.

    Parameters
    ----------
    is_usual
        Whether nothing has changed up to now, so that the split moves up to here; given ``ln(2 / delta)``.
    epsilon
        The gap that it takes, given ``ln(2 / delta)``.
    """

    is_usual: Callable[[Parts, FloatArray], BoolArray]
    epsilon: Callable[[Parts, FloatArray], FloatArray]


def _height(parts: Parts, confidence: FloatArray) -> FloatArray:
    # A sum of independent normal steps of mean -k ever reaches h with chance exp(-2 k h / variance).
    return confidence * parts.old_deviation**2 / (2.0 * parts.tolerance)


def _of_one_event(parts: Parts, confidence: FloatArray) -> FloatArray:
    # Bernstein's term for the range: without it one odd event after many equal ones would be a change.
    return (2.0 / 3.0) * confidence * parts.spread / parts.size


def _cusum(parts: Parts, confidence: FloatArray) -> FloatArray:
    return parts.tolerance + _height(parts, confidence) / parts.size + _of_one_event(parts, confidence)


def _page_hinkley(parts: Parts, confidence: FloatArray) -> FloatArray:
    reached = np.maximum(parts.path, _ALMOST_NOTHING) * parts.size / np.maximum(parts.n_new, 1.0)
    return np.abs(parts.gap) * _height(parts, confidence) / reached + _of_one_event(parts, confidence)


def _error(deviation: FloatArray, n: FloatArray) -> FloatArray:
    error: FloatArray = deviation / np.sqrt(np.maximum(n, 1.0))
    return error


def _ddm(parts: Parts, confidence: FloatArray) -> FloatArray:
    # Mean and error together exceed their lowest sum by so many of the errors that belonged to it.
    lowest, now = _error(parts.old_deviation, parts.n_old), _error(parts.deviation, parts.n)
    wanted = (1.0 + np.sqrt(2.0 * confidence)) * lowest - now
    return np.maximum(wanted, 0.0) * parts.n / np.maximum(parts.n_new, 1.0) + _of_one_event(parts, confidence)


def _hddm_a(parts: Parts, confidence: FloatArray) -> FloatArray:
    return parts.spread * np.sqrt(confidence / (2.0 * parts.size))


def _is_within_tolerance(parts: Parts, _: FloatArray) -> BoolArray:
    # An older part that is still small may have an odd mean, from which the series would seem to rise for ever.
    deviation = np.maximum(parts.old_deviation, parts.deviation)
    return parts.gap <= parts.tolerance + 2.0 * _error(deviation, parts.n_old)


def _is_lowest_by_error(parts: Parts, _: FloatArray) -> BoolArray:
    # Three errors, not one as in the original: a lucky first pane would stay the lowest for ever.
    lowest = parts.old_mean + 3.0 * _error(parts.old_deviation, parts.n_old)
    return parts.mean + 3.0 * _error(parts.deviation, parts.n) <= lowest


def _is_lowest_by_hoeffding(parts: Parts, confidence: FloatArray) -> BoolArray:
    # As sure as of a change: by a smaller error a lucky first pane would stay the lowest for ever.
    width = parts.spread * np.sqrt(confidence)
    return parts.mean + _error(width, 2.0 * parts.n) <= parts.old_mean + _error(width, 2.0 * parts.n_old)


RULES: dict[str, Rule] = {
    "page_hinkley": Rule(lambda parts, _: parts.path <= 0.0, _page_hinkley),
    "cusum": Rule(_is_within_tolerance, _cusum),
    "ddm": Rule(_is_lowest_by_error, _ddm),
    "hddm_a": Rule(_is_lowest_by_hoeffding, _hddm_a),
}


class SplitBank(Bank):
    """Split totals of S series that share their panes.

    Parameters
    ----------
    rule
        A name among `RULES`.
    delta
        Bound on the chance of a false change in each pane, in (0, 1).
    ranges, units, effects
        See `detectors.sequential.adwin.AdwinBank`. An effect of 0 counts as a hundredth of the range where a
        tolerance is needed.

    Notes
    -----
    Each pane costs a few dozen operations on arrays of 2 x S. State: 3 + 6 integers, 2 floats and 2 times a series.

    References
    ----------
    .. [1] E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954 (CUSUM and Page-Hinkley).
    .. [2] J. Gama et al., "Learning with drift detection", SBIA 2004 (DDM).
    .. [3] I. Frías-Blanco et al., "Online and non-parametric drift detection methods based on Hoeffding's bounds",
       IEEE TKDE 27, 2015 (HDDM-A).

    Examples
    --------
    >>> bank = SplitBank("cusum", 0.002, np.array([1.0]), np.array([1.0]), np.array([0.05]))
    >>> def pane(ones): return bank.update(np.array([100]), np.array([ones]), np.array([ones]))
    >>> [bool(pane(ones).detected[0]) for ones in (10, 12, 9, 11, 10, 60)]
    [False, False, False, False, False, True]
    """

    def __init__(self, rule: str, delta: float, ranges: FloatArray, units: FloatArray, effects: FloatArray) -> None:
        self._name, self._delta, self._rule = rule, delta, RULES[rule]
        self._ranges, self._units, self._effects = ranges, units, effects
        self._confidence = np.full(ranges.size, math.log(2.0 / delta))
        self._tolerances = np.where(effects > 0.0, effects, ranges / 100.0) / 2.0
        size = ranges.size
        self._total = np.zeros((3, size), np.int64)
        self._split = np.zeros((3, 2, size), np.int64)
        self._path = np.zeros((2, size))
        self._since_ms = np.zeros((2, size), np.int64)

    def disperse(self, dispersions: FloatArray) -> None:
        """Let each series' events weigh as many times less; see `detectors.sequential.adwin.AdwinBank.disperse`."""
        self._confidence = math.log(2.0 / self._delta) * dispersions

    def update(self, counts: IntArray, sums: IntArray, squares: IntArray, start_ms: int = 0) -> Cut:
        """Add one pane to every series and return what changed; see `detectors.sequential.adwin.AdwinBank.update`."""
        if (counts < 0).any():
            raise ValueError("a pane's counts are at least 0")
        self._halve_beyond_bound()
        self._step_along(counts, sums)
        at_split = (self._split[0] == self._total[0]) & (counts > 0)
        self._since_ms[at_split] = start_ms
        self._total += np.stack([counts, sums, squares])

        parts = self._parts()
        # A change as large as the effect would have been seen by now, and was not.
        is_seen_through = (self._rule.epsilon(parts, self._confidence) <= self._effects) & (parts.gap < self._effects)
        is_usual = self._rule.is_usual(parts, self._confidence) | is_seen_through | (parts.n_old < EVENTS_MIN)
        self._move_split(is_usual & (counts > 0))
        cut = self._cut()
        self._start_anew(cut.detected)
        return cut

    def clearest(self) -> Cut:
        """Return how each series stands: the gap of the direction in which it is nearer to a change."""
        return self._cut()._replace(detected=np.zeros(self._ranges.size, np.bool_))

    def snapshot(self) -> bytes:
        """Return the state; `restore` continues from it exactly."""
        integers = np.concatenate([self._total.ravel(), self._split.ravel(), self._since_ms.ravel()])
        return self._digest() + integers.astype("<i8").tobytes() + self._path.astype("<f8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot.

        Raises
        ------
        ValueError
            If it was taken under another specification, or is incomplete.
        """
        if snapshot[:16] != self._digest():
            raise ValueError("the snapshot was taken under another specification")
        size = self._ranges.size
        if len(snapshot) != 16 + 8 * 13 * size:
            raise ValueError("the snapshot is incomplete")
        integers = np.frombuffer(snapshot, "<i8", offset=16, count=11 * size).astype(np.int64)
        self._total = integers[: 3 * size].reshape(3, size).copy()
        self._split = integers[3 * size : 9 * size].reshape(3, 2, size).copy()
        self._since_ms = integers[9 * size :].reshape(2, size).copy()
        self._path = np.frombuffer(snapshot, "<f8", offset=16 + 8 * 11 * size).astype(np.float64).reshape(2, size)

    def _digest(self) -> bytes:
        name = hashlib.blake2b(f"{self._name} {self._delta!r}".encode(), digest_size=16)
        for column in (self._ranges, self._units, self._effects):
            name.update(column.astype("<f8").tobytes())
        return name.digest()

    def _step_along(self, counts: IntArray, sums: IntArray) -> None:
        """Add the pane's distance from the mean of all before it to Page-Hinkley's sum, which never falls below 0."""
        mean = self._total[1] / np.maximum(self._total[0], 1)
        above = _SIGNS * (sums - counts * mean) * self._units - counts * self._tolerances
        np.maximum(self._path + above, 0.0, out=self._path)

    def _move_split(self, where: BoolArray) -> None:
        self._split = np.where(where, self._total[:, None], self._split)
        self._path[where] = 0.0

    def _start_anew(self, detected: BoolArray) -> None:
        """Forget a changed series, also its newer part: it was noticed for being odd, and may hold what came before."""
        self._total[:, detected] = 0
        self._move_split(np.broadcast_to(detected, self._path.shape))

    def _halve_beyond_bound(self) -> None:
        full = self._total[0] > EVENTS_MAX
        if full.any():
            self._total[:, full] //= 2
            self._split[:, :, full] //= 2

    def _parts(self) -> Parts:
        n_old, n_new = self._split[0].astype(np.float64), (self._total[0] - self._split[0]).astype(np.float64)
        new_sums = (self._total[1] - self._split[1]).astype(np.float64)
        old_mean, old_deviation = _moments(self._split, self._units)
        mean, deviation = _moments(self._total, self._units)
        gap = np.where(n_new > 0.0, new_sums / np.maximum(n_new, 1.0) * self._units - old_mean, 0.0)
        both = np.broadcast_to(deviation, gap.shape)
        return Parts(
            n_old, n_new, _SIGNS * old_mean, old_deviation, _SIGNS * mean, both, _SIGNS * gap, self._path,
            np.broadcast_to(self._tolerances, gap.shape), np.broadcast_to(self._ranges, gap.shape),
        )  # fmt: skip

    def _cut(self) -> Cut:
        parts = self._parts()
        tested = (parts.n_old >= EVENTS_MIN) & (parts.n_new >= _NEW_MIN) & (parts.gap > 0.0)
        epsilon = np.maximum(self._rule.epsilon(parts, self._confidence), self._effects)
        ratio = np.where(tested, parts.gap / np.maximum(epsilon, _ALMOST_NOTHING), -1.0)
        row = np.argmax(ratio, axis=0)
        at = (row, np.arange(row.size))
        told = tested[at]
        gap = np.where(told, parts.gap[at] * _SIGNS[row, 0], 0.0)
        n_old, n_new = (np.where(told, of[at], 0.0).astype(np.int64) for of in (parts.n_old, parts.n_new))
        wanted = np.where(told, epsilon[at], self._ranges)
        detected = told & (np.abs(gap) >= wanted)
        return Cut(detected, gap, wanted, n_old, n_new, np.where(told, self._since_ms[at], 0))


def _moments(totals: IntArray, units: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation in natural units."""
    n, total, square = totals
    size = np.maximum(n, 1)
    mean = total / size
    # Squares of steps are at most 2^30 and events at most 2^32, so a float keeps 53 of 62 bits: enough for steps that
    # are at most a few scales from 0.
    variance = np.maximum(square / size - mean * mean, 0.0)
    return mean * units, np.sqrt(variance) * units
