"""Which events say again what was said before? Pure functions."""

from __future__ import annotations

import numpy as np

from driftline.events import Bytes, Ints, Mask


def key_order(key: Bytes) -> Ints:
    """Return the rows in rising order of their keys, equal keys in the order they came.

    Parameters
    ----------
    key
        uint8 [rows, 16].
    """
    high, low = np.ascontiguousarray(key).view(">u8").astype(np.uint64).T
    return np.lexsort((low, high))


def same_key_as_before(key: Bytes, order: Ints) -> Mask:
    """Return bool [rows], in the given order: True where a row has the key of the row before it."""
    arranged = key[order]
    same = np.zeros(len(order), np.bool_)
    same[1:] = (arranged[1:] == arranged[:-1]).all(axis=1)
    return same


def same_keys(key: Bytes, other: Bytes) -> tuple[Ints, Ints]:
    """Return every pair of a row and another one's row that have the same key.

    Parameters
    ----------
    key, other
        uint8 [rows, 16], in any order; each may hold a key several times.

    Examples
    --------
    >>> key, other = np.array([[2] * 16, [1] * 16, [2] * 16], np.uint8), np.array([[2] * 16, [3] * 16], np.uint8)
    >>> [of.tolist() for of in same_keys(key, other)]
    [[0, 2], [0, 0]]
    """
    if not len(other):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = key_order(key)
    arranged, sought = (np.ascontiguousarray(of).view("S16").ravel() for of in (key[order], other))
    first, end = (np.searchsorted(arranged, sought, side) for side in ("left", "right"))
    n = end - first
    place = np.arange(n.sum()) + np.repeat(first - (np.cumsum(n) - n), n)
    return order[place], np.repeat(np.arange(len(other)), n)


def repeated_in_batch(key: Bytes, version: Ints, variant: Ints, time_ms: Ints, window_ms: int) -> Mask:
    """Return bool [rows]: predictions whose id, version and variant came earlier in the batch at about the same time.

    Parameters
    ----------
    window_ms
        How far apart two event times of one prediction may be.

    Examples
    --------
    >>> key = np.zeros((3, 16), np.uint8)
    >>> zero = np.zeros(3, np.int64)
    >>> repeated_in_batch(key, zero, zero, np.array([0, 5, 99]), 10).tolist()
    [False, True, False]
    """
    repeated = np.zeros(len(key), np.bool_)
    order = key_order(key)
    same = same_key_as_before(key, order)
    kept: list[int] = []
    for place in np.flatnonzero(same | np.append(same[1:], False)):
        row = int(order[place])
        if not same[place]:
            kept = []
        if any(
            version[row] == version[other]
            and variant[row] == variant[other]
            and abs(int(time_ms[row]) - int(time_ms[other])) <= window_ms
            for other in kept
        ):
            repeated[row] = True
        else:
            kept.append(row)
    return repeated


def comes_after(key: Bytes, order: Ints, other_key: Bytes, other_order: Ints) -> Mask:
    """Return bool [rows]: rows whose key stands earlier in the log among some others.

    Parameters
    ----------
    order, other_order
        int64; places in the log.

    Examples
    --------
    >>> key = np.array([[1] * 16, [2] * 16], np.uint8)
    >>> comes_after(key, np.array([0, 3]), key, np.array([1, 2])).tolist()
    [False, True]
    """
    places = zip(map(bytes, other_key[::-1]), other_order[::-1].tolist(), strict=True)
    first = dict(places)
    never = np.iinfo(np.int64).max
    return np.array([first.get(bytes(of), never) for of in key], np.int64) < order


def kept_by_share(key: Bytes, share: float) -> Mask:
    """Return bool [rows]: ids that are kept when only a share of all is, the same ones for predictions and labels.

    Parameters
    ----------
    share
        In (0, 1].

    Examples
    --------
    >>> kept_by_share(np.array([[0] * 16, [200] * 16], np.uint8), 0.5).tolist()
    [True, False]
    """
    leading = np.ascontiguousarray(key[:, :4]).view(">u4").ravel()
    return leading < round(share * 2**32)


def first_in_batch(key: Bytes) -> Mask:
    """Return bool [rows]: the first row of each key.

    Examples
    --------
    >>> first_in_batch(np.array([[1] * 16, [2] * 16, [1] * 16], np.uint8)).tolist()
    [True, True, False]
    """
    order = key_order(key)
    first = np.empty(len(key), np.bool_)
    first[order] = ~same_key_as_before(key, order)
    return first
