"""What time is it? The only place that asks.

Everything that decides takes `now_ms` as a parameter; the shell passes a `Clock` in, and a test passes its own. Event
time never comes from here: it is what the events say.
"""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""A function that says how many milliseconds have passed since 1970-01-01T00:00:00Z."""


def system_clock() -> int:
    """Read the machine's wall clock, in whole milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
