"""Writing what was decided: episodes, messages for the outbox and requests, in the order of the decisions."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.types.json import Jsonb

from driftline.store.connection import Connection, run, timestamp
from retraining.episodes import cause_shown, closed_message, episode_id, opened_message
from retraining.messages import Message, Subject
from retraining.policy import Changed, Closed, Decision, Opened, Requested
from retraining.requests import requested_message


async def write_decisions(connection: Connection, model_id: int, decided: Iterable[tuple[Subject, Decision]]) -> None:
    """Write the decisions of one model's evaluation, inside its transaction.

    A decision is rare, and what it writes depends on the one before: so they are written one by one.
    """
    for subject, decision in decided:
        match decision:
            case Opened():
                await _write_episode(connection, model_id, subject, decision)
                await _write_message(connection, subject, opened_message(subject, decision))
            case Changed():
                await _write_episode(connection, model_id, subject, decision)
            case Closed():
                await _write_episode(connection, model_id, subject, decision)
                await _write_message(connection, subject, closed_message(subject, decision))
            case Requested():
                asked = requested_message(subject, decision)
                await _write_message(connection, subject, asked)
                await _write_request(connection, subject, asked)


async def _write_episode(
    connection: Connection, model_id: int, subject: Subject, decision: Opened | Changed | Closed
) -> None:
    episode, end = decision.episode, decision if isinstance(decision, Closed) else None
    await run(
        connection,
        "save_episode",
        episode_id=episode_id(subject, episode),
        model_id=model_id,
        version=subject.version,
        kind=episode.kind,
        severity=episode.severity,
        causes=Jsonb([cause_shown(cause) for cause in episode.causes]),
        opened_at=timestamp(episode.opened_ms),
        closed_at=end and timestamp(end.window[1]),
        closed_as=end and end.closed_as,
    )


async def _write_message(connection: Connection, subject: Subject, message: Message) -> None:
    await run(
        connection,
        "add_to_outbox",
        event_id=message.event_id,
        type=message.type,
        topic=message.topic,
        model=subject.model,
        version=subject.version,
        segment=message.segment,
        episode_id=message.episode_id,
        occurred_at=timestamp(message.occurred_ms),
        payload=Jsonb(message.payload),
    )


async def _write_request(connection: Connection, subject: Subject, asked: Message) -> None:
    await run(
        connection,
        "add_retraining",
        request_id=asked.event_id,
        episode_id=asked.episode_id,
        model=subject.model,
        version=subject.version,
        requested_at=timestamp(asked.occurred_ms),
        lineage=Jsonb(asked.payload["data"]["lineage"]),
    )
