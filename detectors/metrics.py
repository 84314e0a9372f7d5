"""How right were the predictions whose labels are in, and how sure can one be of that?

Every metric comes from integer counts that add in any order, with an interval of 95 % coverage. A metric that is not
defined (no positives, nothing predicted) is None, never NaN and never a made-up 0 or 1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Z95 = 1.959963984540054
STEPS_PER_SCALE = 2**32
STEPS_MAX = 2**52
LIMBS = 5

_LIMB_BITS = 32
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_HALF_BITS = 26


class Estimate(NamedTuple):
    """A metric, its 95 % interval and the number of cases that it rests on; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Auc(NamedTuple):
    """Area under the ROC curve, its 95 % interval, and how far binning the scores can have moved it."""

    value: float | None
    low: float | None
    high: float | None
    resolution_bound: float | None


UNDEFINED = Estimate(None, None, None, 0)


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion.

    Parameters
    ----------
    successes, n
        Counts, ``0 <= successes <= n``; the interval of nothing is (0, 1).
    z
        Standard normal quantile; the default gives 95 %.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    shrink = 1.0 + z * z / n
    centre = (share + z * z / (2.0 * n)) / shrink
    margin = z / shrink * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - margin)
    high = 1.0 if successes >= n else min(1.0, centre + margin)
    return low, high


def binary_metrics(confusion: IntArray, positive: int = 1) -> dict[str, Estimate]:
    """Return accuracy, precision, recall and F1 of the positive class.

    Parameters
    ----------
    confusion
        Counts, shape ``(2, 2)``: rows are predicted, columns are true classes.
    positive
        Index of the positive class.

    Returns
    -------
    dict
        ``accuracy``, ``precision``, ``recall``, ``f1``; ``n`` is the denominator of the proportion that was measured.

    Notes
    -----
    F1 = 2J / (1 + J) where J = TP / (TP + FP + FN) is a proportion, so F1's interval is J's Wilson interval put through
    the same rising function; its ``n`` is TP + FP + FN.

    Examples
    --------
    >>> binary_metrics(np.array([[50, 10], [5, 35]]))["recall"].value
    0.7777777777777778
    """
    negative = 1 - positive
    tp, fp = int(confusion[positive, positive]), int(confusion[positive, negative])
    fn, tn = int(confusion[negative, positive]), int(confusion[negative, negative])
    return {
        "accuracy": _proportion(tp + tn, tp + fp + fn + tn),
        "precision": _proportion(tp, tp + fp),
        "recall": _proportion(tp, tp + fn),
        "f1": _f1(tp, fp + fn),
    }


def multiclass_metrics(confusion: IntArray) -> dict[str, Estimate]:
    """Return accuracy and the unweighted class means of precision, recall and F1.

    Parameters
    ----------
    confusion
        Counts, shape ``(K, K)``: rows are predicted, columns are true classes.

    Returns
    -------
    dict
        ``accuracy``, ``precision``, ``recall``, ``f1``; the last three as scikit-learn's macro average with
        ``zero_division=0`` over the classes that occur in truth or predictions.

    Notes
    -----
    The interval of a mean of classes adds the squared distances to the classes' own Wilson bounds (MOVER), which keeps
    it honest where a rare class scores 0 or 1. Recalls are independent given the true totals, precisions given the
    predicted ones. F1 is not: each mistake counts in two classes, which at most doubles the variance, so it is doubled.

    References
    ----------
    .. [1] G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
       27, 2008.
    """
    n = int(confusion.sum())
    correct = np.diagonal(confusion).tolist()
    predicted, true = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    seen = [row for row in zip(correct, predicted, true, strict=True) if row[1] + row[2]]
    return {
        "accuracy": _proportion(sum(correct), n),
        "precision": _macro([_proportion(tp, of_predicted) for tp, of_predicted, _ in seen], n, 1.0),
        "recall": _macro([_proportion(tp, of_true) for tp, _, of_true in seen], n, 1.0),
        "f1": _macro([_f1(tp, of_predicted + of_true - 2 * tp) for tp, of_predicted, of_true in seen], n, 2.0),
    }


def roc_auc(histogram: IntArray) -> Auc:
    """Return the area under the ROC curve from binned scores.

    Parameters
    ----------
    histogram
        Counts, shape ``(bins, 2)``: rows by rising score, columns are true negatives and positives.

    Returns
    -------
    Auc
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
        return Auc(None, None, None, None)
    below = np.cumsum(occupied[:, 0]) - occupied[:, 0]
    tied = int((occupied[:, 0] * occupied[:, 1]).sum())
    area = (2 * int((below * occupied[:, 1]).sum()) + tied) / (2 * pairs)
    low = _auc_bound(area, negatives, positives)
    high = 1.0 - _auc_bound(1.0 - area, negatives, positives)
    return Auc(area, low, high, tied / (2 * pairs))


def error_steps(errors: FloatArray, error_scale: float) -> IntArray:
    """Return prediction errors in steps of ``error_scale * 2**-32``, clipped to ±2⁵² steps.

    Raises
    ------
    ValueError
        If an error is NaN: there is no error without a prediction and a label.
    """
    if np.isnan(errors).any():
        raise ValueError("an error must be a number")
    with np.errstate(over="ignore"):
        steps = np.rint(np.clip(errors / error_scale * STEPS_PER_SCALE, -float(STEPS_MAX), float(STEPS_MAX)))
    return steps.astype(np.int64)


def error_limbs(steps: IntArray) -> IntArray:
    """Return the exact sums of |q|, q and q² as limbs that merge by addition.

    Parameters
    ----------
    steps
        Errors from `error_steps`, at most 2³¹ of them.

    Returns
    -------
    array of int64
        Shape ``(3 * LIMBS,)``: the limbs of the sums of |q|, of q and of q², one sum after the other. Limb i of a sum
        weighs 2^(32 i) and is below 2³² in size, so two billion such arrays can be added or subtracted, in any order,
        without overflow.

    Examples
    --------
    >>> merged = error_limbs(np.array([3, -5])) + error_limbs(np.array([2**52]))
    >>> [limbs_value(sum_limbs) for sum_limbs in merged.reshape(3, LIMBS)]
    [4503599627370504, 4503599627370494, 20282409603651670423947251286050]
    """
    size = np.abs(steps)
    upper, lower = size >> _HALF_BITS, size & ((1 << _HALF_BITS) - 1)
    squares = (
        (_exact_sum(upper * upper) << 2 * _HALF_BITS)
        + (_exact_sum(upper * lower) << _HALF_BITS + 1)
        + _exact_sum(lower * lower)
    )
    return np.array([*_limbs(_exact_sum(size)), *_limbs(_exact_sum(steps)), *_limbs(squares)], dtype=np.int64)


def limbs_value(limbs: IntArray) -> int:
    """Return the integer that the (merged) limbs of one sum stand for."""
    return sum(int(limb) << _LIMB_BITS * index for index, limb in enumerate(limbs.tolist()))


def regression_metrics(n: int, sum_abs: int, sum_squares: int, error_scale: float) -> dict[str, Estimate]:
    """Return mean absolute and root mean squared error, in the label's unit.

    Parameters
    ----------
    n
        Number of errors.
    sum_abs, sum_squares
        Exact sums of |q| and q² over errors in steps of ``error_scale * 2**-32``.
    error_scale
        The reference profile's `error_scale`.

    Returns
    -------
    dict
        ``mae``, ``rmse``; undefined without errors, without an interval for a single one.

    Notes
    -----
    MAE: normal interval with the variance of |e|, which both sums give exactly. RMSE: normal interval of its logarithm
    with standard error ``sqrt((kurtosis - 1) / n) / 2``; the kurtosis is that of the generalised normal distribution
    with the observed ratio of MAE to RMSE (3 for normal, 6 for Laplace errors), because fourth powers are not kept.

    References
    ----------
    .. [1] S. G. Mallat, "A theory for multiresolution signal decomposition", IEEE PAMI 11, 1989 (matching the ratio).
    """
    if not n:
        return {"mae": UNDEFINED, "rmse": UNDEFINED}
    step = error_scale / STEPS_PER_SCALE
    mae, rmse = sum_abs / n * step, math.sqrt(sum_squares / n) * step
    if n == 1:
        return {"mae": Estimate(mae, None, None, n), "rmse": Estimate(rmse, None, None, n)}
    margin = Z95 * math.sqrt((n * sum_squares - sum_abs * sum_abs) / (n * n * (n - 1))) * step
    factor = math.exp(Z95 * math.sqrt((_kurtosis(mae / rmse) - 1.0) / n) / 2.0) if sum_squares else 1.0
    return {
        "mae": Estimate(mae, max(0.0, mae - margin), mae + margin, n),
        "rmse": Estimate(rmse, rmse / factor, rmse * factor, n),
    }


def _proportion(successes: int, n: int) -> Estimate:
    return Estimate(successes / n, *wilson(successes, n), n) if n else UNDEFINED


def _f1(hits: int, mistakes: int) -> Estimate:
    if not hits + mistakes:
        return UNDEFINED
    low, high = (2.0 * share / (1.0 + share) for share in wilson(hits, hits + mistakes))
    return Estimate(2 * hits / (2 * hits + mistakes), low, high, hits + mistakes)


def _macro(classes: Sequence[Estimate], n: int, inflation: float) -> Estimate:
    if not classes:
        return UNDEFINED
    # A class without a denominator scores 0 by convention, though it might be anything.
    bounds = [(0.0, 0.0, 1.0) if value is None else (value, low or 0.0, high or 0.0) for value, low, high, _ in classes]
    mean = math.fsum(value for value, _, _ in bounds) / len(bounds)
    below = math.sqrt(inflation * math.fsum((value - low) ** 2 for value, low, _ in bounds)) / len(bounds)
    above = math.sqrt(inflation * math.fsum((high - value) ** 2 for value, _, high in bounds)) / len(bounds)
    return Estimate(mean, max(0.0, mean - below), min(1.0, mean + above), n)


def _auc_bound(area: float, negatives: int, positives: int) -> float:
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


def _kurtosis(ratio: float) -> float:
    """Return the kurtosis of the generalised normal distribution whose MAE is `ratio` times its RMSE."""

    def log_ratio(shape: float) -> float:
        return math.lgamma(2 / shape) - (math.lgamma(1 / shape) + math.lgamma(3 / shape)) / 2

    # From tails far heavier than Laplace's to nearly uniform.
    sharpest, flattest = 0.25, 20.0
    target = min(max(math.log(ratio), log_ratio(sharpest)), log_ratio(flattest))
    shape = optimize.brentq(lambda trial: log_ratio(trial) - target, sharpest, flattest)
    return math.exp(math.lgamma(5 / shape) + math.lgamma(1 / shape) - 2 * math.lgamma(3 / shape))


def _exact_sum(values: IntArray) -> int:
    # Halves of 32 bits sum without overflow; the shift of a negative value rounds down, so its lower half is positive.
    return (int((values >> _LIMB_BITS).sum()) << _LIMB_BITS) + int((values & _LIMB_MASK).sum())


def _limbs(value: int) -> list[int]:
    sign, size = (-1, -value) if value < 0 else (1, value)
    return [sign * (size >> _LIMB_BITS * index & _LIMB_MASK) for index in range(LIMBS)]
