"""What leaves Driftline: CloudEvents with ids that repeat, decided by the log alone.

A message's `time` is event time, the end of the window that was judged; nothing in it comes from a clock or from
chance, so whoever judges the same log again makes the same messages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
"""Of a CloudEvent in structured JSON, wherever it goes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Subject:
    """Of which model version messages tell, and where they go.

    Parameters
    ----------
    drift_topic, retraining_topic
        For what happens to episodes, and for requests.
    registry_uri, data_version
        Where the model stands in a registry, and which data it was trained on, if the configuration says so.
    """

    model: str
    version: str
    drift_topic: str
    retraining_topic: str
    registry_uri: str | None = None
    data_version: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A row of the outbox; `payload` is the whole CloudEvent."""

    event_id: str
    type: str
    topic: str
    segment: str
    episode_id: UUID
    occurred_ms: int
    payload: Mapping[str, Any]


def moment(ms: int) -> str:
    """Write a time as messages do.

    Examples
    --------
    >>> moment(1_451_606_400_000)
    '2016-01-01T00:00:00.000Z'
    """
    at = (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=None)
    return f"{at.isoformat(timespec='milliseconds')}Z"


def digest_of(*words: str | int) -> bytes:
    """Return 16 bytes that stand for these words in this order.

    Examples
    --------
    >>> digest_of("a", "bc") == digest_of("ab", "c")
    False
    """
    return hashlib.blake2b(json.dumps(words, ensure_ascii=False).encode(), digest_size=16).digest()


def source_of(model: str) -> str:
    """Name a model as the source of what is told of it.

    Examples
    --------
    >>> source_of("a model")
    '/driftline/models/a%20model'
    """
    return f"/driftline/models/{quote(model, safe='')}"


def event_id_of(subject: Subject, segment: str, episode_id: UUID, type_: str) -> str:
    """Return the id of a message: a digest of what happened, so a repeat has the same one."""
    return digest_of(subject.model, subject.version, segment, str(episode_id), type_).hex()


def message(
    subject: Subject, type_: str, topic: str, segment: str, episode_id: UUID, at_ms: int, data: Mapping[str, Any]
) -> Message:
    """Wrap what happened in a CloudEvents 1.0 envelope."""
    event_id = event_id_of(subject, segment, episode_id, type_)
    payload = cloud_event(event_id, type_, subject.model, f"{subject.model}/{subject.version}", at_ms, data)
    return Message(event_id, type_, topic, segment, episode_id, at_ms, payload)


def cloud_event(
    event_id: str, type_: str, model: str, subject: str, at_ms: int | None, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Wrap what a model's watcher tells in an envelope; without a time if none is known.

    Examples
    --------
    >>> cloud_event("1", "driftline.records.lost", "m", "m", 0, {})["time"]
    '1970-01-01T00:00:00.000Z'
    """
    when = {} if at_ms is None else {"time": moment(at_ms)}
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source_of(model),
        "type": type_,
        "subject": subject,
        **when,
        "datacontenttype": "application/json",
        "data": data,
    }
