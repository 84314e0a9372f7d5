"""What has to leave Postgres for Kafka: published in order, marked when the broker has it.

A row is marked in the transaction that holds it locked while it is sent, so a relay that dies sends it again: at least
once, with an id that repeats.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from driftline.store.connection import Connection, rows, run

LETTERS_A_BATCH = 200

PAYLOAD_BYTES_MAX = 512 * 1024
"""What a message carries of a payload: with base64 it stays below the megabyte that brokers take by default."""

Send = Callable[[str, Sequence[tuple[bytes, bytes]]], Awaitable[None]]
"""Sends messages, each with its key and value, to a topic in this order, and returns when the broker has them all."""


async def relay_dead_letters(connection: Connection, topic: str, send: Send) -> int:
    """Publish dead letters that are not in their topic yet; return how many."""
    async with connection.transaction():
        letters = await rows(connection, "unpublished_dead_letters", letters_max=LETTERS_A_BATCH)
        if letters:
            await send(topic, [_keyed(dead_letter_message(letter)) for letter in letters])
            await run(connection, "mark_dead_letters_published", ids=[letter.dead_letter_id for letter in letters])
    return len(letters)


def _keyed(message: dict[str, object]) -> tuple[bytes, bytes]:
    """Give what came from one partition one key, so that it stays in its order."""
    return f"{message['topic']}/{message['partition']}".encode(), json.dumps(message).encode()


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
