"""Are there more odd values in a window than in the reference: missing, never seen, out of range, of a wrong type?

Odd values are counted, so the evidence is an exact test of two binomial samples, and the effect size a difference of
shares. Drift needs both. Invariants: only more is worse, fewer odd values say nothing here; one odd row is never an
alarm; ``score >= threshold`` holds exactly when the level is ``drift``; p-values are never too small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.reference.profile import FloatArray, IntArray
from detectors.windows.drift import Drift, Level

ODD_ROWS_MIN = 2
"""One odd row says nothing, be the reference as large as it may."""

_STEPS = 48


class Odd(NamedTuple):
    """How many values were odd, and of how many, feature by feature: int64 [features] each."""

    reference: IntArray
    n_reference: IntArray
    current: IntArray
    n_current: IntArray


def excess_p(of: Odd) -> FloatArray:
    """Return the chance that a window holds so many odd values, given how many both samples hold together.

    It is Fisher's one-sided exact test, bounded from above: with the hypergeometric probability f(y) of just so many,
    and r = f(y + 1) / f(y), the tail is at most f(y) / (1 - r), because ratios only fall. In the far tail, which is
    where alarms are, that is some per cent too much; where r is 1 or more, it is 1.

    For values outside of the range of a continuous reference, one odd row stands for the reference: of all rows, those
    of the reference cut the line into n + 1 stretches that are alike to a new value, and the two outer ones are as
    likely to hold y new values as those above the second largest are.

    Examples
    --------
    >>> of = Odd(*(np.array([n]) for n in (20, 1_000, 12, 100)))
    >>> excess_p(of).round(7).tolist()  # scipy.stats.hypergeom.sf(11, 1_100, 32, 100) is 0.0000080
    [8.1e-06]
    """
    x, n, y, m = (part.astype(np.float64) for part in of)
    ratio = x * (m - y) / ((y + 1.0) * (n - x + 1.0))
    logarithm = _log_choose(x + y, y) + _log_choose(n + m - x - y, m - y) - _log_choose(n + m, m)
    is_tail = (ratio < 1.0) & (y >= ODD_ROWS_MIN)
    tail = np.exp(logarithm) / np.where(is_tail, 1.0 - ratio, 1.0)
    p_values: FloatArray = np.where(is_tail, np.minimum(tail, 1.0), 1.0)
    return p_values


def _log_choose(n: FloatArray, k: FloatArray) -> FloatArray:
    chosen: FloatArray = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return chosen


def judge_odd(
    of: Odd, *, effects: FloatArray, significance: float, dependence: FloatArray | None = None
) -> list[Drift]:
    """Judge whether shares of odd values have grown.

    Parameters
    ----------
    effects
        Of each feature, the smallest growth of the share that matters, above 0.
    significance
        Largest p-value that counts.
    dependence
        Of each feature, how many rows that go together say as much as one, at least 1, see
        `detectors.noise.dependence`.

    Returns
    -------
    One a feature. Scores are the growth of the share, 0 where it fell.

    Examples
    --------
    >>> of = Odd(*(np.array([n]) for n in (20, 1_000, 410, 1_000)))
    >>> [found] = judge_odd(of, effects=np.array([0.05]), significance=1e-6)
    >>> found.level, round(found.score, 2), found.threshold
    ('drift', 0.39, 0.05)
    """
    spread = np.ones(of.current.size) if dependence is None else np.maximum(dependence, 1.0)
    shares = of.reference / np.maximum(of.n_reference, 1), of.current / np.maximum(of.n_current, 1)
    scores = np.maximum(shares[1] - shares[0], 0.0)
    # As many rows as would be as sure if each spoke for itself; rounded against an alarm.
    alike = Odd(
        np.ceil(of.reference / spread).astype(np.int64),
        np.maximum(np.floor(of.n_reference / spread), np.ceil(of.reference / spread)).astype(np.int64),
        np.floor(of.current / spread).astype(np.int64),
        np.ceil(of.n_current / spread).astype(np.int64),
    )
    p_values = np.maximum(excess_p(alike), np.finfo(np.float64).tiny)  # no sample makes a change certain
    critical = _least_current(alike, significance) * spread / np.maximum(of.n_current, 1) - shares[0]
    is_significant = p_values <= significance
    reached = np.where(is_significant, np.minimum(critical, scores), np.maximum(critical, np.nextafter(scores, np.inf)))
    thresholds = np.maximum(reached, effects)
    matters = is_significant & (scores >= effects / 2.0)
    columns = (scores, thresholds, p_values, of.n_reference, of.n_current, matters)
    return [_drift(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _drift(score: float, threshold: float, p_value: float, n_reference: int, n_current: int, matters: bool) -> Drift:
    level: Level = "ok"
    if not n_reference or not n_current:
        level = "not_ready"
    elif matters:
        level = "drift" if score >= threshold else "warning"
    return Drift(score, threshold, p_value, n_reference, n_current, level)


def _least_current(of: Odd, significance: float) -> FloatArray:
    """Return how many odd values of the window would just be significant; one more than all if none are."""
    low, high = np.zeros(of.current.size, np.int64), of.n_current + 1  # p is above at low, not above at high
    for _ in range(_STEPS):
        middle = (low + high) // 2
        is_enough = excess_p(of._replace(current=np.minimum(middle, of.n_current))) <= significance
        high = np.where(is_enough & (middle < high), middle, high)
        low = np.where(is_enough, low, middle)
        if (high - low <= 1).all():
            break
    return high.astype(np.float64)
