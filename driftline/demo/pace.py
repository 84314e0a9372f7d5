"""How do the run's seconds become event time?"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """An even run through the traffic, many times faster than life.

    Parameters
    ----------
    start_ms
        Event time of the beginning, a midnight in milliseconds since 1970 UTC.
    began_s
        The same moment by `time.monotonic`.
    speed
        Milliseconds of event time in a second.
    last_ms
        Event time of the last prediction, counted from the beginning; there it stops.
    """

    start_ms: int
    began_s: float
    speed: float
    last_ms: int

    def offset_ms(self) -> int:
        """Return how much event time has passed."""
        return min(int((time.monotonic() - self.began_s) * self.speed), self.last_ms)

    def seconds_over(self) -> float:
        """Return how many of our seconds ago the last prediction was; negative before it."""
        return time.monotonic() - self.began_s - self.last_ms / self.speed
