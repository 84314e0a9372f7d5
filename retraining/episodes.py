"""How do an episode's beginning and end look, in the store and in messages?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from retraining.messages import Message, Subject, digest_of, message, moment
from retraining.policy import Closed, Opened
from retraining.state import Episode, Evidence, Kind

SHORT_ID_DIGITS = 8
"""How much of an episode's id people see and type."""

OPENED: Mapping[Kind, str] = {
    "traffic": "driftline.traffic.detected",
    "quality": "driftline.quality.detected",
    "drift": "driftline.drift.detected",
    "performance": "driftline.performance.degraded",
}
CLOSED: Mapping[Kind, str] = {
    "traffic": "driftline.traffic.recovered",
    "quality": "driftline.quality.recovered",
    "drift": "driftline.drift.recovered",
    "performance": "driftline.performance.recovered",
}


def episode_id(subject: Subject, episode: Episode) -> UUID:
    """Return the id of an episode: of one model version and kind, no two open with the same window."""
    return UUID(bytes=digest_of(subject.model, subject.version, episode.kind, episode.opened_ms))


def cause_shown(evidence: Evidence) -> dict[str, Any]:
    """Return a cause as messages and the store show it."""
    changed = {} if evidence.changed_ms is None else {"changed_at": moment(evidence.changed_ms)}
    return {**evidence.detail, "window_end": moment(evidence.end_ms), **changed}


def opened_message(subject: Subject, decision: Opened) -> Message:
    """Tell that an episode has begun."""
    episode = decision.episode
    data = _data(subject, episode, episode.window)
    return _message(subject, episode, OPENED[episode.kind], episode.opened_ms, data)


def closed_message(subject: Subject, decision: Closed) -> Message:
    """Tell that an episode has ended, and whether because it is calm again."""
    closed_ms = decision.window[1]
    data = _data(subject, decision.episode, decision.window)
    data |= {"closed_at": moment(closed_ms), "closed_as": decision.closed_as}
    return _message(subject, decision.episode, CLOSED[decision.episode.kind], closed_ms, data)


def _message(subject: Subject, episode: Episode, type_: str, at_ms: int, data: Mapping[str, Any]) -> Message:
    return message(subject, type_, subject.drift_topic, episode.segment, episode_id(subject, episode), at_ms, data)


def _data(subject: Subject, episode: Episode, window: tuple[int, int]) -> dict[str, Any]:
    return {
        "episode_id": str(episode_id(subject, episode)),
        "model": subject.model,
        "version": subject.version,
        "segment": episode.segment,
        "kind": episode.kind,
        "severity": episode.severity,
        "opened_at": moment(episode.opened_ms),
        "window_start": moment(window[0]),
        "window_end": moment(window[1]),
        "causes": [cause_shown(cause) for cause in episode.causes],
        "n_causes": episode.n_causes,
    }
