"""How sure can one be of a share or a mean? Estimates, and the intervals that several metrics share."""

import math
from typing import NamedTuple

Z95 = 1.959963984540054

VARIANCE_MIN = 1e-15
"""Nothing is surer than this, where rounding leaves no variance at all."""


class Estimate(NamedTuple):
    """A metric, its 95 % interval and the number of cases that it rests on.

    Value and bounds are None where they are not defined; `reason` then says why, in words for people.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def undefined(reason: str, n: int = 0) -> Estimate:
    """Return the estimate of what is not defined."""
    return Estimate(None, None, None, n, reason)


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


def rows_as_unsure(share: float, variance: float, n: int) -> float:
    """Return of how many rows a share would have this variance; Wilson's interval of so many stays within 0 and 1.

    Parameters
    ----------
    n
        How many rows the share is of: with no more than these it is never certain to be 0 or 1.

    Examples
    --------
    >>> round(rows_as_unsure(0.2, 0.2 * 0.8 / 50, 100), 6)
    50.0
    """
    nearly = min(max(share, 0.5 / (n + 1)), 1.0 - 0.5 / (n + 1))
    return nearly * (1.0 - nearly) / max(variance, VARIANCE_MIN)


def proportion(successes: int, n: int, nothing: str) -> Estimate:
    """Return a share with Wilson's interval.

    Parameters
    ----------
    nothing
        The reason if there are no cases.
    """
    return Estimate(successes / n, *wilson(successes, n), n) if n else undefined(nothing)


def mean(n: int, total: float, squares: float, nothing: str, *, low: float = -math.inf) -> Estimate:
    """Return a mean with its normal interval.

    Parameters
    ----------
    n, total, squares
        How many values, their sum and the sum of their squares.
    nothing
        The reason if there are no values.
    low
        The least that a value can be.

    Examples
    --------
    >>> found = mean(2, 4.0, 10.0, "no values")
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (2.0, 0.04, 3.96)
    """
    if not n:
        return undefined(nothing)
    value = total / n
    if n == 1:
        return Estimate(value, None, None, n, "a single value has no interval")
    margin = Z95 * math.sqrt(max(squares / n - value * value, 0.0) / (n - 1))
    return Estimate(value, max(low, value - margin), value + margin, n)


def times(estimate: Estimate, factor: float) -> Estimate:
    """Return an estimate in another unit; the factor is not negative."""
    value, low, high = (None if bound is None else bound * factor for bound in estimate[:3])
    return Estimate(value, low, high, estimate.n, estimate.reason)
