"""How do the run's seconds become event time?

Invariants: time never goes back; it waits for a worker that is far behind, so that what goes wrong and what is found
of it stay together on a slow machine; it stops at the last prediction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftline.demo.traffic import HOUR_MS

LEAD_S = 5.0
"""What a healthy worker needs from an event to its verdict, in our seconds, with room."""

LEAD_MS = 2 * HOUR_MS
"""A window is an hour, and the watermark is behind the newest event."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A run through the traffic, many times faster than life.

    Parameters
    ----------
    speed
        Milliseconds of event time in a second.
    last_ms
        Event time of the last prediction.
    offset_ms
        How much event time has passed since the beginning.
    """

    speed: float
    last_ms: int
    offset_ms: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the last prediction's time has come."""
        return self.offset_ms >= self.last_ms

    def after(self, seconds: float, judged_ms: int) -> Pace:
        """Let some of our seconds pass.

        Parameters
        ----------
        judged_ms
            Until when windows are closed, counted from the beginning.

        Examples
        --------
        >>> pace = Pace(HOUR_MS, 36 * HOUR_MS)
        >>> pace.after(3.0, 0).offset_ms == 3 * HOUR_MS, pace.after(30.0, 0).offset_ms == 7 * HOUR_MS
        (True, True)
        """
        reached_ms = min(self.offset_ms + round(seconds * self.speed), judged_ms + self.lead_ms, self.last_ms)
        return replace(self, offset_ms=max(reached_ms, self.offset_ms))

    @property
    def lead_ms(self) -> int:
        """How far the newest event may be ahead of the last verdict."""
        return round(LEAD_S * self.speed) + LEAD_MS
