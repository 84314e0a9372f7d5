"""What has to leave Postgres for Kafka: published in order, marked when the broker has it.

A row is marked in the transaction that holds it locked while it is sent, so a relay that dies sends it again: at least
once, with an id that repeats. Another relay leaves locked rows alone, and one that is stopped in its transaction loses
it after a while. Messages of one episode leave one after the other; one that can't be sent holds up its episode only.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from driftline.backoff import backoff_ms
from driftline.store.connection import Connection, bounded, rows, run, the_row
from retraining.messages import CONTENT_TYPE
from streams.sending.publish import ANSWER_MS_MAX, Message, Send

_log = logging.getLogger("driftline.relay")

LETTERS_A_BATCH = 200
MESSAGES_A_BATCH = 200

PAYLOAD_BYTES_MAX = 512 * 1024
"""What a message carries of a payload: with base64 it stays below the megabyte that brokers take by default."""

HOLD_MS_MAX = 4 * ANSWER_MS_MAX
"""How long a relay that was stopped may hold messages from others."""

FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 60_000

CLOUD_EVENT = (("content-type", CONTENT_TYPE.encode()),)


class UnsentError(Exception):
    """The broker did not take something; it stays where it is."""


async def relay_dead_letters(connection: Connection, inputs: Collection[str], topic: str, send: Send) -> int:
    """Publish dead letters of some input topics that are not in their topic yet; return how many.

    Raises
    ------
    UnsentError
        If one of them was not taken; those that were are marked.
    """
    async with bounded(connection, idle_ms=HOLD_MS_MAX):
        letters = await rows(connection, "unpublished_dead_letters", inputs=list(inputs), letters_max=LETTERS_A_BATCH)
        failures = await send(topic, [_keyed(dead_letter_message(letter)) for letter in letters]) if letters else []
        sent = [letter.dead_letter_id for letter, failure in zip(letters, failures, strict=True) if failure is None]
        if sent:
            await run(connection, "mark_dead_letters_published", ids=sent)
    if failure := next(filter(None, failures), None):
        raise UnsentError(failure)
    return len(sent)


def _keyed(message: dict[str, object]) -> Message:
    """Give what came from one partition one key, so that it stays in its order."""
    return Message(f"{message['topic']}/{message['partition']}".encode(), json.dumps(message).encode())


def dead_letter_message(letter: Any) -> dict[str, object]:
    """Return a dead letter as its topic carries it.

    The id names the place in the log, so a repeat has the same one. The payload is base64, since it may be any bytes.
    """
    return {
        "id": f"{letter.topic}/{letter.partition}/{letter.record_offset}/{letter.element}/{letter.reason}",
        "reason": letter.reason,
        "detail": letter.detail,
        "model": letter.model,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.record_offset,
        "element": letter.element,
        "at_ms": letter.at,
        "payload_base64": base64.b64encode((letter.payload or b"")[:PAYLOAD_BYTES_MAX]).decode(),
    }


@dataclass(frozen=True, slots=True)
class Relayed:
    """What became of a batch of messages.

    Parameters
    ----------
    trouble
        Why a message was not taken, the first of them; empty if all were.
    given_up
        Messages that were tried for too long, as `id: why`.
    """

    published: int = 0
    trouble: str = ""
    given_up: tuple[str, ...] = ()


async def relay_messages(
    connection: Connection, models: Collection[str], topic: str, send: Send, *, age_max_ms: int
) -> Relayed:
    """Publish the messages of a topic that are due, of each episode its oldest.

    Parameters
    ----------
    models
        Whose messages; others in the store are another configuration's, which may have another broker.
    age_max_ms
        A message that is older and was not taken is given up; it is tried at least once.
    """
    given_up: list[str] = []
    async with bounded(connection, idle_ms=HOLD_MS_MAX):
        due = await rows(connection, "messages_due", models=list(models), topic=topic, messages_max=MESSAGES_A_BATCH)
        failures = await send(topic, [cloud_event_message(message) for message in due]) if due else []
        sent = [message.sequence for message, failure in zip(due, failures, strict=True) if failure is None]
        if sent:
            await run(connection, "mark_published", sequences=sent)
        for message, failure in zip(due, failures, strict=True):
            if failure is not None and await _postpone(connection, message, failure, age_max_ms):
                given_up.append(f"{message.event_id}: {failure}")
    return Relayed(len(sent), next(filter(None, failures), None) or "", tuple(given_up))


async def _postpone(connection: Connection, message: Any, failure: str, age_max_ms: int) -> bool:
    """Try a message again later; say whether it was too old for that."""
    chance = random.random()  # noqa: S311 - it spreads load, and protects nothing
    wait_ms = backoff_ms(message.attempts + 1, chance, first_ms=FIRST_WAIT_MS, most_ms=LONGEST_WAIT_MS)
    done = await the_row(
        connection,
        "postpone_message",
        sequence=message.sequence,
        last_error=failure,
        wait_ms=wait_ms,
        age_max_ms=age_max_ms,
    )
    return bool(done.given_up)


def cloud_event_message(message: Any) -> Message:
    """Return a row of the outbox as its topic carries it: what is of one episode has one key, and so one partition."""
    key = message.event_id if message.episode_id is None else str(message.episode_id)
    return Message(key.encode(), message.payload.encode(), CLOUD_EVENT)


class OutboxRelay:
    """Publishes what waits in the outbox of some models, topic by topic, and tells what is wrong with a topic once."""

    def __init__(
        self, pool: AsyncConnectionPool[Connection], models: Collection[str], send: Send, age_max_ms: int
    ) -> None:
        self._pool, self._models, self._send, self._age_max_ms = pool, list(models), send, age_max_ms
        self._trouble: dict[str, str] = {}

    async def publish(self) -> None:
        """Publish all that is due; one topic's trouble is none of the others'."""
        async with self._pool.connection() as connection:
            topics = [due.topic for due in await rows(connection, "topics_with_messages_due", models=self._models)]
        done = await asyncio.gather(*map(self._publish_to, topics), return_exceptions=True)
        if failure := next((each for each in done if isinstance(each, BaseException)), None):
            raise failure

    async def _publish_to(self, topic: str) -> None:
        async with self._pool.connection() as connection:
            while True:
                done = await relay_messages(connection, self._models, topic, self._send, age_max_ms=self._age_max_ms)
                self._tell(topic, done)
                if not done.published:
                    return

    def _tell(self, topic: str, done: Relayed) -> None:
        for lost in done.given_up:
            _log.error("%s: given up after %s s: message %s", topic, self._age_max_ms // 1000, lost)
        before = self._trouble.get(topic, "")
        if done.trouble and done.trouble != before:
            _log.warning("%s: messages wait: %s", topic, done.trouble)
        elif before and not done.trouble and done.published:
            _log.info("%s: messages are published again", topic)
        if done.trouble or done.published:
            self._trouble[topic] = done.trouble
