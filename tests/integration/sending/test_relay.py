"""Does each dead letter reach its topic, in order, at least once, and each time with the same id?"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, connect, run
from streams.sending.publish import Message
from streams.sending.relay import LETTERS_A_BATCH, PAYLOAD_BYTES_MAX, UnsentError, relay_dead_letters

pytestmark = pytest.mark.postgres


class Topic:
    """Takes what is sent, up to a number of messages; then it is away."""

    def __init__(self, takes: int = 10**6) -> None:
        self.takes = takes
        self.messages: list[tuple[bytes, dict[str, Any]]] = []

    async def send(self, topic: str, messages: Sequence[Message]) -> list[str | None]:
        assert topic == "letters"
        answers: list[str | None] = []
        for message in messages:
            taken = len(self.messages) < self.takes
            if taken:
                self.messages.append((message.key, json.loads(message.value)))
            answers.append(None if taken else "the broker is away")
            await asyncio.sleep(0)
        return answers

    @property
    def ids(self) -> list[str]:
        return [message["id"] for _, message in self.messages]


async def bury(connection: Connection, n: int, payload: bytes = b"\xff\0", model: str | None = "m") -> list[str]:
    """Keep dead letters of partition 3, and return the ids of their messages."""
    await run(
        connection,
        "add_dead_letters",
        topic="t",
        partition=3,
        reason=["not_json"] * n,
        detail=["it is not JSON"] * n,
        model=[model] * n,
        record_offset=pg_array("int8", list(range(n))),
        element=pg_array("int4", [1] * n),
        payload=pg_bytea_array([payload] * n),
    )
    return [f"t/3/{offset}/1/not_json" for offset in range(n)]


async def relay_all(connection: Connection, topic: Topic) -> None:
    while await relay_dead_letters(connection, ["t"], "letters", topic.send):
        pass


async def test_letters_of_topics_that_another_configuration_reads_are_left_to_its_own_relay(
    connection: Connection,
) -> None:
    topic = Topic()
    await bury(connection, 1)

    assert await relay_dead_letters(connection, ["elsewhere"], "letters", topic.send) == 0
    assert topic.messages == []


async def test_a_letter_says_what_was_wrong_where_and_with_which_bytes(connection: Connection) -> None:
    topic = Topic()
    await bury(connection, 1)

    assert await relay_dead_letters(connection, ["t"], "letters", topic.send) == 1
    assert await relay_dead_letters(connection, ["t"], "letters", topic.send) == 0

    [(key, message)] = topic.messages
    assert key == b"t/3"
    assert isinstance(message.pop("at_ms"), int)
    assert message == {
        "id": "t/3/0/1/not_json",
        "reason": "not_json",
        "detail": "it is not JSON",
        "model": "m",
        "topic": "t",
        "partition": 3,
        "offset": 0,
        "element": 1,
        "payload_base64": base64.b64encode(b"\xff\0").decode(),
    }


async def test_letters_leave_in_their_order_however_many_there_are(connection: Connection) -> None:
    topic = Topic()
    ids = await bury(connection, 2 * LETTERS_A_BATCH + 1)

    await relay_all(connection, topic)

    assert topic.ids == ids


async def test_after_a_failure_what_was_not_taken_is_sent_again(connection: Connection) -> None:
    topic = Topic(takes=5)
    ids = await bury(connection, 8)

    with pytest.raises(UnsentError, match="the broker is away"):
        await relay_dead_letters(connection, ["t"], "letters", topic.send)
    topic.takes = 10**6
    await relay_all(connection, topic)

    assert topic.ids == ids


async def test_what_was_sent_but_not_marked_is_sent_again_with_the_same_ids(connection: Connection) -> None:
    topic = Topic()
    ids = await bury(connection, 3)

    async def send_and_die(name: str, messages: Sequence[Message]) -> list[str | None]:
        await topic.send(name, messages)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await relay_dead_letters(connection, ["t"], "letters", send_and_die)
    await relay_all(connection, topic)

    assert topic.ids == ids + ids


async def test_two_relays_at_once_do_not_send_the_same_letters(connection: Connection, postgres_url: str) -> None:
    topic = Topic()
    ids = await bury(connection, 3 * LETTERS_A_BATCH)

    async with await connect(postgres_url) as other:
        await asyncio.gather(relay_all(connection, topic), relay_all(other, topic))

    assert sorted(topic.ids) == sorted(ids)


async def test_a_message_stays_small_enough_for_a_broker_however_much_is_kept(connection: Connection) -> None:
    topic = Topic()
    await bury(connection, 1, payload=b"x" * 2_000_000, model=None)

    await relay_all(connection, topic)

    [(_, message)] = topic.messages
    assert base64.b64decode(message["payload_base64"]) == b"x" * PAYLOAD_BYTES_MAX
    assert len(json.dumps(message)) < 1_000_000
    assert message["model"] is None
