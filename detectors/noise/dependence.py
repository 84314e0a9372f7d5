"""How much more does a stream swing than it would if its events were independent?

Events that resemble their neighbours (a sensor's readings, one user's requests) say less than as many independent ones,
and a test that counts them all calls their common swings a change. So pieces of the stream are compared with the pieces
next to them: a squared difference over what chance allows is 1 on average if events are independent, and on average
the dispersion if they are not. Invariants: a dispersion is at least 1 and bounded; one abrupt change, or one odd
piece, raises what is known by a bounded part; the same pieces in the same order give the same numbers, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PAIRS_REMEMBERED = 256
"""New pairs weigh no less than among so many, so that what is known follows the stream."""

LEAP_MAX = 4.0
"""A pair counts as at most so many times the dispersion that its neighbours or the past show: the rest is a change."""

DISPERSION_MAX = 256.0

PAIRS_LENT = 32.0
"""What other columns show counts as so many pairs of a column's own: more would make a still one seem to swing."""

OTHERS_MAX = 2.0
"""Of the others none counts as more than so many times their median: an hour of the day swings a hundred times as
much as chance, and says nothing of what stands beside it."""

_PAIRS_TO_COMPARE = 3


class Comparisons(NamedTuple):
    """Neighbouring pieces compared, shape ``(pairs, columns)``; columns are features, or series.

    Parameters
    ----------
    ratios
        Squared difference over its expectation for independent events; 1 where nothing is told.
    tells
        Whether both pieces hold events that can differ.
    freedoms
        Shape ``(columns,)``; degrees of freedom of a ratio, at least 1.
    """

    ratios: FloatArray
    tells: BoolArray
    freedoms: FloatArray


@dataclass(frozen=True)
class Dispersion:
    """What is known of the dispersion of each column.

    Parameters
    ----------
    means
        Shape ``(columns,)``; the running mean over pairs of neighbouring pieces.
    pairs
        Shape ``(columns,)``; how many pairs it is of.
    """

    means: FloatArray
    pairs: IntArray

    @classmethod
    def unknown(cls, columns: int) -> Self:
        """Return what is known before any pair."""
        return cls(np.ones(columns), np.zeros(columns, np.int64))

    def to_bytes(self) -> bytes:
        """Return it as it is stored; `from_bytes` gives the same, bit for bit."""
        return self.means.astype("<f8").tobytes() + self.pairs.astype("<i8").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return what `to_bytes` was given."""
        half = len(content) // 2
        means, pairs = np.frombuffer(content[:half], "<f8"), np.frombuffer(content[half:], "<i8")
        return cls(means.astype(np.float64), pairs.astype(np.int64))

    def after(self, seen: Comparisons) -> Dispersion:
        """Return what is known after some more pairs."""
        if not seen.ratios.shape[0]:
            return self
        # Of three pairs one may be a change, so not their mean.
        typical = np.median(seen.ratios, axis=0) / _median_of_chi_square(seen.freedoms)
        typical *= len(seen.ratios) >= _PAIRS_TO_COMPARE
        most = LEAP_MAX * np.maximum(np.maximum(self.means, typical), 1.0)
        new = seen.tells.sum(axis=0)
        pairs = self.pairs + new
        sums = np.where(seen.tells, np.minimum(seen.ratios, most), 0.0).sum(axis=0)
        weights = np.minimum(new / np.clip(pairs, 1, PAIRS_REMEMBERED), 1.0)
        return Dispersion(self.means + weights * (sums / np.maximum(new, 1) - self.means), pairs)

    def known(self, pairs_min: int, freedoms: FloatArray) -> FloatArray:
        """Return each column's dispersion, a little more while few tell.

        It is 1 where fewer than `pairs_min` pairs tell, and where the mean is within a standard error of 1 (three
        while three pairs tell): most streams are of independent events, whose tests are to be as sharp as they can.
        """
        is_clear = (self.pairs >= pairs_min) & _exceeds_chance(self.means, self._remembered(), freedoms)
        return np.where(is_clear, _cautious(self.means, self.pairs), 1.0)

    def known_together(self, pairs_min: int, freedoms: FloatArray) -> FloatArray:
        """Return each column's dispersion, also by what the others show: what swings mostly swings together.

        A weak swing, or a young one, cannot be told from chance in one column but in all of them. Where it is clear in
        the others, they count as `PAIRS_LENT` pairs of a column's own. Else, and for a column alone, it is `known`.
        """
        pairs = self._remembered()
        weights = freedoms * pairs
        of_others = weights.sum() - weights
        shown = weights * np.minimum(self.means, OTHERS_MAX * _median_mean(self.means, weights))
        others = (shown.sum() - shown) / np.maximum(of_others, 1.0)
        lent = np.minimum(of_others / freedoms, PAIRS_LENT)
        means = (pairs * self.means + lent * others) / np.maximum(pairs + lent, 1.0)
        is_clear = (self.pairs >= pairs_min) & _exceeds_chance(others, of_others, np.ones(others.size))
        together = np.where(is_clear, _cautious(means, self.pairs + lent), 1.0)
        return np.maximum(self.known(pairs_min, freedoms), together)

    def _remembered(self) -> FloatArray:
        return np.minimum(self.pairs, PAIRS_REMEMBERED).astype(np.float64)


def _median_of_chi_square(freedoms: FloatArray) -> FloatArray:
    # Over its freedom, by Wilson and Hilferty.
    medians: FloatArray = (1.0 - 2.0 / (9.0 * freedoms)) ** 3
    return medians


def _median_mean(means: FloatArray, weights: FloatArray) -> float:
    told = weights > 0
    if not told.any():
        return 1.0
    return float(np.median(means[told] / _median_of_chi_square(np.maximum(weights[told], 1.0))))


def _exceeds_chance(means: FloatArray, pairs: FloatArray, freedoms: FloatArray) -> BoolArray:
    # The variance of a ratio is 2 / freedom; neighbouring pairs share a piece, which makes it half as much again.
    at_least_one = np.maximum(pairs, 1.0)
    clear: BoolArray = means > 1.0 + (1.0 + 6.0 / at_least_one) * np.sqrt(3.0 / (freedoms * at_least_one))
    return clear


def _cautious(means: FloatArray, pairs: NDArray[Any]) -> FloatArray:
    dispersions: FloatArray = np.clip(means * (1.0 + 1.0 / np.maximum(pairs, 1)), 1.0, DISPERSION_MAX)
    return dispersions


def compare_shares(pieces: IntArray, starts: IntArray) -> Comparisons:
    """Compare the histograms of neighbouring pieces by Pearson's two-sample statistic.

    Parameters
    ----------
    pieces
        Counts, shape ``(pieces, bins)``, oldest first; one feature's bins after the other.
    starts
        Where each feature's bins start; the first is 0.
    """
    older, newer = pieces[:-1], pieces[1:]
    lengths = np.diff(starts, append=pieces.shape[1])
    n_older, n_newer = (np.add.reduceat(counts, starts, axis=1).astype(np.float64) for counts in (older, newer))
    n = np.maximum(n_older + n_newer, 2.0)
    pooled = (older + newer).astype(np.float64)
    excess = older - pooled * np.repeat(n_older / n, lengths, axis=1)
    terms = np.divide(excess * excess, pooled, out=np.zeros_like(pooled), where=pooled > 0.0)
    freedom = np.add.reduceat((pooled > 0.0).astype(np.float64), starts, axis=1) - 1.0
    tells = (freedom > 0.0) & (n_older > 0.0) & (n_newer > 0.0)
    # Given both margins the statistic's mean is freedom * n / (n - 1).
    scale = np.where(tells, n_older * n_newer * freedom, 1.0)
    ratios = np.where(tells, np.add.reduceat(terms, starts, axis=1) * n * (n - 1.0) / scale, 1.0)
    return Comparisons(ratios, tells, np.maximum(freedom.max(axis=0, initial=1.0), 1.0))


def compare_means(counts: IntArray, sums: IntArray, squares: IntArray) -> Comparisons:
    """Compare the means of neighbouring pieces.

    Parameters
    ----------
    counts, sums, squares
        Events, sum of their values and of the values' squares, shape ``(pieces, series)``, oldest first.
    """
    n, total, square = (of.astype(np.float64) for of in (counts, sums, squares))
    of_both = n[:-1] + n[1:]
    mean = total / np.maximum(n, 1.0)
    # Within the two pieces, so that a gap between them adds nothing to what chance allows.
    within = np.maximum(square - total * mean, 0.0)
    variance = (within[:-1] + within[1:]) / np.maximum(of_both - 2.0, 1.0)
    tells = (n[:-1] > 0.0) & (n[1:] > 0.0) & (variance > 0.0)
    allowed = np.where(tells, variance * of_both / np.maximum(n[:-1] * n[1:], 1.0), 1.0)
    return Comparisons(np.where(tells, (mean[1:] - mean[:-1]) ** 2 / allowed, 1.0), tells, np.ones(counts.shape[1]))


def worst_case(dispersions: FloatArray, freedoms: FloatArray, significance: float) -> FloatArray:
    """Return by what a statistic is to be divided, so that it is no more often significant than it should be.

    A dispersion is a mean over all directions in which the shares of bins can move. The tail is heaviest where all of
    its excess lies in one of them, as where a level swings up and down: the statistic is then taken for a multiple of
    chi-square with the same mean and variance.

    Parameters
    ----------
    dispersions
        From 1 on, shape ``(features,)``.
    freedoms
        Degrees of freedom of each feature's statistic, at least 1.

    References
    ----------
    .. [1] J. N. K. Rao and A. J. Scott, "On chi-squared tests for multiway contingency tables with cell proportions
       estimated from survey data", Annals of Statistics 12, 1984: the second-order correction.

    Examples
    --------
    >>> worst_case(np.array([1.0, 6.0]), np.array([9.0, 9.0]), 0.001).round(2).tolist()
    [1.0, 16.99]
    """
    total = freedoms * dispersions
    swing = 1.0 + freedoms * (dispersions - 1.0)
    fewer = total * total / (swing * swing + freedoms - 1.0)
    critical = special.gammainccinv(fewer / 2.0, significance) / fewer * total
    divisors: FloatArray = np.maximum(critical / special.gammainccinv(freedoms / 2.0, significance), 1.0)
    return divisors


def widest(dispersions: FloatArray, freedoms: FloatArray) -> FloatArray:
    """Return by how much the shares vary more, at most, in the direction in which they vary most.

    By its square root is divided what looks in one direction, as the largest gap of two distribution functions does.

    Examples
    --------
    >>> widest(np.array([1.0, 6.0]), np.array([9.0, 9.0])).tolist()
    [1.0, 46.0]
    """
    most: FloatArray = np.maximum(1.0 + freedoms * (dispersions - 1.0), 1.0)
    return most
