"""Does each message reach its topic, in order per episode, at least once, and none in silence?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

import streams.sending.relay
from driftline.store.connection import Connection, connect
from streams.sending.publish import Message
from streams.sending.relay import Relayed, relay_messages
from tests.support.outbox import DETECTED, RECOVERED, episode, make_due, make_older, say, states

pytestmark = pytest.mark.postgres

HOUR_MS = 3_600_000


class Topic:
    """Takes what is sent, except what is refused."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.messages: list[Message] = []

    async def send(self, topic: str, messages: Sequence[Message]) -> list[str | None]:
        assert topic == "drift"
        answers: list[str | None] = []
        for message in messages:
            await asyncio.sleep(0)
            is_refused = self.id_of(message) in self.refused
            answers.append("too large" if is_refused else None)
            if not is_refused:
                self.messages.append(message)
        return answers

    @staticmethod
    def id_of(message: Message) -> str:
        return str(json.loads(message.value)["id"])

    @property
    def ids(self) -> list[str]:
        return [self.id_of(message) for message in self.messages]


async def relay_once(connection: Connection, topic: Any, age_max_ms: int = HOUR_MS) -> Relayed:
    return await relay_messages(connection, ["m"], "drift", topic.send, age_max_ms=age_max_ms)


async def relay_all(connection: Connection, topic: Topic) -> None:
    while (await relay_once(connection, topic)).published:
        pass


async def test_messages_of_another_configurations_models_are_left_to_its_own_relay(connection: Connection) -> None:
    topic = Topic()
    await say(connection, "a", DETECTED)
    await say(connection, "b", DETECTED, model="elsewhere")

    await relay_all(connection, topic)

    assert topic.ids == ["a-drift.detected"]
    assert (await states(connection, "topic"))["b-drift.detected"] == "waiting"


async def test_a_message_carries_its_event_its_episode_as_key_and_its_type_of_content(connection: Connection) -> None:
    topic = Topic()
    await say(connection, "a", DETECTED)

    await relay_all(connection, topic)

    [message] = topic.messages
    assert message.key == str(episode("a")).encode()
    assert message.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    assert json.loads(message.value) == {
        "specversion": "1.0",
        "id": "a-drift.detected",
        "type": DETECTED,
        "data": {"episode_id": str(episode("a")), "é": 0.1},
    }


async def test_what_cannot_be_sent_holds_up_its_own_episode_and_no_other(connection: Connection) -> None:
    topic = Topic("a-drift.detected")
    await say(connection, "a", DETECTED, RECOVERED)
    await say(connection, "b", DETECTED, RECOVERED)

    await relay_all(connection, topic)
    assert topic.ids == ["b-drift.detected", "b-drift.recovered"]
    topic.refused.clear()
    await relay_all(connection, topic)
    assert topic.ids[2:] == []  # it is tried again after a while
    await make_due(connection)
    await relay_all(connection, topic)

    assert topic.ids[2:] == ["a-drift.detected", "a-drift.recovered"]
    assert set((await states(connection, "topic")).values()) == {"delivered"}


async def test_a_message_is_given_up_by_its_age_and_not_by_its_attempts(connection: Connection) -> None:
    topic = Topic("a-drift.detected")
    await say(connection, "a", DETECTED, RECOVERED)
    for _ in range(40):
        await relay_once(connection, topic)
        await make_due(connection)
    assert (await states(connection, "topic"))["a-drift.detected"] == "waiting"

    await make_older(connection, 3600)
    done = await relay_once(connection, topic)

    assert done == Relayed(0, "too large", ("a-drift.detected: too large",))
    await relay_all(connection, topic)
    assert topic.ids == ["a-drift.recovered"]
    assert await states(connection, "topic") == {"a-drift.detected": "failed", "a-drift.recovered": "delivered"}


async def test_what_was_sent_but_not_marked_is_sent_again_before_what_follows_it(connection: Connection) -> None:
    topic = Topic()
    await say(connection, "a", DETECTED, RECOVERED)

    async def send_and_die(name: str, messages: Sequence[Message]) -> list[str | None]:
        await topic.send(name, messages)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await relay_messages(connection, ["m"], "drift", send_and_die, age_max_ms=HOUR_MS)
    await relay_all(connection, topic)

    assert topic.ids == ["a-drift.detected", "a-drift.detected", "a-drift.recovered"]


async def test_two_relays_at_once_send_nothing_twice_and_keep_each_episodes_order(
    connection: Connection, postgres_url: str
) -> None:
    topic = Topic()
    names = [f"e{number}" for number in range(50)]
    for name in names:
        await say(connection, name, DETECTED, "driftline.retraining.requested", RECOVERED)

    async with await connect(postgres_url) as other:

        async def relay(own: Connection) -> None:
            while "waiting" in (await states(own, "topic")).values():
                await relay_once(own, topic)

        await asyncio.gather(relay(connection), relay(other))

    assert len(topic.ids) == len(set(topic.ids)) == 150
    for name in names:
        own = [identity for identity in topic.ids if identity.startswith(f"{name}-")]
        assert own == [f"{name}-drift.detected", f"{name}-retraining.requested", f"{name}-drift.recovered"]


async def test_a_relay_that_is_stopped_while_it_sends_is_overtaken(
    connection: Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.sending.relay, "HOLD_MS_MAX", 500)
    topic = Topic()
    [event_id] = await say(connection, "a", DETECTED)
    holding = asyncio.Event()

    async def hang(name: str, messages: Sequence[Message]) -> list[str | None]:
        holding.set()
        await asyncio.sleep(3600)
        return []

    async with await connect(postgres_url) as other:
        stopped = asyncio.create_task(relay_messages(other, ["m"], "drift", hang, age_max_ms=HOUR_MS))
        await holding.wait()
        async with asyncio.timeout(30):
            while not topic.ids:
                await relay_once(connection, topic)
                await asyncio.sleep(0.05)
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)

    assert topic.ids == [event_id]
    assert await states(connection, "topic") == {event_id: "delivered"}
