"""Does Kafka get what we send, and are we told in time, and in words, when it does not?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from driftline.settings import KafkaSettings
from streams.sending.publish import Message, Publisher
from tests.support.kafka import Broker, OwnBroker
from tests.support.monitors import create_topics

pytestmark = pytest.mark.real_kafka


def publisher(bootstrap_servers: str) -> Publisher:
    return Publisher(KafkaSettings(bootstrap_servers=bootstrap_servers))


def messages(*names: str) -> list[Message]:
    return [Message(b"key", name.encode(), (("content-type", b"text/plain"),)) for name in names]


def read(bootstrap_servers: str, topic: str, n: int) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
    """Read the first `n` messages of a topic that has one partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = consumer.consume(n, timeout=30)
        return [(message.key(), message.value(), message.headers()) for message in found]
    finally:
        consumer.close()


async def test_messages_arrive_in_their_order_with_key_and_headers(
    broker: Broker, topic_name: Callable[[str], str]
) -> None:
    topic, sender = topic_name("drift"), publisher(broker.bootstrap_servers)
    broker.create_topic(topic)
    names = [str(number) for number in range(100)]

    assert await sender.send(topic, messages(*names)) == [None] * 100

    expected = [(b"key", name.encode(), [("content-type", b"text/plain")]) for name in names]
    assert read(broker.bootstrap_servers, topic, 100) == expected
    sender.close()


async def test_a_topic_that_is_missing_is_named_at_once_holds_up_no_other_and_is_found_when_it_is_made(
    broker: Broker, topic_name: Callable[[str], str]
) -> None:
    missing, there, sender = topic_name("missing"), topic_name("there"), publisher(broker.bootstrap_servers)
    broker.create_topic(there)
    await sender.send(there, messages("warm"))

    waiting = asyncio.create_task(sender.send(missing, messages("a", "b")))
    taken = await sender.send(there, messages("c"))
    assert not waiting.done()
    async with asyncio.timeout(30):
        told = await waiting
    assert taken == [None]
    assert (
        told == [f"there is no topic {missing}; `driftline topics --create` makes it, or whoever runs the cluster"] * 2
    )

    broker.create_topic(missing)
    async with asyncio.timeout(60):
        while await sender.send(missing, messages("a")) != [None]:
            await asyncio.sleep(0.2)
    sender.close()


async def test_a_message_that_is_too_large_fails_alone(broker: Broker, topic_name: Callable[[str], str]) -> None:
    topic, sender = topic_name("small"), publisher(broker.bootstrap_servers)
    create_topics(broker.bootstrap_servers, [topic], **{"max.message.bytes": "2000"})

    first, large, huge, last = await sender.send(topic, messages("a", "x" * 5_000, "y" * 2_000_000, "b"))

    assert (first, last) == (None, None)
    assert large is not None
    assert "too large" in large
    assert huge is not None
    assert "too large" in huge
    sender.close()


async def test_a_topic_that_may_not_be_written_is_said_to_be_so(
    broker: Broker, topic_name: Callable[[str], str]
) -> None:
    topic, sender = topic_name("denied"), publisher(broker.bootstrap_servers)
    broker.create_topic(topic)
    nobody_writes = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:*",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    for made in admin.create_acls([nobody_writes]).values():
        made.result(30)

    async with asyncio.timeout(60):
        while (told := await sender.send(topic, messages("a"))) == [None]:
            await asyncio.sleep(0.1)  # the rule takes a moment to hold

    assert told == [f"we have no right to write topic {topic}; have Write on it granted to this user"]
    sender.close()


async def test_a_broker_that_is_away_is_told_in_time_and_used_again_when_it_is_back(
    own_broker: OwnBroker, topic_name: Callable[[str], str]
) -> None:
    topic, sender = topic_name("drift"), publisher(own_broker.bootstrap_servers)
    own_broker.create_topic(topic)
    assert await sender.send(topic, messages("a")) == [None]
    own_broker.kill()
    async with asyncio.timeout(30):
        [told] = await sender.send(topic, messages("b"))
    assert told is not None
    assert "Connection refused" in told or told.startswith("no answer within 5s")
    own_broker.start()

    async with asyncio.timeout(60):
        while await sender.send(topic, messages("c")) != [None]:
            await asyncio.sleep(0.2)

    assert [value for _, value, _ in read(own_broker.bootstrap_servers, topic, 2)] in ([b"a", b"c"], [b"a", b"b"])
    sender.close()
