"""What does a worker give back of the memory that it no longer needs? As good as all of it, at once.

Fetch after fetch makes arrays of some megabytes in one thread that are freed in another. By default each thread has a
heap of its own, Arrow has another one, and all keep what was freed: a worker grew to half as much again.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

ARENAS_MAX = 2
TRIM_BYTES = 1024 * 1024

_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8


def give_back_memory() -> None:
    """Let Arrow and Python share the heaps of the C library, let these be few, and give back what is free on top."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none but in glibc
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
