"""How far apart are two histograms over the same bins? Seven distances, of many features at once.

Each is computed from counts alone, with every bin, missing and other among them. Kolmogorov-Smirnov and Wasserstein
need bins in an order, so they are of numeric features only: missing and other stand behind the last bin.

Invariants: a distance is finite and at least 0, and 0 for equal shares (PSI: for equal counts); features do not touch
one another's. What a distance says of binned values never exceeds, by more than its resolution, what the values
themselves would say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.reference.profile import FeatureProfile
from detectors.windows.tables import BoolArray, FloatArray, IntArray

SMOOTHING = 0.5
SCALES_MAX = 8.0
"""Edges farther than that from the centre stand there, as standardised values do."""

ODD = 5.0
"""Up to how many times the significance a row's chance may be for it to count as odd: a simulated p-value of such a
chance, a third of whose ties are left out, is hardly ever at most the significance beyond that."""

Counts = NDArray[Any]
"""Whole numbers; of simulated tables floats."""

_LN_2 = math.log(2.0)


class Histograms(NamedTuple):
    """The counts of a window's features, one feature's bins after the other.

    Parameters
    ----------
    reference, current
        Counts, shape ``(bins,)``; of many windows at once ``(windows, bins)``.
    starts
        Where each feature's bins start; the first is 0.
    widths, jumps
        Each bin's width and its distance to the next, in the reference's scales, see `line`; only Wasserstein asks.
    """

    reference: Counts
    current: Counts
    starts: IntArray
    widths: FloatArray
    jumps: FloatArray

    def feature(self, index: int) -> Histograms:
        """Return one feature alone."""
        bins = slice(self.starts[index], self.starts[index + 1] if index + 1 < self.starts.size else None)
        counts = self.reference[..., bins], self.current[..., bins]
        return Histograms(*counts, _ONLY, self.widths[bins], self.jumps[bins])

    def lengths(self) -> IntArray:
        """Return how many bins each feature has."""
        return np.diff(self.starts, append=self.reference.shape[-1])

    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Return the share of each bin in the reference and in the current sample; 0 without rows."""
        return self.reference / self._rows(self.reference), self.current / self._rows(self.current)

    def distributions(self) -> tuple[FloatArray, FloatArray]:
        """Return the current distribution function minus the reference's where each bin begins and where it ends."""
        begins, ends = [], []
        for counts in (self.reference, self.current):
            summed = np.cumsum(counts, axis=-1)
            before = np.repeat((summed - counts)[..., self.starts], self.lengths(), axis=-1)
            rows = self._rows(counts)
            begins.append((summed - counts - before) / rows)
            ends.append((summed - before) / rows)
        return begins[1] - begins[0], ends[1] - ends[0]

    def odd_rows(self, significance: float) -> BoolArray:
        """Return each feature's least known bins with current rows, if a row there may be significant all by itself."""
        rows, reference_rows = self._rows(self.current), self._rows(self.reference)
        known = np.where(self.current > 0, self.reference, np.iinfo(np.int64).max)
        least_known = self.reference == np.repeat(np.minimum.reduceat(known, self.starts), self.lengths())
        rare = rows * (self.reference + 1.0) <= ODD * significance * (rows + reference_rows)
        odd: BoolArray = (self.current > 0) & least_known & rare
        return odd

    def _rows(self, counts: Counts) -> Counts:
        return np.repeat(np.maximum(np.add.reduceat(counts, self.starts, axis=-1), 1), self.lengths(), axis=-1)


_ONLY = np.zeros(1, np.int64)


def histograms(reference: IntArray, current: IntArray, starts: IntArray) -> Histograms:
    """Return histograms whose bins have no order."""
    nothing = np.zeros(reference.size)
    return Histograms(reference, current, starts, nothing, nothing)


def line(feature: FeatureProfile) -> tuple[FloatArray, FloatArray]:
    """Return the widths of a feature's bins, and how far each bin is from the next, beyond half of both widths.

    The unit is the reference's scale. Outer bins have no width, so no value is taken to be farther away than it is.
    Missing stands one scale behind the last bin, other one scale behind missing. Categories have no places.

    Examples
    --------
    >>> widths, jumps = line(FeatureProfile("age", "numeric", (30.0, 40.0, 60.0), (), 40.0, 10.0, ()))
    >>> widths.tolist(), jumps.tolist()
    ([0.0, 1.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    """
    widths, jumps = np.zeros((2, feature.n_bins))
    if feature.kind == "numeric":
        with np.errstate(over="ignore"):
            edges = np.clip((np.array(feature.edges) - feature.centre) / feature.scale, -SCALES_MAX, SCALES_MAX)
        widths[1 : max(edges.size, 1)] = np.diff(edges)
        jumps[-3:-1] = 1.0
    return widths, jumps


def psi(reference: IntArray, current: IntArray) -> float:
    """Return the population stability index of two histograms over the same bins.

    Parameters
    ----------
    reference, current
        Counts, shape ``(k,)``, missing and other included.

    Returns
    -------
    float
        ``sum((q - p) * ln(q / p))`` of the smoothed shares ``(count + 0.5) / (n + 0.5 k)``; at least 0, finite.

    Examples
    --------
    >>> psi(np.array([50, 50]), np.array([50, 50]))
    0.0
    >>> round(psi(np.array([50, 50]), np.array([90, 10])), 3)
    0.853
    """
    return float(_psi(histograms(reference, current, _ONLY))[0])


def _psi(of: Histograms) -> FloatArray:
    p, q = (_smoothed_shares(counts, of.starts, of.lengths()) for counts in (of.reference, of.current))
    scores: FloatArray = np.add.reduceat((q - p) * np.log(q / p), of.starts)
    return scores


def _smoothed_shares(counts: Counts, starts: IntArray, lengths: IntArray) -> FloatArray:
    totals = np.add.reduceat(counts, starts) + SMOOTHING * lengths
    shares: FloatArray = (counts + SMOOTHING) / np.repeat(totals, lengths)
    return shares


def _jensen_shannon(of: Histograms) -> FloatArray:
    p, q = of.shares()
    middle = (p + q) / 2.0
    divergence = np.add.reduceat(special.rel_entr(p, middle) + special.rel_entr(q, middle), of.starts) / 2.0
    return np.sqrt(np.maximum(divergence, 0.0) / _LN_2)


def _hellinger(of: Histograms) -> FloatArray:
    p, q = of.shares()
    return np.sqrt(np.add.reduceat((np.sqrt(p) - np.sqrt(q)) ** 2, of.starts) / 2.0)


def _cramers_v(of: Histograms) -> FloatArray:
    p, q = of.shares()
    both = p + q
    terms = np.divide((p - q) ** 2, both, out=np.zeros_like(both), where=both > 0.0)
    return np.sqrt(np.add.reduceat(terms, of.starts) / 2.0)


def _largest_difference(of: Histograms) -> FloatArray:
    p, q = of.shares()
    largest: FloatArray = np.maximum.reduceat(np.abs(q - p), of.starts, axis=-1)
    return largest


def _kolmogorov_smirnov(of: Histograms) -> FloatArray:
    _, ends = of.distributions()
    largest: FloatArray = np.maximum.reduceat(np.abs(ends), of.starts, axis=-1)
    return largest


def _wasserstein(of: Histograms) -> FloatArray:
    """Return the area between the distribution functions of values that stand in the middle of their bins."""
    begins, ends = of.distributions()
    area: FloatArray = np.add.reduceat(
        of.widths * (np.abs(begins) + np.abs(ends)) / 2.0 + of.jumps * np.abs(ends), of.starts, axis=-1
    )
    return area


def _overstated_at_most(of: Histograms) -> FloatArray:
    """Return by how much `_wasserstein` may exceed the distance of the values, wherever in their bins these are.

    Within a bin each distribution function rises by the bin's share. The area between the two is least where the one
    that is behind rises at once and the other at last.
    """
    p, q = of.shares()
    begins, ends = of.distributions()
    least = np.maximum(np.maximum(begins - p, -begins - q), 0.0)
    middle = (np.abs(begins) + np.abs(ends)) / 2.0
    return np.add.reduceat(of.widths * np.maximum(middle - least, 0.0), of.starts)


Limits = tuple[FloatArray, FloatArray, FloatArray]


def _limits_of_ks(of: Histograms, observed: FloatArray, significance: float) -> Limits:
    """Take the difference of the distribution functions for a Brownian bridge, seen only where bins end."""
    pooled = _pooled_shares(of)
    summed = np.cumsum(pooled)
    ends = summed - np.repeat((summed - pooled)[of.starts], of.lengths())
    widest = np.sqrt(np.maximum.reduceat(np.maximum(ends * (1.0 - ends), 0.0), of.starts))
    critical = np.full(observed.size, special.kolmogi(significance))
    return _two_sided(observed, widest), special.kolmogorov(observed), critical


def _limits_of_wasserstein(of: Histograms, observed: FloatArray, significance: float) -> Limits:
    """Compare the area with the difference of the means, which is no larger, and hardly smaller in the tail."""
    pooled = _pooled_shares(of)
    steps = (of.widths + np.roll(of.widths, -1)) / 2.0 + of.jumps
    places = np.cumsum(steps) - steps
    places -= np.repeat(places[of.starts], of.lengths())
    mean = np.add.reduceat(pooled * places, of.starts)
    variance = np.add.reduceat(pooled * (places - np.repeat(mean, of.lengths())) ** 2, of.starts)
    least = _two_sided(observed, np.sqrt(variance))
    return least, np.minimum(2.0 * least, 1.0), -special.ndtri(significance / 4.0) * np.sqrt(variance)


def _limits_of_linf(of: Histograms, observed: FloatArray, significance: float) -> Limits:
    """Take each bin's difference for normal: one of them is the largest, and all together are its chances."""
    pooled = _pooled_shares(of)
    widths = np.sqrt(pooled * (1.0 - pooled))
    each = _two_sided(np.repeat(observed, of.lengths()), widths)
    filled = np.add.reduceat((pooled > 0.0).astype(np.float64), of.starts)
    critical = -special.ndtri(significance / (2.0 * np.maximum(filled, 1.0)))
    return (
        np.maximum.reduceat(each, of.starts),
        np.minimum(np.add.reduceat(each, of.starts), 1.0),
        critical * np.maximum.reduceat(widths, of.starts),
    )


def _pooled_shares(of: Histograms) -> FloatArray:
    return of._replace(current=of.reference + of.current).shares()[1]


def _two_sided(observed: FloatArray, deviation: FloatArray) -> FloatArray:
    """Return the chance that a normal variate is at least `observed` in size; 0 if it is always 0."""
    z = np.divide(observed, deviation, out=np.full(observed.size, np.inf), where=deviation > 0.0)
    chance: FloatArray = special.erfc(z / math.sqrt(2.0))
    return chance


@dataclass(frozen=True)
class Pearsons:
    """Evidence for a distance that measures what Pearson's two-sample statistic X² measures.

    Parameters
    ----------
    per_statistic
        The distance, or its square, is about this times (1/n + 1/m) X² where nothing has changed.
    is_root
        Whether it is the square that grows with X².
    """

    per_statistic: float
    is_root: bool


@dataclass(frozen=True)
class Own:
    """Evidence for a distance that is its own test statistic.

    Parameters
    ----------
    limits
        Of the observed distances, over sqrt(1/n + 1/m), and a significance: a lower bound of the p-values in the normal
        limit, and p-values and critical values that are too large rather than too small.
    """

    limits: Callable[[Histograms, FloatArray, float], Limits]


@dataclass(frozen=True)
class Distance:
    """One way to compare two histograms.

    Parameters
    ----------
    score
        Computes the distance of each feature, shape ``(features,)``; of many windows ``(windows, features)``.
    evidence
        What tells a change from chance.
    is_ordered
        Whether the bins' order matters, so that categorical features have no such distance.
    overstated_at_most
        By how much the distance of binned values may exceed that of the values; None for never.
    """

    score: Callable[[Histograms], FloatArray]
    evidence: Pearsons | Own
    is_ordered: bool = False
    overstated_at_most: Callable[[Histograms], FloatArray] | None = None


DISTANCES: dict[str, Distance] = {
    "psi": Distance(_psi, Pearsons(1.0, is_root=False)),
    "js": Distance(_jensen_shannon, Pearsons(1.0 / (8.0 * _LN_2), is_root=True)),
    "hellinger": Distance(_hellinger, Pearsons(1.0 / 8.0, is_root=True)),
    "chi2": Distance(_cramers_v, Pearsons(1.0 / 4.0, is_root=True)),
    "linf": Distance(_largest_difference, Own(_limits_of_linf)),
    "ks": Distance(_kolmogorov_smirnov, Own(_limits_of_ks), is_ordered=True),
    "wasserstein": Distance(
        _wasserstein, Own(_limits_of_wasserstein), is_ordered=True, overstated_at_most=_overstated_at_most
    ),
}
"""The window statistics by the names that they have in a configuration and in `v_drift`."""
