"""Has a series' mean changed, and since when? Adaptive windowing over panes, for many series at once.

A series is what one number of the stream does over event time: a feature's standardised mean, a bin's share, a class's
error rate. Each pane adds one bucket (count, sum, sum of squares) to every series. Old buckets merge in pairs so that
the state stays logarithmic, and a window is cut wherever its older and newer parts disagree.

Invariants: the state is integers only, so neither NaN nor rounding can enter it and restoring a snapshot continues
bit for bit; a cut keeps the newer part; a cut needs a gap that is both significant and at least the series' effect; a
pane in which a series has no events leaves its totals alone; the state is bounded.
"""

import hashlib
import struct
from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Squares of steps up to 2^15 then stay below 2^62.
EVENTS_MAX = 2**32

_HEADER = struct.Struct("<16sqqq")
# Stands for "fewer events than a part may have": its reciprocal makes every gap insignificant without dividing by zero.
_TOO_FEW = 1e-100


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


class AdwinBank:
    """Adaptive windows of S series that share their pane boundaries.

    Parameters
    ----------
    spec
        The same for all series.
    ranges
        Width of the values' range in natural units, shape ``(S,)``: 16 for a standardised mean clipped to ±8, 1 for a
        share or an error rate.
    units
        Natural units per integer step: 2⁻¹² for standardised steps, 1 for a share.
    effects
        Least absolute gap of means that counts as a change, in natural units.

    Notes
    -----
    The state is the running total of the window, oldest first, at every bucket boundary: a cut point's older part is
    one row of it. Where the boundaries are depends on the number of panes with events alone, so no series' verdict
    depends on its neighbours; a cut empties a series' older buckets and leaves them in place. P panes make at most
    ``max_buckets * (1 + log2(P))`` buckets. Events may have steps up to 2^15 in size; beyond `EVENTS_MAX` events a
    window forgets its oldest buckets.

    References
    ----------
    .. [1] A. Bifet and R. Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007.

    Examples
    --------
    >>> bank = AdwinBank(AdwinSpec(), np.array([1.0]), np.array([1.0]), np.array([0.05]))
    >>> def pane(ones): return bank.update(np.array([100]), np.array([ones]), np.array([ones]))
    >>> [bool(pane(ones).detected[0]) for ones in (10, 12, 9, 11, 10, 60)]
    [False, False, False, False, False, True]
    """

    def __init__(self, spec: AdwinSpec, ranges: FloatArray, units: FloatArray, effects: FloatArray) -> None:
        self._spec = spec
        self._ranges, self._units, self._effects = ranges, units, effects
        self._size = ranges.size
        self._dispersions = np.ones(ranges.size)
        self._tick = 0
        self._levels: list[int] = []
        self._starts_ms: list[int] = []
        # Row b holds the totals of the window's oldest b buckets; row 0 is zero.
        self._totals = np.zeros((3, 16, self._size), dtype=np.int64)
        nothing = np.zeros(self._size, dtype=np.int64)
        self._nothing = Cut(nothing > 0, np.zeros(self._size), ranges, nothing, nothing, nothing)

    @property
    def buckets(self) -> int:
        """Buckets in the state, shared by all series."""
        return len(self._levels)

    def disperse(self, dispersions: FloatArray) -> None:
        """Let each series' events weigh as much as so many times fewer independent ones, from now on.

        Parameters
        ----------
        dispersions
            From 1 on, shape ``(S,)``, see `detectors.dependence`. They are no part of the state.
        """
        self._dispersions = dispersions

    def update(self, counts: IntArray, sums: IntArray, squares: IntArray, start_ms: int = 0) -> Cut:
        """Add one pane to every series, and cut the windows that have changed.

        Parameters
        ----------
        counts, sums, squares
            Events, sum of their steps and sum of the steps' squares, shape ``(S,)``.
        start_ms
            Event time at which the pane starts.

        Returns
        -------
        Cut
            Of each series that has changed, its best cut before anything was dropped; nothing of the others.

        Raises
        ------
        ValueError
            If a count is negative.
        """
        if (counts < 0).any():
            raise ValueError("a pane's counts are at least 0")
        if not counts.any():
            return self._nothing
        self._append((counts, sums, squares), start_ms)
        self._merge_buckets()
        self._forget_beyond_bound()
        self._tick += 1
        if not self._is_tested():
            return self._nothing
        first = self._nothing
        changed = self._suspects()
        while self.buckets > 1 and changed.size:
            cut, boundaries = self._best_cuts(changed)
            changed, boundaries = changed[cut.detected], boundaries[cut.detected]
            if changed.size:
                if first is self._nothing:
                    first = self._spread(changed, cut)
                self._drop(changed, boundaries)
        return first

    def clearest(self) -> Cut:
        """Return each series' best cut as it stands: the boundary with the largest ratio of gap to epsilon."""
        return self._best_cuts(np.arange(self._size))[0] if self._is_tested() else self._nothing

    def snapshot(self) -> bytes:
        """Return the state; `restore` continues from it exactly."""
        header = _HEADER.pack(self._digest(), self._size, self.buckets, self._tick)
        shared = np.array([self._levels, self._starts_ms], dtype="<i8")
        return header + shared.tobytes() + self._window().astype("<i8").tobytes()

    @classmethod
    def restore(
        cls, spec: AdwinSpec, ranges: FloatArray, units: FloatArray, effects: FloatArray, snapshot: bytes
    ) -> Self:
        """Return the bank that `snapshot` was taken of.

        Raises
        ------
        ValueError
            If the snapshot was taken under another spec, other ranges, units or effects, or is incomplete.
        """
        bank = cls(spec, ranges, units, effects)
        if len(snapshot) < _HEADER.size:
            raise ValueError("the snapshot is incomplete")
        digest, size, buckets, tick = _HEADER.unpack_from(snapshot)
        if digest != bank._digest():
            raise ValueError("the snapshot was taken under another specification")
        numbers = np.frombuffer(snapshot, dtype="<i8", offset=_HEADER.size).astype(np.int64)
        if numbers.size != 2 * buckets + 3 * buckets * size:
            raise ValueError("the snapshot is incomplete")
        bank._tick = tick
        bank._levels, bank._starts_ms = numbers[: 2 * buckets].reshape(2, buckets).tolist()
        bank._totals = np.zeros((3, buckets + 16, size), dtype=np.int64)
        bank._window()[:] = numbers[2 * buckets :].reshape(3, buckets, size)
        return bank

    def _digest(self) -> bytes:
        name = hashlib.blake2b(repr(sorted(asdict(self._spec).items())).encode(), digest_size=16)
        for column in (self._ranges, self._units, self._effects):
            name.update(column.astype("<f8").tobytes())
        return name.digest()

    def _window(self) -> IntArray:
        return self._totals[:, 1 : self.buckets + 1]

    def _is_tested(self) -> bool:
        return self.buckets > 1 and self._tick % self._spec.clock == 0

    def _suspects(self) -> IntArray:
        """Name the few series that may have changed: those with a gap that reaches the least that epsilon can be."""
        gaps = np.abs(self._gaps(slice(None)))
        wide = np.flatnonzero(gaps.max(axis=0) >= self._effects)
        if not wide.size:
            return wide
        gaps, effects, ranges, units = gaps[:, wide], self._effects[wide], self._ranges[wide], self._units[wide]
        counts = self._totals[0][1 : self.buckets, wide]
        width, total, square = self._totals[:, self.buckets, wide]
        confidence = self._confidence(width)
        # Epsilon, times the smaller part's size, if the larger part were endless; a little less for rounding.
        smaller = np.minimum(counts, width - counts)
        confidence *= self._dispersions[wide]
        least = np.sqrt(smaller * (2.0 * confidence * units * units * _variance(width, total, square)))
        least += (2.0 / 3.0) * confidence * ranges
        least *= 1.0 - 1e-9
        suspects: IntArray = wide[((gaps >= effects) & (gaps * smaller >= least)).any(axis=0)]
        return suspects

    def _confidence(self, width: IntArray) -> FloatArray:
        confidence: FloatArray = np.log(2.0 * np.log(np.maximum(width, 3)) / self._spec.delta)
        return confidence

    def _spread(self, changed: IntArray, cut: Cut) -> Cut:
        """Put what is detected of some series among all series."""
        spread = self._nothing._replace(**{name: column.copy() for name, column in self._nothing._asdict().items()})
        for column, found in zip(spread, cut, strict=True):
            column[changed] = found[cut.detected]
        return spread

    def _append(self, pane: tuple[IntArray, IntArray, IntArray], start_ms: int) -> None:
        newest = self.buckets + 1
        if newest == self._totals.shape[1]:
            self._totals = np.concatenate([self._totals, np.zeros_like(self._totals)], axis=1)
        for totals, column in zip(self._totals, pane, strict=True):
            np.add(totals[newest - 1], column, out=totals[newest])
        self._levels.append(0)
        self._starts_ms.append(start_ms)

    def _merge_buckets(self) -> None:
        # Levels fall from the oldest bucket to the newest, so those of one level are neighbours.
        level = 0
        while self._levels.count(level) > self._spec.max_buckets:
            oldest = self._levels.index(level)
            self._remove_boundary(oldest + 1)
            self._levels[oldest : oldest + 2] = [level + 1]
            del self._starts_ms[oldest + 1]
            level += 1

    def _remove_boundary(self, boundary: int) -> None:
        self._totals[:, boundary : self.buckets] = self._totals[:, boundary + 1 : self.buckets + 1]

    def _forget_beyond_bound(self) -> None:
        while (full := np.flatnonzero(self._totals[0, self.buckets] > EVENTS_MAX)).size:
            self._drop(full, np.argmax(self._totals[0, : self.buckets + 1, full] > 0, axis=1))

    def _drop(self, series: IntArray, boundaries: IntArray) -> None:
        """Forget what is older than `boundaries`, one for each of `series`."""
        older = self._totals[:, boundaries, series]
        kept = np.arange(1, self.buckets + 1)[:, None] > boundaries
        self._totals[:, 1 : self.buckets + 1, series] = np.where(
            kept, self._totals[:, 1 : self.buckets + 1, series] - older[:, None], 0
        )

    def _gaps(self, columns: slice | IntArray) -> FloatArray:
        """Return, by boundary and series, the newer part's mean minus the older part's, in natural units."""
        counts, sums = self._totals[:2, 1 : self.buckets, columns]
        width, total = self._totals[:2, self.buckets, columns]
        # Dividing floats is much quicker than dividing integers, which become floats all the same.
        n_old, old = counts.astype(np.float64), sums.astype(np.float64)
        gaps: FloatArray = (total - sums).astype(np.float64)
        gaps /= np.maximum(width - n_old, 1.0)
        old /= np.maximum(n_old, 1.0)
        gaps -= old
        gaps *= self._units[columns]
        return gaps

    def _best_cuts(self, series: IntArray) -> tuple[Cut, IntArray]:
        """Return the best cut of each of `series` and the boundary that it is at."""
        spec = self._spec
        columns = slice(None) if series.size == self._size else series  # a view costs nothing
        counts = self._totals[0][1 : self.buckets, columns]
        width, total, square = self._totals[:, self.buckets, columns]
        ranges, units, effects = self._ranges[columns], self._units[columns], self._effects[columns]

        gap = self._gaps(columns)
        n_old = counts.astype(np.float64)
        n_new = width - n_old
        reciprocal = 1.0 / np.maximum(n_old - (spec.min_window - 1), _TOO_FEW)
        reciprocal += 1.0 / np.maximum(n_new - (spec.min_window - 1), _TOO_FEW)
        confidence = self._confidence(width) * self._dispersions[columns]
        variance = units * units * _variance(width, total, square)
        epsilon = np.sqrt(2.0 * variance * confidence * reciprocal)
        epsilon += (2.0 / 3.0) * confidence * ranges * reciprocal
        np.maximum(epsilon, effects, out=epsilon)

        ratio = np.abs(gap) / epsilon
        np.putmask(ratio, reciprocal > 2.0, -1.0)
        best = np.argmax(ratio, axis=0)
        at = (best, np.arange(series.size))
        tested = (width > spec.grace) & (ratio[at] >= 0.0)
        best_gap = np.where(tested, gap[at], 0.0)
        best_epsilon = np.where(tested, epsilon[at], ranges)
        sizes = np.where(tested, counts[at], 0), np.where(tested, width - counts[at], 0)
        since_ms = np.where(tested, np.array(self._starts_ms)[best + 1], 0)
        detected = tested & (np.abs(best_gap) >= best_epsilon)
        return Cut(detected, best_gap, best_epsilon, *sizes, since_ms), best + 1


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
