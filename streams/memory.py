"""What does a worker give back of the memory that it no longer needs? All but a few megabytes, at once.

Fetch after fetch makes arrays of some megabytes in one thread that are freed in another. By default each thread has a
heap of its own, Arrow has another one, and all keep what was freed: a worker grew to half as much again. But what the
next fetch needs anyhow is kept: to get each page anew from the system took an eighth of a worker's processor time.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

ARENAS_MAX = 2
TRIM_BYTES = 16 * 1024 * 1024
"""So much may lie free on top of each heap."""

MAPPED_BYTES = 8 * 1024 * 1024
"""What is larger is no part of a heap, and goes back by itself: no answer of a broker, and no column, is as large."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def give_back_memory() -> None:
    """Let Arrow and Python share the heaps of the C library, let these be few, and give back what is free on top."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none but in glibc
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
