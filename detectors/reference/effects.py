"""How much better or worse are answers with each value of each feature? Main effects of the reference's labelled rows.

What a row adds to a metric's sums (a right answer, an error) is fitted by the bins of all features at once, so that
features that go together share what goes with both, and what several do adds up. How often each bin occurs is then
enough to say what a change of the inputs does to a metric, feature by feature.

Invariants: the same rows in the same order give the same effects, bit for bit; their number is bounded.

References
----------
.. [1] R. Oaxaca, "Male-female wage differentials in urban labor markets", International Economic Review 14, 1973, and
   A. S. Blinder, "Wage discrimination: reduced form and structural estimates", Journal of Human Resources 8, 1973.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROWS_MIN, ROWS_MAX = 200, 50_000
"""Fewer labelled rows say too little; of more, so many are taken, evenly spaced."""

ROWS_OF_BIN_MIN = 20
BINS_MAX = 1_024
"""Bins with an effect of their own: the most frequent ones."""

RIDGE_ROWS = 1.0
"""Each effect is drawn towards 0 as by so many rows, which also shares out what bins that always go together do."""

_UNIT = 2.0**20
_ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Effects:
    """Main effects, in steps of 2⁻²⁰.

    Parameters
    ----------
    of
        What is explained, such as `absolute`.
    bases
        Of each, what a row adds whose bins have no effect.
    bins
        The bins that have an effect, in rising order, counted over all features one after the other. Other bins that
        the reference has rows of have none.
    by_bin
        For each of `of`, the effect of each of `bins`.
    """

    of: tuple[str, ...]
    bases: tuple[int, ...]
    bins: tuple[int, ...]
    by_bin: tuple[tuple[int, ...], ...]


def fit_effects(codes: IntArray, n_bins: int, wanted: Mapping[str, FloatArray]) -> Effects | None:
    """Fit main effects, or return None where there are too few rows.

    Parameters
    ----------
    codes
        int64 [rows, features]; the bin of each row in each feature, counted over all features.
    n_bins
        How many bins all features have.
    wanted
        By name, float64 [rows]; what is to be explained.

    Examples
    --------
    >>> side = np.arange(400) % 2
    >>> found = fit_effects(side[:, None], 2, {"right": 1.0 - 0.5 * side})
    >>> np.round(np.array(found.by_bin) / 2**20, 2).tolist()
    [[0.25, -0.25]]
    """
    n_rows = len(codes)
    if n_rows < ROWS_MIN or not codes.shape[1]:
        return None
    taken = np.linspace(0, n_rows - 1, min(n_rows, ROWS_MAX)).astype(np.int64)
    codes, explained = codes[taken], np.stack(list(wanted.values()), axis=1)[taken]
    n, of_bin = len(codes), np.bincount(codes.ravel(), minlength=n_bins)
    frequent = np.argsort(-of_bin, kind="stable")[:BINS_MAX]
    bins = np.sort(frequent[of_bin[frequent] >= ROWS_OF_BIN_MIN])
    place = np.full(n_bins, len(bins))
    place[bins] = np.arange(len(bins))
    together, sums = np.zeros((len(bins), len(bins))), np.zeros((len(bins), explained.shape[1]))
    means = explained.mean(axis=0)
    for begin in range(0, n, _ROWS_AT_ONCE):
        some = place[codes[begin : begin + _ROWS_AT_ONCE]]
        # One place more takes what has no effect of its own. Counts of so few rows are exact in whatever order.
        rows = np.zeros((len(some), len(bins) + 1), np.float32)
        rows[np.arange(len(some))[:, None], some] = 1.0
        rows = rows[:, :-1]
        together += rows.T @ rows
        sums += rows.T.astype(np.float64) @ explained[begin : begin + _ROWS_AT_ONCE]
    often = of_bin[bins].astype(np.float64)
    spread = together - np.outer(often, often) / n + RIDGE_ROWS * np.eye(len(bins))
    sums -= np.outer(often, means)
    effects = np.linalg.solve(spread, sums) if len(bins) else sums
    return Effects(
        tuple(wanted),
        tuple(np.rint((means - often @ effects / n) * _UNIT).astype(np.int64).tolist()),
        tuple(bins.tolist()),
        tuple(tuple(row) for row in np.rint(effects.T * _UNIT).astype(np.int64).tolist()),
    )


class Sum(NamedTuple):
    """A sum over rows that is linear in what effects are of: what a row adds, and each of its bins besides."""

    base: float
    effect: FloatArray

    def of_row(self, shares: FloatArray) -> float:
        """Return what a row adds on average, with each bin's share of its feature's rows."""
        return self.base + float(shares @ self.effect)


def sum_of(effects: Effects, weights: Mapping[str, float], one: float, counts: Sequence[Sequence[int]]) -> Sum:
    """Put together a sum of what effects are of.

    Parameters
    ----------
    weights
        By name, how often each counts.
    one
        What every row adds besides.
    counts
        The reference's counts by bin of each feature. A bin that it has no row of counts as the feature's mean.
    """
    of = np.array([weights.get(name, 0.0) for name in effects.of]) / _UNIT
    effect = np.zeros(sum(map(len, counts)))
    effect[list(effects.bins)] = of @ np.array(effects.by_bin, np.float64).reshape(len(of), -1)
    start = 0
    for of_feature in counts:
        seen, own = np.array(of_feature, np.float64), effect[start : start + len(of_feature)]
        own[seen == 0] = seen @ own / max(seen.sum(), 1.0)
        start += len(of_feature)
    return Sum(float(one + of @ np.array(effects.bases, np.float64)), effect)


def explained_by_inputs(
    sums: tuple[Sum, Sum], before: FloatArray, now: FloatArray, starts: IntArray
) -> FloatArray | None:
    """Return float64 [features]: what the inputs of each did to a ratio of two sums, from before to now.

    Parameters
    ----------
    sums
        Numerator and denominator.
    before, now
        float64 [bins]; each bin's share of its feature's rows.
    starts
        int64 [features + 1]; where each feature's bins begin.

    Returns
    -------
    All together are what the effects make of the ratio; None where they leave no denominator.
    """
    first = [of.of_row(before) for of in sums]
    by_feature = [np.add.reduceat((now - before) * of.effect, starts[:-1]) for of in sums]
    last = first[1] + float(by_feature[1].sum())
    if first[1] <= 0.0 or last <= 0.0:
        return None
    found: FloatArray = (by_feature[0] - first[0] / first[1] * by_feature[1]) / last
    return found
