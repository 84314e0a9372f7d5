"""How far were predicted numbers from the truth? From exact sums of errors, in the label's unit.

Sums are of errors and labels in steps of ``error_scale * 2**-32``, and fractions where some were summed in other steps:
rounded sums might belong to no errors at all. What is not defined is None with a reason.
"""

import math
from fractions import Fraction

from scipy import optimize

from detectors.metrics.estimates import Z95, Estimate, mean, times, undefined
from detectors.metrics.sums import STEPS_PER_SCALE

NO_LABELS = "no labels"
_SINGLE = "a single value has no interval"

Exact = int | Fraction


def regression_metrics(n: int, sum_abs: Exact, sum_squares: Exact, error_scale: float) -> dict[str, Estimate]:
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
        return {"mae": undefined(NO_LABELS), "rmse": undefined(NO_LABELS)}
    step = error_scale / STEPS_PER_SCALE
    mae, rmse = float(sum_abs / n) * step, math.sqrt(sum_squares / n) * step
    if n == 1:
        return {"mae": Estimate(mae, None, None, n, _SINGLE), "rmse": Estimate(rmse, None, None, n, _SINGLE)}
    margin = Z95 * math.sqrt((n * sum_squares - sum_abs * sum_abs) / (n * n * (n - 1))) * step
    factor = math.exp(Z95 * math.sqrt((_kurtosis(mae / rmse) - 1.0) / n) / 2.0) if sum_squares else 1.0
    return {
        "mae": Estimate(mae, max(0.0, mae - margin), mae + margin, n),
        "rmse": Estimate(rmse, rmse / factor, rmse * factor, n),
    }


def bias(n: int, total: Exact, sum_squares: Exact, error_scale: float) -> Estimate:
    """Return the mean error, prediction less label, in the label's unit; sums as for `regression_metrics`."""
    # A common factor keeps squares of long integers within what a float holds.
    unit = STEPS_PER_SCALE
    return times(mean(n, float(total / unit), float(sum_squares / unit**2), NO_LABELS), error_scale)


def r_squared(n: int, sum_abs: Exact, sum_squares: Exact, truth: Exact, truth_squares: Exact) -> Estimate:
    """Return the share of the labels' variance that predictions explain, below 0 where a constant would do better.

    Parameters
    ----------
    n, sum_abs, sum_squares
        As for `regression_metrics`.
    truth, truth_squares
        Exact sums of labels and of their squares, in the same steps, from any centre.

    Notes
    -----
    Undefined where labels vary by less than a step: labels that are the same may stand a step apart, if they were
    summed from several centres. The interval is normal for the logarithm of 1 - R², which is that of the mean
    squared error less that of the variance, with variance ``(kurtosis - 1 + 2 - 4 min(1, 1 - R²)) / n``. The kurtosis
    is RMSE's; labels are taken for normal; for normal errors it is Olkin and Finn's ``4 R² / n``.

    References
    ----------
    .. [1] I. Olkin and J. D. Finn, "Correlations redux", Psychological Bulletin 118, 1995.
    """
    if not n:
        return undefined(NO_LABELS)
    spread = n * truth_squares - truth * truth
    if spread < n * n:
        return undefined("all labels are the same", n)
    left = float(n * sum_squares / spread)
    if not sum_squares:
        return Estimate(1.0 - left, 1.0 - left, 1.0 - left, n)
    kurtosis = _kurtosis(sum_abs / math.sqrt(n * sum_squares))
    factor = math.exp(Z95 * math.sqrt(max(kurtosis + 1.0 - 4.0 * min(1.0, left), 1.0) / n))
    return Estimate(1.0 - left, 1.0 - left * factor, 1.0 - left / factor, n)


def _kurtosis(ratio: float) -> float:
    """Return the kurtosis of the generalised normal distribution whose MAE is `ratio` times its RMSE."""

    def log_ratio(shape: float) -> float:
        return math.lgamma(2 / shape) - (math.lgamma(1 / shape) + math.lgamma(3 / shape)) / 2

    # From tails far heavier than Laplace's to nearly uniform.
    sharpest, flattest = 0.25, 20.0
    target = min(max(math.log(ratio), log_ratio(sharpest)), log_ratio(flattest))
    shape = optimize.brentq(lambda trial: log_ratio(trial) - target, sharpest, flattest)
    return math.exp(math.lgamma(5 / shape) + math.lgamma(1 / shape) - 2 * math.lgamma(3 / shape))
