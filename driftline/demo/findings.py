"""Which incidents were found, by what and when, and which episodes were false alarms? Pure functions of what is stored.

Invariants: an episode belongs to an incident only if the incident moves one of its causes and their times meet; the way
back to normal is a change, too, and counts as the incident's for `RECOVERY_MS`; whatever belongs to none is a false
alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftline.demo.traffic import HOUR_MS, INCIDENTS, Incident

RECOVERY_MS = 8 * HOUR_MS

_NAMES = {
    "@error.1": "missed frauds (@error.1)",
    "@error.0": "good payments taken for fraud (@error.0)",
    "@score": "the model's score (@score)",
    "@prediction": "the model's answers (@prediction)",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the things that opened an episode.

    Parameters
    ----------
    name
        The feature, series or metric.
    told
        The evidence, for people: the score over its threshold, the metric under its floor.
    """

    name: str
    told: str


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm, from its first evidence to its last.

    Parameters
    ----------
    kind
        `drift` or `performance`.
    closed_ms
        None while it is open.
    causes
        All of them at their clearest, the clearest first.
    opened_by
        Those that it opened with, as they were then; the clearest first.
    """

    episode_id: str
    kind: str
    opened_ms: int
    closed_ms: int | None
    causes: tuple[Cause, ...]
    opened_by: tuple[Cause, ...]

    @property
    def word(self) -> str:
        """What it is, for people."""
        return "loss" if self.kind == "performance" else self.kind

    @property
    def told(self) -> str:
        """The clearest cause that opened it and the names of the others, for people."""
        first = self.opened_by[0]
        others = list(dict.fromkeys(cause.name for cause in self.opened_by if cause.name != first.name))
        also = f" (also {', '.join(others)})" if others else ""
        return f"{self.word} of {first.told}{also}"

    @property
    def worst(self) -> str | None:
        """What became clearer than that later on, for people; None if nothing did."""
        return None if self.causes[0] == self.opened_by[0] else self.causes[0].told


def name_in_words(name: str) -> str:
    """Say what a series is, beside its name.

    Examples
    --------
    >>> name_in_words("amount"), name_in_words("@error.1")
    ('amount', 'missed frauds (@error.1)')
    """
    return _NAMES.get(name, name)


def cause_of(stored: Mapping[str, Any]) -> Cause:
    """Read a cause as episodes keep it.

    Examples
    --------
    >>> cause_of({"segment": "DE", "feature": "amount", "detector": "psi", "score": 0.281, "threshold": 0.1}).told
    'amount in DE: psi 0.28 over 0.10'
    >>> cause_of({"segment": "*", "metric": "recall", "value": 0.3, "floor": 0.5, "low": 0.2, "high": 0.4}).told
    'recall: 0.30 [0.20, 0.40] under 0.50'
    """
    where = "" if stored["segment"] == "*" else f" in {stored['segment']}"
    if "metric" in stored:
        interval = f" [{stored['low']:.2f}, {stored['high']:.2f}]" if stored.get("low") is not None else ""
        told = f"{stored['metric']}{where}: {stored['value']:.2f}{interval} under {stored['floor']:.2f}"
        return Cause(stored["metric"], told)
    feature, detector = stored["feature"], stored["detector"]
    score, threshold = stored["score"], stored["threshold"]
    told = f"{name_in_words(feature)}{where}: {detector} {score:.2f} over {threshold:.2f}"
    return Cause(feature, told)


def incident_of(episode: Episode, start_ms: int) -> Incident | None:
    """Find the incident that explains an episode; of two, the one that began later.

    Parameters
    ----------
    start_ms
        When the traffic began.
    """
    return next((of for of in reversed(INCIDENTS) if _meets(episode, of, start_ms, of.moves, RECOVERY_MS)), None)


def found_by(incident: Incident, start_ms: int, episodes: Iterable[Episode]) -> Episode | None:
    """Find the first episode that shows an incident while it lasts."""
    showing = [episode for episode in episodes if _meets(episode, incident, start_ms, incident.shows_in, 0)]
    return min(showing, key=lambda episode: episode.opened_ms, default=None)


def false_alarms(start_ms: int, episodes: Iterable[Episode]) -> list[Episode]:
    """Return the episodes that no incident explains."""
    return [episode for episode in episodes if incident_of(episode, start_ms) is None]


def findings(start_ms: int, episodes: Sequence[Episode]) -> dict[str, object]:
    """Return what the last line of the demo says about the script.

    Examples
    --------
    >>> findings(0, [])
    {'detected': [], 'missed': ['shift', 'missing', 'relation'], 'false_alarms': 0}
    """
    found = {incident.name: found_by(incident, start_ms, episodes) is not None for incident in INCIDENTS}
    return {
        "detected": [name for name, is_found in found.items() if is_found],
        "missed": [name for name, is_found in found.items() if not is_found],
        "false_alarms": len(false_alarms(start_ms, episodes)),
    }


def _meets(episode: Episode, incident: Incident, start_ms: int, names: frozenset[str], longer_ms: int) -> bool:
    begins_ms = start_ms + incident.start_hour * HOUR_MS
    ends_ms = start_ms + incident.end_hour * HOUR_MS + longer_ms
    return begins_ms < episode.opened_ms <= ends_ms and any(cause.name in names for cause in episode.causes)
