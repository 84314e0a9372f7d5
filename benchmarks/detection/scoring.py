"""What are alarms worth? False alarms where nothing changed, changes found, and how late. Pure.

Invariant: one yardstick for all, ours and peers; whoever always alarms finds everything at once, and it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PER = 100_000


class Score(NamedTuple):
    """What alarms on some streams were worth.

    Parameters
    ----------
    streams
        How many.
    looked
        Items, or looks of windows, of the part in which nothing changed.
    false
        Alarms in that part.
    found
        Streams in which an alarm came after the change.
    delays
        Of these, the items or windows from the change to the first alarm, both counted.
    by_chance
        Streams in which as many alarms as in the unchanged part would have found it by chance, in expectation.
    """

    streams: int
    looked: int
    false: int
    found: int
    delays: tuple[int, ...]
    by_chance: float

    @property
    def false_per_100k(self) -> float:
        """False alarms for each 100,000 items or looks."""
        return PER * self.false / max(self.looked, 1)

    @property
    def found_share(self) -> float:
        """Share of changes that were found."""
        return self.found / max(self.streams, 1)

    @property
    def delay_median(self) -> float | None:
        """Median over the changes found; None without any."""
        return float(np.median(self.delays)) if self.delays else None

    def __add__(self, other: object) -> Score:
        """Put the streams of two families together."""
        assert isinstance(other, Score)
        return Score(
            self.streams + other.streams,
            self.looked + other.looked,
            self.false + other.false,
            self.found + other.found,
            self.delays + other.delays,
            self.by_chance + other.by_chance,
        )


NOTHING = Score(0, 0, 0, 0, (), 0.0)


def score(alarms: Sequence[Sequence[int]], change_at: int, end: int) -> Score:
    """Score the alarms of some streams of single items.

    Parameters
    ----------
    alarms
        Of each stream the places at which a detector said drift.
    change_at, end
        First item that is different, and the number of items.

    Examples
    --------
    >>> found = score([[3, 12], [15]], 10, 20)
    >>> found.false_per_100k, found.found_share, found.delay_median
    (5000.0, 1.0, 4.5)
    """
    false = sum(sum(place < change_at for place in places) for places in alarms)
    looked = change_at * len(alarms)
    delays = [next((place - change_at + 1 for place in places if place >= change_at), None) for places in alarms]
    found = tuple(delay for delay in delays if delay is not None)
    chance = 1.0 - math.exp(-false / max(looked, 1) * (end - change_at))
    return Score(len(alarms), looked, false, len(found), found, len(alarms) * chance)
