"""How does a message get into a Kafka topic, and why did it not?

librdkafka's producer: it connects when it has something to send, comes back by itself when a broker does, and tells of
each message whether the broker has it. Invariants: an answer comes in bounded time; messages of one call keep their
order; what is told of a failure names what to do and holds no secret.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from driftline.errors import ConfigurationError
from driftline.kafka_security import librdkafka_options, words_of
from driftline.settings import KafkaSettings

ANSWER_MS_MAX = 5_000
"""How long a message may be under way."""

TOPIC_MS_MAX = 2_000
"""How long a topic that the broker does not know may take to appear."""

_OPTIONS = {
    "acks": "all",
    "partitioner": "murmur2_random",  # as Java's clients choose
    "max.in.flight.requests.per.connection": 1,  # a retry overtakes nothing
    "message.timeout.ms": ANSWER_MS_MAX,
    "topic.metadata.propagation.max.ms": TOPIC_MS_MAX,
    "topic.metadata.refresh.interval.ms": ANSWER_MS_MAX,  # a topic that is made later is found
    "linger.ms": 0,
}
_MARGIN_S = 5.0
_POLL_S = 0.05
_silent = logging.getLogger("driftline.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # what it says ends in our failures


@dataclass(frozen=True, slots=True)
class Message:
    """What goes into a topic."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


Send = Callable[[str, Sequence[Message]], Awaitable[list[str | None]]]
"""Sends messages to a topic, in this order; says of each why it is not there, or None once the broker has it."""


class Publisher:
    """Sends messages to the topics of a broker; nothing connects before the first one.

    Raises
    ------
    ConfigurationError
        If a certificate or key can't be used.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._trouble = ""
        try:
            reached = librdkafka_options(kafka.bootstrap_servers, kafka.security)
            self._producer = Producer({**_OPTIONS, **reached, "error_cb": self._note_trouble}, logger=_silent)
        except KafkaException as error:
            what = error.args[0].str().removeprefix("Failed to create producer: ")
            raise ConfigurationError(f"can't be used: {what}", where="kafka.security") from None

    async def send(self, topic: str, messages: Sequence[Message]) -> list[str | None]:
        """Send messages in their order; return for each why it was not taken, or None."""
        return await asyncio.to_thread(self._send, topic, messages)

    def _send(self, topic: str, messages: Sequence[Message]) -> list[str | None]:
        errors = self._attempt(topic, messages)
        for place, error in enumerate(errors):
            if len(messages) > 1 and error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                # A broker refuses whole batches for their size, so this one may only have been in bad company.
                [errors[place]] = self._attempt(topic, messages[place : place + 1])
        if any(error is None for error in errors):  # a KafkaError breaks when it is compared with None
            self._trouble = ""
        return [None if error is None else self._told(topic, error) for error in errors]

    def _attempt(self, topic: str, messages: Sequence[Message]) -> list[KafkaError | None]:
        errors: list[KafkaError | None] = [KafkaError(KafkaError._MSG_TIMED_OUT)] * len(messages)
        under_way: set[int] = set()

        def noting(place: int) -> Callable[[KafkaError | None, Any], None]:
            def delivered(error: KafkaError | None, _message: Any) -> None:
                errors[place] = error
                under_way.discard(place)

            return delivered

        for place, message in enumerate(messages):
            under_way.add(place)
            try:
                self._producer.produce(
                    topic, message.value, message.key, headers=list(message.headers), on_delivery=noting(place)
                )
            except BufferError:
                noting(place)(KafkaError(KafkaError._QUEUE_FULL), None)
            except KafkaException as error:
                noting(place)(error.args[0], None)
        deadline = time.monotonic() + ANSWER_MS_MAX / 1000 + _MARGIN_S
        while under_way and time.monotonic() < deadline:  # not `flush`: it waits for what others send, too
            self._producer.poll(_POLL_S)
        return list(errors)

    def close(self) -> None:
        """Forget what was not sent."""
        self._producer.purge()
        self._producer.flush(0)

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = words_of(error)

    def _told(self, topic: str, error: KafkaError) -> str:
        code = error.code()
        if code in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
            return f"there is no topic {topic}; `driftline topics --create` makes it, or whoever runs the cluster"
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return f"we have no right to write topic {topic}; have Write on it granted to this user"
        if code == KafkaError.TOPIC_EXCEPTION:
            return f"topic {topic} may not be written"
        if code == KafkaError._MSG_TIMED_OUT:
            trouble = f": {self._trouble}" if self._trouble else ""
            return f"no answer within {ANSWER_MS_MAX // 1000}s{trouble}"
        return error.str().removeprefix("Broker: ").removeprefix("Local: ")
