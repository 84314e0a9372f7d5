"""Do features still go together as they did? The part of each event that the reference's components leave over.

Principal components of the reference say which combinations of numeric features hardly vary. An event's reconstruction
error is how long it is in those directions, so it grows where features stop going together, though each by itself looks
as ever. The error is watched like any other numeric feature.

Invariants: an event's error is the same in whatever batch it comes; a value that is missing or not finite stands in
the centre; values are clipped as standardised steps are.

References
----------
.. [1] J. E. Jackson and G. S. Mudholkar, "Control procedures for residuals associated with principal component
   analysis", Technometrics 21, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RECONSTRUCTION = "@reconstruction"
KEPT_SHARE = 0.65
"""Components that hold this share of the variance together are left out of the error."""

FEATURES_MAX = 256
ROWS_MIN = 50
_UNIT = 2**20
_ROWS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Components:
    """The directions in which the reference hardly varies.

    Parameters
    ----------
    names
        The numeric features, in the profile's order.
    directions
        One row a direction, one whole number a feature, in steps of 2⁻²⁰.
    """

    names: tuple[str, ...]
    directions: tuple[tuple[int, ...], ...]


def fit(names: Sequence[str], steps: IntArray) -> Components | None:
    """Find the components of the reference, or None where there are too few features or rows.

    Parameters
    ----------
    names
        Numeric features; more than 256 are too many.
    steps
        Standardised steps, shape ``(rows, features)``.

    Examples
    --------
    >>> x = np.random.default_rng(1).integers(-4096, 4097, 1000)
    >>> fit(["a", "b"], np.stack([x, x], axis=1)).directions
    ((741455, -741455),)
    """
    n, d = steps.shape
    if not 2 <= d <= FEATURES_MAX or n < ROWS_MIN:
        return None
    products, sums = np.zeros((d, d), np.int64), steps.sum(axis=0)
    for begin in range(0, n, _ROWS_AT_ONCE):
        # Steps of at most 2^15, 2^20 of them: below 2^53, so the sum is exact in whatever order it is taken.
        some = steps[begin : begin + _ROWS_AT_ONCE].astype(np.float64)
        products += np.rint(some.T @ some).astype(np.int64)
    covariance = products / n - np.outer(sums / n, sums / n)
    variances, vectors = np.linalg.eigh(covariance)
    held = np.cumsum(variances[::-1])
    if not held[-1] > 0.0:
        return None
    n_kept = min(int(np.searchsorted(held, KEPT_SHARE * held[-1])) + 1, d - 1)
    left = vectors[:, : d - n_kept].T
    largest = np.take_along_axis(left, np.argmax(np.abs(np.rint(left * 2**10)), axis=1)[:, np.newaxis], axis=1)
    directions = np.rint(left * np.sign(largest) * _UNIT).astype(np.int64)
    return Components(tuple(names), tuple(tuple(row) for row in directions.tolist()))


def errors(components: Components, steps: IntArray) -> FloatArray:
    """Return each row's reconstruction error in steps, shape ``(rows,)``.

    Parameters
    ----------
    components
        Of the reference.
    steps
        Standardised steps, shape ``(rows, features)``, features as in the components.
    """
    # Whole numbers below 2^15 * 2^20 * 256 = 2^43: the products are exact, so no row depends on its neighbours.
    along = steps.astype(np.float64) @ np.array(components.directions, np.float64).T
    total = np.zeros(len(steps))
    for column in along.T:
        total += (column / _UNIT) ** 2
    error: FloatArray = np.sqrt(total)
    return error
