"""Which windows are there, which of them may close, and over which stretch is each judged? Pure functions.

Windows are half-open, aligned to the epoch, tumbling or hopping, a whole number of slides; a window is named by its
end. All times are integer milliseconds of event time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def floor_to(ms: int, step_ms: int) -> int:
    """Return the last multiple of a step at or before a time.

    Examples
    --------
    >>> floor_to(119, 60), floor_to(-1, 60)
    (60, -60)
    """
    return ms // step_ms * step_ms


def closable_through(watermark_ms: int, slide_ms: int, allowed_lateness_ms: int) -> int:
    """Return the end of the last window that a watermark closes.

    Examples
    --------
    >>> closable_through(watermark_ms=125, slide_ms=60, allowed_lateness_ms=5)
    120
    """
    return floor_to(watermark_ms - allowed_lateness_ms, slide_ms)


def windows_with_slide(slide_start_ms: int, length_ms: int, slide_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of every window that holds a slide, by rising end.

    Examples
    --------
    >>> list(windows_with_slide(60, length_ms=120, slide_ms=60))
    [(0, 120), (60, 180)]
    """
    first_start_ms = slide_start_ms + slide_ms - floor_to(length_ms, slide_ms)
    for start_ms in range(first_start_ms, slide_start_ms + slide_ms, slide_ms):
        if start_ms + length_ms > slide_start_ms:
            yield start_ms, start_ms + length_ms


def slides_of(start_ms: int, end_ms: int, slide_ms: int) -> range:
    """Return the starts of the slides that make up a stretch."""
    return range(start_ms, end_ms, slide_ms)


def judged_stretch(
    counts: Mapping[int, int],
    window: tuple[int, int],
    *,
    slide_ms: int,
    min_events: int,
    lookback_ms_max: int,
    judged_through_ms: int,
) -> tuple[int, int] | None:
    """Return the stretch over which a closed window is judged, or None where it holds too few new events.

    A window with enough events is judged over itself. One with fewer reaches back, slide by slide, until there are
    enough, but neither over events that were judged before nor further than the bound.

    Parameters
    ----------
    counts
        Events by start of slide.
    window
        (start, end).
    judged_through_ms
        End of the last stretch that was judged.

    Examples
    --------
    >>> judge = lambda counts, window, through: judged_stretch(
    ...     counts, window, slide_ms=10, min_events=5, lookback_ms_max=40, judged_through_ms=through)
    >>> judge({0: 9}, (0, 10), 0), judge({0: 3, 10: 3}, (10, 20), 0), judge({0: 9, 10: 3}, (10, 20), 10)
    ((0, 10), (0, 20), None)
    """
    start_ms, end_ms = window
    n = sum(counts.get(slide, 0) for slide in slides_of(start_ms, end_ms, slide_ms))
    if n >= min_events:
        return window
    earliest_ms = max(judged_through_ms, end_ms - lookback_ms_max)
    if start_ms < earliest_ms:
        return None
    while n < min_events and start_ms - slide_ms >= earliest_ms:
        start_ms -= slide_ms
        n += counts.get(start_ms, 0)
    return (start_ms, end_ms) if n >= min_events else None
