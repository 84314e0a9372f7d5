"""Exact sums that merge in any order: values become integer steps, and their sums limbs in base 2^32."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEPS_PER_SCALE = 2**32
STEPS_MAX = 2**52
LIMBS = 5

_LIMB_BITS = 32
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_HALF_BITS = 26


def to_steps(values: FloatArray, step: float) -> IntArray:
    """Return values in whole steps, clipped to ±2⁵² steps.

    Raises
    ------
    ValueError
        If a value is NaN: what is not there is left out before.

    Examples
    --------
    >>> to_steps(np.array([0.5, -1e300]), 0.25).tolist()
    [2, -4503599627370496]
    """
    if np.isnan(values).any():
        raise ValueError("what is summed must be a number")
    with np.errstate(over="ignore"):
        steps = np.rint(np.clip(values / step, -float(STEPS_MAX), float(STEPS_MAX)))
    return steps.astype(np.int64)


def error_limbs(steps: IntArray, weights: IntArray, groups: IntArray, n_groups: int) -> IntArray:
    """Return, by group, the exact sums of |q|, q and q² as limbs that merge by addition.

    Parameters
    ----------
    steps
        Values from `to_steps`, at most 2²⁸ of them.
    weights
        What each counts for: 1 or -1.
    groups
        int64; the group of each.

    Returns
    -------
    array of int64
        Shape ``(n_groups, 3 * LIMBS)``: the limbs of the sums of |q|, of q and of q², one sum after the other. Limb i
        of a sum weighs 2^(32 i) and is below 2³² in size, so two billion such arrays can be added or subtracted, in
        any order, without overflow.

    Examples
    --------
    >>> one, zero = np.ones(3, np.int64), np.zeros(3, np.int64)
    >>> limbs = error_limbs(np.array([3, -5, 2**52]), one, zero, 1)
    >>> [limbs_value(sum_limbs) for sum_limbs in limbs.reshape(3, LIMBS)]
    [4503599627370504, 4503599627370494, 20282409603651670423947251286050]
    """
    return np.hstack(
        [_sum_limbs(np.abs(steps), weights, groups, n_groups), moment_limbs(steps, weights, groups, n_groups)]
    )


def moment_limbs(steps: IntArray, weights: IntArray, groups: IntArray, n_groups: int) -> IntArray:
    """Return, by group, the limbs of the exact sums of q and q²: shape ``(n_groups, 2 * LIMBS)``, see `error_limbs`."""
    size = np.abs(steps)
    upper, lower = size >> _HALF_BITS, size & ((1 << _HALF_BITS) - 1)
    # q² = upper² 2⁵² + 2 upper lower 2²⁶ + lower², each cut where limbs begin.
    high, middle, low = upper * upper, 2 * upper * lower, lower * lower
    squares = np.zeros((n_groups, LIMBS), np.int64)
    for place, part in (
        (0, low & _LIMB_MASK),
        (0, (middle & 0x3F) << _HALF_BITS),
        (1, low >> _LIMB_BITS),
        (1, (middle >> 6) & _LIMB_MASK),
        (1, (high & 0xFFF) << 20),
        (2, middle >> 6 + _LIMB_BITS),
        (2, (high >> 12) & _LIMB_MASK),
        (3, high >> 12 + _LIMB_BITS),
    ):
        np.add.at(squares[:, place], groups, weights * part)
    return np.hstack([_sum_limbs(steps, weights, groups, n_groups), _carried(squares)])


def limbs_value(limbs: IntArray) -> int:
    """Return the integer that the (merged) limbs of one sum stand for."""
    return sum(int(limb) << _LIMB_BITS * index for index, limb in enumerate(limbs.tolist()))


def _sum_limbs(steps: IntArray, weights: IntArray, groups: IntArray, n_groups: int) -> IntArray:
    limbs = np.zeros((n_groups, LIMBS), np.int64)
    np.add.at(limbs[:, 0], groups, weights * (steps & _LIMB_MASK))
    np.add.at(limbs[:, 1], groups, weights * (steps >> _LIMB_BITS))
    return _carried(limbs)


def _carried(limbs: IntArray) -> IntArray:
    """Carry what a limb is too small for; all limbs of a sum get its sign, so a sum and what takes it back leave 0."""
    carried = _carry(limbs)
    negative = carried[:, -1] < 0
    carried[negative] = -_carry(-carried[negative])
    return carried


def _carry(limbs: IntArray) -> IntArray:
    carried = limbs.copy()
    for place in range(LIMBS - 1):
        carried[:, place + 1] += carried[:, place] >> _LIMB_BITS
        carried[:, place] &= _LIMB_MASK
    return carried
