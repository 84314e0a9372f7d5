"""What does a worker give back of the memory that it no longer needs? All but what the next fetch needs again.

Fetch after fetch makes arrays of some megabytes in one thread that are freed in another. By default each thread has a
heap of its own, Arrow has another one, and all keep what was freed: a worker grew to half as much again. Whatever is
given back, the system has to give anew, page by page: a heap that keeps nothing costs a fifth of a worker's time.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

ARENAS_MAX = 2
KEPT_BYTES = 16 * 1024 * 1024
"""So much may stay free on top of each heap."""

PIECE_BYTES_MAX = 8 * 1024 * 1024
"""What is larger, such as a large message, is outside of the heaps, and gone as soon as it is freed."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def give_back_memory() -> None:
    """Let Arrow and Python share the heaps of the C library, let these be few, and give back most of what is free."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none but in glibc
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, PIECE_BYTES_MAX)
