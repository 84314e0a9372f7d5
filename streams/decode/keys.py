"""What stands for the ids of events? Their digests where ids are kept, else a hash that only tells the sample.

Invariant: rows and tables of the same events have the same keys, wherever and with whatever else they came.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from driftline.events import Bytes, event_keys
from streams.decode.shapes import EventShape

_WORD_BYTES = 8
_FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Of 64 bits, the golden ratio's: it spreads what differs in a few bits over those above."""


def keys_of(shape: EventShape, ids: Sequence[str], secret: bytes) -> Bytes:
    """Return the keys of some events of one model, by the canonical texts of their ids."""
    if shape.keeps_ids:
        return event_keys(shape.model, ids, secret)
    return quick_keys(pa.array([text.encode("utf-8", "surrogatepass") for text in ids], pa.large_binary()))


def quick_keys(ids: pa.LargeBinaryArray) -> Bytes:
    """Hash ids, a word of all of them at a time; the last two bytes are as good as random.

    Returns
    -------
    uint8 [ids, 8]

    Notes
    -----
    Like the last step of Steele, Lea & Flood (2014), *Fast splittable pseudorandom number generators*: multiply by an
    odd number, fold the upper half into the lower one. It is no secret and holds against nobody who means to meet it.

    Examples
    --------
    >>> quick_keys(pa.array([b"a", b"b", b"a"], pa.large_binary()))[:, -2:].tolist()
    [[209, 39], [106, 4], [209, 39]]
    """
    _, offsets, data = ids.buffers()
    bounds = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    starts, lengths = bounds[:-1] - bounds[0], np.diff(bounds)
    padded = (b"" if data is None else data.slice(bounds[0], bounds[-1] - bounds[0]).to_pybytes()) + bytes(_WORD_BYTES)
    words = np.ndarray(len(padded) - _WORD_BYTES + 1, "<u8", padded, strides=1)  # one begins at every byte
    keys = lengths.astype(np.uint64)
    for begun in range(0, int(lengths.max(initial=0)), _WORD_BYTES):
        rows = np.flatnonzero(lengths > begun)
        told = words[starts[rows] + begun] & _FIRST_BYTES[np.minimum(lengths[rows] - begun, _WORD_BYTES)]
        keys[rows] = _mixed(keys[rows] ^ told)
    return (keys * _ODD).astype("<u8").view(np.uint8).reshape(-1, _WORD_BYTES)


def _mixed(keys: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    keys = keys * _ODD
    return keys ^ (keys >> np.uint64(32))
