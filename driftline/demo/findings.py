"""Which incidents were found, by what and when, and which verdicts were false alarms? Pure functions of what is stored.

Invariants: a verdict belongs to an incident only if the incident moves its feature and their times meet; the way back
to normal is a change, too, and counts as the incident's for `RECOVERY_MS`; whatever belongs to none is a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from driftline.demo.traffic import HOUR_MS, INCIDENTS, RELATION, Incident

WARM_UP_MS = 2 * HOUR_MS
RECOVERY_MS = 4 * HOUR_MS
MATURE_MS = 4 * HOUR_MS
"""So long after its end at least 19 in 20 of a window's frauds are known, so its recall and precision hardly move."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A verdict with level `drift`."""

    segment: str
    feature: str
    detector: str
    start_ms: int
    end_ms: int
    score: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall of all traffic in a mature window; None where nothing can be said."""

    start_ms: int
    end_ms: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Sight:
    """The first thing that shows an incident.

    Parameters
    ----------
    told
        What was seen, for people.
    end_ms
        End of the window in which it was seen.
    """

    told: str
    end_ms: int


def first_sight(incident: Incident, start_ms: int, drifts: Iterable[Drift], recalls: Sequence[Recall]) -> Sight | None:
    """Find what showed an incident first.

    Parameters
    ----------
    start_ms
        When the traffic began.
    recalls
        In the order of time.
    """
    sights = [
        Sight(_told(drift), drift.end_ms)
        for drift in sorted(drifts, key=lambda of: (of.end_ms, of.segment, -of.score / of.threshold))
        if drift.feature == incident.watched and _meets(drift, incident, start_ms, 0)
    ]
    if incident is RELATION:
        sights += _fallen(incident, start_ms, recalls)
    return min(sights, key=lambda sight: sight.end_ms, default=None)


def _fallen(incident: Incident, start_ms: int, recalls: Sequence[Recall]) -> list[Sight]:
    """Find windows whose recall lies below that of every earlier window, intervals and all."""
    began_ms = start_ms + incident.start_hour * HOUR_MS
    before = [recall.low for recall in recalls if recall.end_ms <= began_ms and recall.low is not None]
    return [
        Sight(f"recall at most {recall.high:.2f}, before at least {min(before):.2f}", recall.end_ms + MATURE_MS)
        for recall in recalls
        if before and recall.start_ms >= began_ms and recall.high is not None and recall.high < min(before)
    ]


def false_alarms(start_ms: int, drifts: Iterable[Drift]) -> list[Drift]:
    """Return the verdicts that no incident explains, after the first `WARM_UP_MS`."""
    return [
        drift
        for drift in drifts
        if drift.end_ms > start_ms + WARM_UP_MS
        and not any(
            drift.feature in incident.moves and _meets(drift, incident, start_ms, RECOVERY_MS) for incident in INCIDENTS
        )
    ]


def _meets(drift: Drift, incident: Incident, start_ms: int, longer_ms: int) -> bool:
    begins_ms = start_ms + incident.start_hour * HOUR_MS
    ends_ms = start_ms + incident.end_hour * HOUR_MS + longer_ms
    return drift.end_ms > begins_ms and drift.start_ms < ends_ms


def _told(drift: Drift) -> str:
    where = "" if drift.segment == "*" else f" in {drift.segment}"
    return f"{drift.detector} on {drift.feature}{where}: {drift.score:.2f}, threshold {drift.threshold:.2f}"
