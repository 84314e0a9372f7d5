"""Why did a metric change: is it that other inputs came, or that the same inputs are answered worse?

A metric that is a ratio of sums over parts of the traffic (segments, stretches of the score) is the mean of the parts'
own ratios, weighted by their share of the denominator. Its change splits, exactly, into what the weights did (the mix)
and what the ratios did (the rate), part by part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Decomposition(NamedTuple):
    """What each part did to a metric: `mix` by coming more or less often, `rate` by being answered otherwise."""

    mix: FloatArray
    rate: FloatArray


def decompose(before: FloatArray, after: FloatArray) -> Decomposition:
    """Split the change of a ratio of sums.

    Parameters
    ----------
    before, after
        Numerator and denominator of each part, shape ``(parts, 2)``; each with a denominator above 0 in all.

    Returns
    -------
    Decomposition
        All mixes and rates together are the change, to rounding. A part that comes more often adds to it if its ratio
        is above that of all; a part without events on one side has no rate.

    References
    ----------
    .. [1] E. M. Kitagawa, "Components of a difference between two rates", Journal of the American Statistical
       Association 50, 1955: with the middle of before and after as weights, so that nothing is left over.

    Examples
    --------
    >>> found = decompose(np.array([[90, 100], [50, 100]]), np.array([[45, 50], [60, 150]]))
    >>> found.mix.round(3).tolist(), found.rate.round(3).tolist()
    ([-0.072, -0.041], [0.0, -0.062])
    """
    shares = [of[:, 1] / of[:, 1].sum() for of in (before, after)]
    totals = [of[:, 0].sum() / of[:, 1].sum() for of in (before, after)]
    known = [of[:, 1] > 0 for of in (before, after)]
    ratios = [of[:, 0] / np.maximum(of[:, 1], 1) for of in (before, after)]
    earlier, later = np.where(known[0], ratios[0], ratios[1]), np.where(known[1], ratios[1], ratios[0])
    middle = (earlier + later) / 2.0 - sum(totals) / 2.0
    return Decomposition((shares[1] - shares[0]) * middle, (shares[0] + shares[1]) / 2.0 * (later - earlier))
