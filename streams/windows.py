"""Which windows are there, which of them may close, and over which stretch is each judged? Pure functions.

Windows are half-open, tumbling or hopping; they start at whole numbers of slides since the epoch. Windows and slides
are whole numbers of grains. All times are integer milliseconds of event time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping


def floor_to(ms: int, step_ms: int) -> int:
    """Return the last multiple of a step at or before a time.

    Examples
    --------
    >>> floor_to(119, 60), floor_to(-1, 60)
    (60, -60)
    """
    return ms // step_ms * step_ms


def last_end(ms: int, length_ms: int, slide_ms: int) -> int:
    """Return the last end of a window at or before a time.

    Examples
    --------
    >>> last_end(125, length_ms=60, slide_ms=60), last_end(125, length_ms=50, slide_ms=20)
    (120, 110)
    """
    return floor_to(ms - length_ms, slide_ms) + length_ms


def grain_of(length_ms: int, slide_ms: int) -> int:
    """Return the longest stretch of which windows and slides are whole numbers; rollups are made of it.

    Examples
    --------
    >>> grain_of(120, 60), grain_of(50, 20)
    (60, 10)
    """
    return math.gcd(length_ms, slide_ms)


def windows_with(at_ms: int, length_ms: int, slide_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of every window that holds a moment, by rising end.

    Examples
    --------
    >>> list(windows_with(60, length_ms=120, slide_ms=60)), list(windows_with(65, length_ms=50, slide_ms=20))
    ([(0, 120), (60, 180)], [(20, 70), (40, 90), (60, 110)])
    """
    for start_ms in range(floor_to(at_ms - length_ms, slide_ms) + slide_ms, at_ms + 1, slide_ms):
        yield start_ms, start_ms + length_ms


def like_phases(stretch: tuple[int, int], period_ms: int, seasons: int) -> list[tuple[int, int]]:
    """Return the stretches that lie whole periods before one, the newest first.

    Examples
    --------
    >>> like_phases((70, 80), period_ms=24, seasons=2)
    [(46, 56), (22, 32)]
    """
    start_ms, end_ms = stretch
    return [(start_ms - back * period_ms, end_ms - back * period_ms) for back in range(1, seasons + 1)]


def grains_of(start_ms: int, end_ms: int, grain_ms: int) -> range:
    """Return the starts of the grains that make up a stretch."""
    return range(start_ms, end_ms, grain_ms)


def judged_stretch(
    counts: Mapping[int, int],
    window: tuple[int, int],
    *,
    grain_ms: int,
    min_events: int,
    lookback_ms_max: int,
    judged_through_ms: int,
) -> tuple[int, int] | None:
    """Return the stretch over which a closed window is judged, or None where it holds too few new events.

    A window with enough events is judged over itself. One with fewer reaches back, grain by grain, until there are
    enough, but neither over events that were judged before nor further than the bound.

    Parameters
    ----------
    counts
        Events by start of grain.
    window
        (start, end).
    judged_through_ms
        End of the last stretch that was judged.

    Examples
    --------
    >>> judge = lambda counts, window, through: judged_stretch(
    ...     counts, window, grain_ms=10, min_events=5, lookback_ms_max=40, judged_through_ms=through)
    >>> judge({0: 9}, (0, 10), 0), judge({0: 3, 10: 3}, (10, 20), 0), judge({0: 9, 10: 3}, (10, 20), 10)
    ((0, 10), (0, 20), None)
    """
    start_ms, end_ms = window
    n = sum(counts.get(grain, 0) for grain in grains_of(start_ms, end_ms, grain_ms))
    if n >= min_events:
        return window
    earliest_ms = max(judged_through_ms, end_ms - lookback_ms_max)
    if start_ms < earliest_ms:
        return None
    while n < min_events and start_ms - grain_ms >= earliest_ms:
        start_ms -= grain_ms
        n += counts.get(start_ms, 0)
    return (start_ms, end_ms) if n >= min_events else None
