"""Where does what was seen appear: on a terminal's whole screen, or line by line where there is none?

Invariants: every line of the story is told once; a terminal is given back as it was, whatever ends the demo.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live

from driftline.demo.screen import Moment, Paper, screen
from driftline.demo.seen import Seen
from driftline.demo.story import Line, lines, status

TELL_S = 3.0
RATE_SAMPLES = 12
"""Over so many screens the rate is measured."""


class Stage(Protocol):
    """Shows people how the demo goes."""

    def show(self, seen: Seen, offset_ms: int) -> None:
        """Show what was seen last, and how late it is by event time."""


@contextmanager
def stage(console: Console, start_ms: int) -> Iterator[Stage]:
    """Give the best stage that standard output allows, for as long as the context lasts.

    Parameters
    ----------
    start_ms
        Event time of the beginning.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            yield _Screen(console, live, start_ms)
    else:
        yield _Lines(console, start_ms)


def say(console: Console, text: str) -> None:
    """Print plain text: whole lines, however long, without a guess at what could be coloured."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


class _Lines:
    """Prints each line of the story, and now and then how things are."""

    def __init__(self, console: Console, start_ms: int) -> None:
        self._console, self._start_ms = console, start_ms
        self._told: dict[str, Line] = {}
        self._status_at_s = time.monotonic() + TELL_S

    def show(self, seen: Seen, offset_ms: int) -> None:
        for line in news(self._told, lines(seen, self._start_ms, offset_ms)):
            say(self._console, str(line))
        if time.monotonic() >= self._status_at_s:
            say(self._console, status(seen, self._start_ms, offset_ms))
            self._status_at_s += TELL_S


class _Screen:
    """Draws the whole terminal anew, in place."""

    def __init__(self, console: Console, live: Live, start_ms: int) -> None:
        self._console, self._live, self._start_ms = console, live, start_ms
        self._told: dict[str, Line] = {}
        self._counts: deque[tuple[float, int]] = deque(maxlen=RATE_SAMPLES)

    def show(self, seen: Seen, offset_ms: int) -> None:
        news(self._told, lines(seen, self._start_ms, offset_ms))
        self._counts.append((time.monotonic(), seen.predictions))
        (then_s, before), (now_s, after) = self._counts[0], self._counts[-1]
        rate = (after - before) / (now_s - then_s) if now_s > then_s else 0.0
        moment = Moment(seen, self._start_ms, offset_ms, rate, list(self._told.values()))
        width, height = self._console.size
        paper = Paper(width, height, self._console.options.ascii_only)
        self._live.update(screen(moment, paper), refresh=True)


def news(told: dict[str, Line], known: list[Line]) -> list[Line]:
    """Return what was not told yet, and note that it is now."""
    new = [line for line in known if line.key not in told]
    told.update({line.key: line for line in new})
    return new
