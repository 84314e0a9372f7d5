"""Has a series' mean changed, and since when? Adaptive windowing over panes, for many series at once.

A series is what one number of the stream does over event time: a feature's standardised mean, a bin's share, a class's
error rate. Each pane adds one bucket (count, sum, sum of squares) to every series. Old buckets merge in pairs so that
the state stays logarithmic, and a window is cut wherever its older and newer parts disagree.

Invariants: the state is integers only, so neither NaN nor rounding can enter it and restoring a snapshot continues
bit for bit; a cut keeps the newer part, but for the pane that the change may lie within; a cut needs a gap that is both
significant and at least the series' effect; a pane in which a series has no events leaves its totals alone; the state
is bounded; it makes no difference how many panes are added at once.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

import numpy as np

from detectors.sequential.cuts import AdwinSpec, Cut, FloatArray, IntArray, Suspicion, Watched, best_cuts

# Squares of steps up to 2^15 then stay below 2^62.
EVENTS_MAX = 2**32

_HEADER = struct.Struct("<16sqqq")


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

    So it is known beforehand which boundaries there will be after each of many panes, and, until a window is cut, what
    its totals are: many panes are tested at once, and the few series that are cut go on by themselves from there.

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
        self._watched = Watched(ranges, units, effects, np.ones(ranges.size))
        self._tick = 0
        self._levels: tuple[int, ...] = ()
        self._starts_ms = np.zeros(0, np.int64)
        # Row b holds the totals of the window's oldest b buckets; row 0 is zero.
        self._totals = np.zeros((3, 1, ranges.size), dtype=np.int64)

    @property
    def buckets(self) -> int:
        """Buckets in the state, shared by all series."""
        return len(self._levels)

    def disperse(self, dispersions: FloatArray) -> None:
        """Let each series' events weigh as much as so many times fewer independent ones, from now on.

        Parameters
        ----------
        dispersions
            From 1 on, shape ``(S,)``, see `detectors.noise.dependence`. They are no part of the state.
        """
        self._watched = self._watched._replace(dispersions=dispersions)

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
        cuts = self.update_many(counts[None], sums[None], squares[None], np.array([start_ms]))
        return cuts[0] if cuts else self._nothing()

    def update_many(self, counts: IntArray, sums: IntArray, squares: IntArray, starts_ms: IntArray) -> list[Cut]:
        """Add some panes, one after the other; return what `update` does of those that changed anything, in order.

        Parameters
        ----------
        counts, sums, squares
            As for `update`, shape ``(panes, S)``.
        starts_ms
            Event times at which the panes start, shape ``(panes,)``.

        Raises
        ------
        ValueError
            If a count is negative.
        """
        if (counts < 0).any():
            raise ValueError("a pane's counts are at least 0")
        filled = counts.any(axis=1)
        cuts = self._add(np.stack([counts[filled], sums[filled], squares[filled]]), starts_ms[filled])
        return [cut for _, cut in cuts]

    def clearest(self) -> Cut:
        """Return each series' best cut as it stands: the boundary with the largest ratio of gap to epsilon."""
        return self._cuts(np.arange(self._size))[0] if self._is_tested() else self._nothing()

    def snapshot(self) -> bytes:
        """Return the state; `restore` continues from it exactly."""
        header = _HEADER.pack(self._digest, self._size, self.buckets, self._tick)
        shared = np.array([self._levels, self._starts_ms], dtype="<i8")
        return header + shared.tobytes() + self._totals[:, 1:].astype("<i8").tobytes()

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
        if digest != bank._digest:
            raise ValueError("the snapshot was taken under another specification")
        numbers = np.frombuffer(snapshot, dtype="<i8", offset=_HEADER.size).astype(np.int64)
        if numbers.size != 2 * buckets + 3 * buckets * size:
            raise ValueError("the snapshot is incomplete")
        bank._tick = tick
        bank._levels, bank._starts_ms = tuple(numbers[:buckets].tolist()), numbers[buckets : 2 * buckets]
        bank._totals = np.zeros((3, 1 + buckets, size), dtype=np.int64)
        bank._totals[:, 1:] = numbers[2 * buckets :].reshape(3, buckets, size)
        return bank

    @property
    def _size(self) -> int:
        return self._watched.ranges.size

    @cached_property
    def _digest(self) -> bytes:
        name = hashlib.blake2b(repr(sorted(asdict(self._spec).items())).encode(), digest_size=16)
        for column in (self._watched.ranges, self._watched.units, self._watched.effects):
            name.update(column.astype("<f8").tobytes())
        return name.digest()

    def _is_tested(self) -> bool:
        return self.buckets > 1 and self._tick % self._spec.clock == 0

    def _nothing(self) -> Cut:
        n, ranges = self._size, self._watched.ranges
        none = np.zeros(n, np.int64)
        return Cut(np.zeros(n, np.bool_), np.zeros(n), ranges.copy(), none, none.copy(), none.copy())

    def _add(self, panes: IntArray, starts_ms: IntArray) -> list[tuple[int, Cut]]:
        """Add panes, int64 [3, panes, S], also those without events; return after which of them what changed."""
        if not starts_ms.size:
            return []
        if (self._totals[0, -1] + panes[0].sum(axis=0)).max() > EVENTS_MAX:
            steps = [self._step(panes[:, at : at + 1], starts_ms[at : at + 1]) for at in range(starts_ms.size)]
            return [(pane, cut) for pane, cut in enumerate(steps) if cut.detected.any()]
        cuts: dict[int, Cut] = {}
        apart = [(columns, self._of(columns), first) for columns, first in self._changes(panes)]
        self._extend(panes, starts_ms)
        for columns, part, first in apart:
            for pane, cut in part._cut_at(first, panes[..., columns], starts_ms):
                cuts[pane] = self._spread(columns, cut, cuts.get(pane))
            self._totals[:, :, columns] = part._totals
        return sorted(cuts.items())

    def _changes(self, panes: IntArray) -> Iterator[tuple[IntArray, int]]:
        """Return which series are to be cut, and after which pane none of them was cut before: together, by time."""
        course = _course(self._levels, panes.shape[1], self._spec.max_buckets)
        after = np.arange(panes.shape[1])
        after = after[((self._tick + 1 + after) % self._spec.clock == 0) & (course.boundaries[:, 0] > 0)]
        if not after.size:
            return
        totals, boundaries, ends = self._running(panes), course.boundaries[after], self.buckets + 1 + after
        suspicion = Suspicion(self._spec, self._watched, totals, boundaries, ends)
        unchanged = np.ones(self._size, np.bool_)
        for block in suspicion.blocks():
            at, series = suspicion.named(block, unchanged)
            if not at.size:
                continue
            of_pairs = totals[:2, boundaries[at].T, series], totals[:, ends[at], series]
            detected = best_cuts(self._spec, self._watched.of(series), *of_pairs).detected
            if detected.any():
                at, series = at[detected], np.unique(series[detected])
                unchanged[series] = False
                yield series, int(after[at.min()])

    def _cut_at(self, first: int, panes: IntArray, starts_ms: IntArray) -> Iterator[tuple[int, Cut]]:
        """Add panes, after the `first` of which something changes, and before it nothing."""
        at = first + 1
        yield first, self._step(panes[:, :at], starts_ms[:at])
        yield from ((at + pane, cut) for pane, cut in self._add(panes[:, at:], starts_ms[at:]))

    def _of(self, columns: IntArray) -> "AdwinBank":
        """Return a bank of some of the series, as they stand."""
        part = AdwinBank(self._spec, *self._watched[:3])
        part._watched, part._totals = self._watched.of(columns), self._totals[:, :, columns]
        part._tick, part._levels, part._starts_ms = self._tick, self._levels, self._starts_ms
        return part

    def _step(self, panes: IntArray, starts_ms: IntArray) -> Cut:
        """Add panes of which only the last may change anything."""
        self._extend(panes, starts_ms)
        self._forget_beyond_bound()
        first = self._nothing()
        changed = np.arange(self._size) if self._is_tested() else _NONE
        while changed.size:
            cut, boundaries = self._cuts(changed)
            if not first.detected.any():
                first = self._spread(changed, cut)
            changed = changed[cut.detected]
            self._drop(changed, self._after_change(changed, boundaries[cut.detected]))
        return first

    def _extend(self, panes: IntArray, starts_ms: IntArray) -> None:
        course = _course(self._levels, starts_ms.size, self._spec.max_buckets)
        rows = [0, *course.rows]
        self._totals = self._running(panes)[:, rows]
        self._starts_ms = np.concatenate([self._starts_ms, starts_ms])[rows[:-1]]
        self._levels = course.levels
        self._tick += starts_ms.size

    def _running(self, panes: IntArray) -> IntArray:
        """Return the totals at all boundaries that there are, and after each of the panes."""
        totals: IntArray = np.concatenate([self._totals, panes], axis=1)
        np.cumsum(totals[:, self.buckets :], axis=1, out=totals[:, self.buckets :])
        return totals

    def _spread(self, columns: IntArray, cut: Cut, among: Cut | None = None) -> Cut:
        """Put what is detected of some series among all series, of which others may be told already."""
        spread = among or self._nothing()
        for column, found in zip(spread, cut, strict=True):
            column[columns[cut.detected]] = found[cut.detected]
        return spread

    def _forget_beyond_bound(self) -> None:
        while (full := np.flatnonzero(self._totals[0, -1] > EVENTS_MAX)).size:
            self._drop(full, np.argmax(self._totals[0][:, full] > 0, axis=0))

    def _drop(self, series: IntArray, boundaries: IntArray) -> None:
        """Forget what is older than `boundaries`, one for each of `series`."""
        older = self._totals[:, boundaries, series]
        kept = np.arange(self.buckets + 1)[:, None] > boundaries
        self._totals[:, :, series] = np.where(kept, self._totals[:, :, series] - older[:, None], 0)

    def _after_change(self, series: IntArray, boundaries: IntArray) -> IntArray:
        """Return the next boundary where one pane is between: the change may lie within it, and would be told twice.

        An event alone, and a bucket of several panes, remains: the one has no within, of the other most is newer.
        """
        counts = self._totals[0][:, series]
        older = np.take_along_axis(counts, boundaries[None], axis=0)
        after = np.argmax(counts > older, axis=0)
        is_pane = np.array(self._levels)[after - 1] == 0
        has_several = np.take_along_axis(counts, after[None], axis=0)[0] > older[0] + 1
        return np.where(is_pane & has_several, after, boundaries)

    def _cuts(self, series: IntArray) -> tuple[Cut, IntArray]:
        """Return the best cut of each of `series` and the boundary that it is at."""
        totals, watched = self._totals, self._watched
        if series.size < self._size:
            totals, watched = totals[:, :, series], watched.of(series)
        best = best_cuts(self._spec, watched, totals[:, 1:-1], totals[:, -1])
        since_ms = np.where(best.n_old > 0, self._starts_ms[best.place + 1], 0)
        return Cut(best.detected, best.gap, best.epsilon, best.n_old, best.n_new, since_ms), best.place + 1


_NONE = np.zeros(0, np.int64)


class _Course(NamedTuple):
    """Where the boundaries of buckets are after panes.

    Parameters
    ----------
    boundaries
        int64 [panes, boundaries]; after each pane, how many buckets and panes lie before each boundary, oldest first,
        then zeros. A window's end is none.
    rows
        After the last pane, how many lie before each boundary and before the end.
    levels
        After the last pane, the levels of the buckets: 2^level panes are in each.
    """

    boundaries: IntArray
    rows: tuple[int, ...]
    levels: tuple[int, ...]


@lru_cache(maxsize=64)
def _course(levels: tuple[int, ...], panes: int, max_buckets: int) -> _Course:
    """Return how panes change the buckets: all series of a model that see the same panes have the same course."""
    of, rows, boundaries = list(levels), list(range(1, len(levels) + 1)), []
    for pane in range(panes):
        of.append(0)
        rows.append(len(levels) + pane + 1)
        # Levels fall from the oldest bucket to the newest, so those of one level are neighbours.
        level = 0
        while of.count(level) > max_buckets:
            oldest = of.index(level)
            of[oldest : oldest + 2] = [level + 1]
            del rows[oldest]
            level += 1
        boundaries.append(rows[:-1])
    most = max(1, *map(len, boundaries)) if boundaries else 1
    padded = np.array([[*row, *[0] * (most - len(row))] for row in boundaries], np.int64).reshape(panes, most)
    return _Course(padded, tuple(rows), tuple(of))
