"""What became of retraining requests: status events in, rows of `retraining` out.

They come on a topic of their own, are read like every other topic and committed with their position. Invariants: what
is known of a request never becomes less: a finished one is not started again by a status that is late or repeated; a
status of a request that we never made is kept like any other; a message that is no status costs nothing but itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from driftline.events import DeadLetter, Decoded
from driftline.settings.services import LimitSettings
from driftline.store.arrays import storable
from driftline.store.connection import Connection, run, timestamp
from retraining.statuses import STATES, STATUS_TYPE, Status, says_more
from streams.committing.commit import Committed, Pipeline, Position, commit_fetch
from streams.decode.messages import Records, Refused, length_of, parse_json
from streams.decode.values import time_ms

OUTCOME_CHARACTERS_MAX = 2_000
ATTEMPT_MAX = 1_000_000
NO_MODEL = "*"

LetterOf = Callable[[int, int, str | None, str, str], DeadLetter]
"""Makes a dead letter of the record with this index: (index, element, model, reason, detail)."""


@dataclass(frozen=True, slots=True)
class Statuses:
    """What one fetch of the status topic held.

    Parameters
    ----------
    latest
        One for each request: the one that says most.
    counts
        Messages by (model, reason).
    """

    latest: tuple[Status, ...]
    dead: tuple[DeadLetter, ...]
    counts: Mapping[tuple[str, str], int]


def read_statuses(
    records: Records, limits: LimitSettings, letter_of: LetterOf, *, shows_values: bool = True
) -> Statuses:
    """Read what was fetched of one partition; no bytes whatever raise."""
    latest: dict[str, Status] = {}
    dead: list[DeadLetter] = []
    counts: Counter[tuple[str, str]] = Counter()
    for index, value in enumerate(records.values):
        if not value:
            counts[NO_MODEL, "tombstone" if value is None else "empty"] += 1
            continue
        try:
            status = read_status(value, limits)
        except Refused as refused:
            dead.append(letter_of(index, 0, None, refused.reason, refused.detail(shows_values)))
            continue
        counts[NO_MODEL, "retraining_status"] += 1
        latest[status.request_id] = max(latest.get(status.request_id, status), status, key=says_more)
    return Statuses(tuple(latest.values()), tuple(dead), counts)


def read_status(value: bytes, limits: LimitSettings) -> Status:
    """Read one message.

    Raises
    ------
    Refused
        With the reason of its dead letter.
    """
    if len(value) > limits.message_bytes_max:
        raise Refused("too_large", f"the message: expected at most {limits.message_bytes_max} bytes", length_of(value))
    event = parse_json(value)
    if not isinstance(event, dict):
        raise Refused("not_an_object", "expected a JSON object", event)
    if event.get("type") != STATUS_TYPE:
        raise Refused("unknown_kind", f"type: expected {STATUS_TYPE}", event.get("type"))
    data = event.get("data")
    if not isinstance(data, dict):
        raise Refused("not_an_object", "data: expected a JSON object", data)
    state, attempt = data.get("state"), data.get("attempt", 1)
    if state not in STATES:
        raise Refused("unknown_state", f"data.state: expected {', '.join(STATES)}", state)
    if type(attempt) is not int or not 1 <= attempt <= ATTEMPT_MAX:
        raise Refused("wrong_type", "data.attempt: expected a number from 1", attempt)
    version = data.get("new_version")
    return Status(
        _name(data, "request_id", limits),
        _episode(data.get("episode_id")),
        _name(data, "model", limits),
        _name(data, "version", limits),
        state,
        attempt,
        _time(data.get("at", event.get("time"))),
        storable(_text("outcome", data.get("outcome", "")))[:OUTCOME_CHARACTERS_MAX],
        None if version is None else storable(_text("new_version", version))[: limits.id_bytes_max],
    )


def _name(data: Mapping[str, Any], field: str, limits: LimitSettings) -> str:
    value = data.get(field)
    if value is None or value == "":
        raise Refused("missing_field", f"data.{field}: expected a text")
    text = storable(_text(field, value))
    if len(text.encode()) > limits.id_bytes_max:
        raise Refused("id_too_long", f"data.{field}: expected at most {limits.id_bytes_max} bytes", text)
    return text


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise Refused("wrong_type", f"data.{field}: expected a text", value)
    return value


def _episode(value: object) -> str | None:
    if value is None:
        return None
    with suppress(ValueError):
        return str(UUID(_text("episode_id", value)))
    raise Refused("wrong_type", "data.episode_id: expected a UUID", value)


def _time(value: object) -> int:
    if value is None:
        raise Refused("missing_field", "data.at: expected a time")
    at_ms = time_ms(value)
    if at_ms is None:
        raise Refused("bad_timestamp", "data.at: expected RFC 3339 with an offset", value)
    return at_ms


async def commit_statuses(
    connection: Connection, pipeline: Pipeline, position: Position, statuses: Statuses
) -> Committed | None:
    """Commit one fetch of the status topic, or nothing.

    Returns
    -------
    None if fenced: the log does not go on where this fetch starts.

    Raises
    ------
    psycopg.Error
        If Postgres fails or refuses; nothing is written then.
    """
    decoded = Decoded(dead=list(statuses.dead), counts=dict(statuses.counts))
    async with connection.transaction():
        done = await commit_fetch(connection, pipeline, position, decoded, np.empty(0, np.int64), _no_event)
        if done is not None and statuses.latest:
            await _put(connection, statuses.latest)
    return done


def _no_event(*_: object) -> DeadLetter:
    raise AssertionError("a status has no event time to be judged")


async def _put(connection: Connection, latest: Sequence[Status]) -> None:
    await run(
        connection,
        "put_statuses",
        request_id=[status.request_id for status in latest],
        episode_id=[status.episode_id for status in latest],
        model=[status.model for status in latest],
        version=[status.version for status in latest],
        state=[status.state for status in latest],
        attempt=[status.attempt for status in latest],
        at=[timestamp(status.at_ms) for status in latest],
        outcome=[status.outcome for status in latest],
        new_version=[status.new_version for status in latest],
    )
