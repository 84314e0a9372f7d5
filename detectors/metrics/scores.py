"""How good are scores as such, from counts by score bin and true class, and how far can binning have moved that?

Scores that lie in one bin cannot be told apart. Each metric comes with a bound on what that can have changed, which
holds for any scores within the bins.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import digamma, expit, ndtri

from detectors.metrics.estimates import Z95, wilson
from detectors.metrics.sums import FloatArray, IntArray

CALIBRATION_GROUPS = 15


class Binned(NamedTuple):
    """A metric of binned scores, its 95 % interval, and how far binning the scores can have moved it."""

    value: float | None
    low: float | None
    high: float | None
    resolution_bound: float | None


def roc_auc(histogram: IntArray) -> Binned:
    """Return the area under the ROC curve from binned scores.

    Parameters
    ----------
    histogram
        Counts, shape ``(bins, 2)``: rows by rising score, columns are true negatives and positives.

    Returns
    -------
    Binned
        Pairs within one bin count half; had the scores not been binned, the value would differ by at most
        ``resolution_bound``, half the share of such pairs. All None unless both classes occur.

    Notes
    -----
    The interval is Newcombe's fifth: the area's variance by Hanley and McNeil, evaluated at the bound itself as in
    Wilson's interval, so it neither collapses nor leaves [0, 1] near a perfect score. It is about chance alone.

    With shares p and n of the positives and the negatives by bin, ``resolution_bound`` is ``sum(p * n) / 2``. It is
    attained when each bin's positives lie all above or all below its negatives. If each of K bins holds the same share
    of all rows, it is at most ``2 / (3 K)``; scores that gather in few bins make it larger, at most 1/2.

    References
    ----------
    .. [1] R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
       Part 2", Statistics in Medicine 25, 2006.

    Examples
    --------
    >>> roc_auc(np.array([[30, 0], [10, 10], [0, 30]]))[0], roc_auc(np.array([[30, 0], [10, 10], [0, 30]]))[3]
    (0.96875, 0.03125)
    """
    occupied = histogram[histogram.any(axis=1)].astype(object)  # products of counts may exceed 64 bits
    negatives, positives = (int(total) for total in occupied.sum(axis=0)) if len(occupied) else (0, 0)
    pairs = negatives * positives
    if not pairs:
        return Binned(None, None, None, None)
    below = np.cumsum(occupied[:, 0]) - occupied[:, 0]
    tied = int((occupied[:, 0] * occupied[:, 1]).sum())
    area = (2 * int((below * occupied[:, 1]).sum()) + tied) / (2 * pairs)
    return Binned(area, *area_interval(area, negatives, positives), tied / (2 * pairs))


def average_precision(histogram: IntArray) -> Binned:
    """Return the area under the precision-recall curve, as average precision, from binned scores.

    Parameters
    ----------
    histogram
        Counts, shape ``(bins, 2)``: rows by rising score, columns are true negatives and positives.

    Returns
    -------
    Binned
        As scikit-learn's ``average_precision_score`` of the bins' numbers; the exact value lies between those of the
        best and the worst order within bins, at most ``resolution_bound`` away. All None without positives.

    Notes
    -----
    The interval is normal for the logit with standard error ``1 / sqrt(P v (1 - v))``, P positives and value v.

    References
    ----------
    .. [1] K. Boyd, K. Eng and C. D. Page, "Area under the precision-recall curve: point estimates and confidence
       intervals", ECML PKDD 2013.

    Examples
    --------
    >>> average_precision(np.array([[30, 0], [10, 10], [0, 30]]))[0]
    0.95
    """
    falling = histogram[histogram.any(axis=1)][::-1].astype(np.float64)
    n_positives = int(histogram[:, 1].sum())
    if not n_positives:
        return Binned(None, None, None, None)
    negatives, positives = falling.T
    above = np.cumsum(falling, axis=0) - falling
    value = float(
        (positives * (above[:, 1] + positives) / (above.sum(axis=1) + negatives + positives)).sum() / n_positives
    )
    # Best where a bin's positives are above its negatives and equal, worst where they are below them and all different.
    hits = above[:, 1] + positives
    best = float((positives * hits / np.maximum(hits + above[:, 0], 1.0)).sum() / n_positives)
    worst = _precisions(above[:, 1], above[:, 0] + negatives, positives) / n_positives
    return Binned(value, *logit_interval(value, n_positives), max(best - value, value - worst, 0.0))


def calibration_groups(n_bins: int) -> IntArray:
    """Return where the groups of neighbouring score bins begin whose calibration is looked at: 15 at most."""
    n_groups = min(CALIBRATION_GROUPS, n_bins)
    return np.arange(n_groups) * n_bins // n_groups


def calibration_error(
    histogram: IntArray | FloatArray, score_edges: FloatArray, inflation: FloatArray | None = None
) -> Binned:
    """Return the expected calibration error: how far scores are from the shares of positives, in the mean.

    Parameters
    ----------
    histogram
        Counts, shape ``(bins, 2)``: rows by rising score in [0, 1], columns are true negatives and positives.
    score_edges
        Inner edges of the bins.
    inflation
        Of weighted counts: how many times as unsure as of so many rows the share of positives is, by group.

    Returns
    -------
    Binned
        ``sum |share of positives - mean score| * share of rows`` over at most 15 groups of neighbouring bins, as many
        bins in each. Within a bin all scores are taken for its middle, which moves the value by at most half the mean
        width of the rows' bins, the ``resolution_bound``. All None without rows.

    Notes
    -----
    Bins are quantiles of the reference, so the groups are those of adaptive calibration error [1]_. The value is biased
    upwards: a perfectly calibrated model has about ``sum sqrt(2 p (1 - p) n / pi) / N``. The interval puts together
    bounds that hold for all groups at once (Wilson's with Bonferroni's quantile), so it holds more often than 95 %.

    References
    ----------
    .. [1] J. Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019.
    """
    rows = histogram.sum(axis=1)
    n = rows.sum().item()
    if not n:
        return Binned(None, None, None, None)
    bounds = np.concatenate(([0.0], np.clip(score_edges, 0.0, 1.0), [1.0]))
    starts = calibration_groups(len(rows))
    unsure = (np.ones(len(starts)) if inflation is None else inflation).tolist()
    of_group, positives = np.add.reduceat(rows, starts), np.add.reduceat(histogram[:, 1], starts)
    scores = np.add.reduceat(rows * (bounds[:-1] + bounds[1:]) / 2.0, starts)
    # Two-sided, for all groups together: a quantile that 5 % shared by all of them leave.
    z = -float(ndtri(0.025 / len(starts)))
    value = low = high = 0.0
    groups = zip(of_group.tolist(), positives.tolist(), scores.tolist(), unsure, strict=True)
    for size, hits, total, times in groups:
        if size:
            share, score = hits / size, total / size
            least, most = wilson(hits / times, size / times, z)
            value += abs(share - score) * size / n
            low += max(least - score, score - most, 0.0) * size / n
            high += max(most - score, score - least) * size / n
    return Binned(value, low, high, float((rows * np.diff(bounds)).sum()) / (2.0 * n))


def _precisions(true: FloatArray, false: FloatArray, positives: FloatArray) -> float:
    """Return the summed precisions at each positive of each bin, one after the other behind all its negatives."""
    # sum over i = 1 … p of (T + i) / (T + i + F) = p - F (psi(T + F + p + 1) - psi(T + F + 1)).
    start = true + false + 1.0
    return float((positives - false * (digamma(start + positives) - digamma(start))).sum())


def logit_interval(value: float, n: float) -> tuple[float, float]:
    """Return the interval of an average precision with so many positives."""
    if not 0.0 < value < 1.0:
        low, high = wilson(value * n, n)
        return low, high
    logit, error = math.log(value / (1.0 - value)), Z95 / math.sqrt(n * value * (1.0 - value))
    return float(expit(logit - error)), float(expit(logit + error))


def area_interval(area: float, negatives: float, positives: float) -> tuple[float, float]:
    """Return the interval of an area under the ROC curve of so many rows, see `roc_auc`."""
    return _area_bound(area, negatives, positives), 1.0 - _area_bound(1.0 - area, negatives, positives)


def _area_bound(area: float, negatives: float, positives: float) -> float:
    """Return the lower bound: where the area is Z95 standard errors above it."""

    def excess(bound: float) -> float:
        half = (negatives + positives) / 2.0 - 1.0
        spread = 1.0 + half * (1.0 - bound) / (2.0 - bound) + half * bound / (1.0 + bound)
        return area - bound - Z95 * math.sqrt(bound * (1.0 - bound) * spread / (negatives * positives))

    if area <= 0.0:
        return 0.0
    # At 1 the standard error vanishes, which is a second, meaningless root for a perfect score.
    top = min(area, 1.0 - 1e-12)
    return float(optimize.brentq(excess, 0.0, top)) if excess(top) < 0.0 else top
