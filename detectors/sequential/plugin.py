"""May a drift detector of river look at the panes, too? Any class of `river.drift`, by its name.

A plug-in is fed each series' pane means, in the reference's standard deviations or as shares, and knows nothing of how
many events are behind a mean. Its state cannot be read, so it is a function of the last means: they are kept, and the
detector is made anew from the newer half of them whenever there are `MEANS_MAX`, before and after a restart alike.

Invariants: a snapshot restores to the same verdicts; a series without events is left alone; a mean is finite; after a
change the detector starts anew; a change needs a gap of at least the series' effect.
"""

import hashlib
import importlib
import inspect
from typing import Any

import numpy as np

from detectors.sequential.bank import Bank
from detectors.sequential.cuts import Cut, FloatArray, IntArray

MEANS_MAX = 2048
"""Pane means kept of a series; half of them after a clearing."""

_SEED = 20_260_721


def plugin_class(name: str) -> Any:
    """Return the class of a name such as ``river.drift.KSWIN``.

    Raises
    ------
    ModuleNotFoundError
        If river is not installed: ``pip install driftline[river]``.
    AttributeError
        If river has no such detector.
    """
    module, _, cls = name.rpartition(".")
    return getattr(importlib.import_module(module), cls)


class PluginBank(Bank):
    """One river detector for each of S series.

    Parameters
    ----------
    name
        Such as ``river.drift.KSWIN``. Where the class takes a seed it is given a fixed one; all else is its default.
    ranges, units, effects
        See `detectors.sequential.adwin.AdwinBank`.
    snapshot
        State to go on from; None for a new bank.

    Notes
    -----
    One Python object and one call a series and pane: 1 to 600 microseconds each, where the banks of this house take
    some microseconds for all series together.
    """

    def __init__(
        self, name: str, ranges: FloatArray, units: FloatArray, effects: FloatArray, snapshot: bytes | None = None
    ) -> None:
        self._name, self._class = name, plugin_class(name)
        self._arguments = {"seed": _SEED} if "seed" in inspect.signature(self._class).parameters else {}
        self._ranges, self._units, self._effects = ranges, units, effects
        nothing = np.zeros(ranges.size, np.int64)
        self._nothing = Cut(nothing > 0, np.zeros(ranges.size), ranges, nothing, nothing, nothing)
        # Of each series and pane with events: its mean, how many events it is of, and where it starts.
        self._panes: list[list[tuple[float, int, int]]] = [[] for _ in ranges]
        if snapshot is not None:
            self._panes = self._panes_of(snapshot)
        self._detectors = [self._detector(panes) for panes in self._panes]

    def disperse(self, dispersions: FloatArray) -> None:
        """Do nothing: what a plug-in makes of its means is its own affair."""

    def update(self, counts: IntArray, sums: IntArray, squares: IntArray, start_ms: int = 0) -> Cut:
        """Add one pane to every series and return what changed; see `detectors.sequential.adwin.AdwinBank.update`."""
        if (counts < 0).any():
            raise ValueError("a pane's counts are at least 0")
        means = sums / np.maximum(counts, 1) * self._units
        detected = []
        for series in np.flatnonzero(counts).tolist():
            panes = self._panes[series]
            panes.append((float(means[series]), int(counts[series]), start_ms))
            detector = self._detectors[series]
            detector.update(panes[-1][0])
            if detector.drift_detected:
                detected.append(series)
            elif len(panes) >= MEANS_MAX:
                del panes[: MEANS_MAX // 2]
                self._detectors[series] = self._detector(panes)
        return self._changed(detected) if detected else self._nothing

    def clearest(self) -> Cut:
        """Return how each series stands: the parts of its means that are the farthest from each other."""
        return self._told(range(len(self._panes)))

    def snapshot(self) -> bytes:
        """Return the means that are kept; a detector is made anew from them."""
        sizes = np.array([len(panes) for panes in self._panes], "<i8").tobytes()
        rows = [row for panes in self._panes for row in panes]
        means = np.array([mean for mean, _, _ in rows], "<f8").tobytes()
        return self._digest() + sizes + means + np.array([row[1:] for row in rows], "<i8").tobytes()

    def _panes_of(self, snapshot: bytes) -> list[list[tuple[float, int, int]]]:
        if snapshot[:16] != self._digest():
            raise ValueError("the snapshot was taken under another specification")
        sizes = np.frombuffer(snapshot, "<i8", offset=16, count=self._ranges.size)
        n, at = int(sizes.sum()), 16 + 8 * sizes.size
        if len(snapshot) != at + 24 * n:
            raise ValueError("the snapshot is incomplete")
        means = np.frombuffer(snapshot, "<f8", offset=at, count=n).tolist()
        others = np.frombuffer(snapshot, "<i8", offset=at + 8 * n).reshape(n, 2).tolist()
        rows = [(mean, count, start_ms) for mean, (count, start_ms) in zip(means, others, strict=True)]
        ends = np.cumsum(sizes).tolist()
        return [rows[end - size : end] for size, end in zip(sizes.tolist(), ends, strict=True)]

    def _digest(self) -> bytes:
        name = hashlib.blake2b(self._name.encode(), digest_size=16)
        for column in (self._ranges, self._units, self._effects):
            name.update(column.astype("<f8").tobytes())
        return name.digest()

    def _detector(self, panes: list[tuple[float, int, int]]) -> Any:
        detector = self._class(**self._arguments)
        for mean, _, _ in panes:
            detector.update(mean)
        return detector

    def _changed(self, series: list[int]) -> Cut:
        """Tell the changes that are as large as the effect, and let the detectors of all that cried start anew."""
        told = self._told(series)
        detected = np.isin(np.arange(self._ranges.size), series) & (told.n_old > 0)
        detected &= np.abs(told.gap) >= self._effects
        for place in series:
            kept = [pane for pane in self._panes[place] if pane[2] >= told.since_ms[place]]
            self._panes[place] = kept if detected[place] else []
            self._detectors[place] = self._detector(self._panes[place])
        epsilon = np.where(
            detected, np.minimum(np.abs(told.gap), np.maximum(self._effects, told.epsilon)), told.epsilon
        )
        return told._replace(detected=detected, epsilon=epsilon)

    def _told(self, series: Any) -> Cut:
        gap, epsilon = np.zeros(self._ranges.size), self._ranges.copy()
        n_old, n_new, since_ms = (np.zeros(self._ranges.size, np.int64) for _ in range(3))
        for place in series:
            panes = self._panes[place]
            if len(panes) < 2:
                continue
            means, counts = (np.array([pane[part] for pane in panes]) for part in (0, 1))
            n, total = np.cumsum(counts)[:-1], np.cumsum(means * counts)[:-1]
            rest, rest_total = counts.sum() - n, (means * counts).sum() - total
            gaps = rest_total / rest - total / n
            best = int(np.argmax(np.abs(gaps) * np.sqrt(n * (rest / counts.sum()))))
            gap[place], n_old[place], n_new[place] = gaps[best], n[best], rest[best]
            since_ms[place] = panes[best + 1][2]
            # Only the plug-in knows what it would take; without its word no gap is enough.
            epsilon[place] = max(float(self._effects[place]), float(np.nextafter(abs(gaps[best]), np.inf)))
        return Cut(self._nothing.detected, gap, epsilon, n_old, n_new, since_ms)
