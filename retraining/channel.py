"""The consumer's two ends of Kafka: requests come in one at a time, statuses go out, and membership is kept meanwhile.

Invariants: a position is committed only when the caller says so; a status is sent when the broker has it on all
replicas in sync; what may work later is tried again until it does or we are told to stop; what can't is an error of
ours, which names no secret.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import AuthorizationError, KafkaError, RetriableError
from kafka.structs import MemberState, OffsetAndMetadata

from driftline.errors import ServiceUnavailableError, StateError
from driftline.kafka_admin import TIMEOUT_MS, client_options, no_such, topic_ids
from driftline.settings import KafkaSecurity
from retraining.messages import CONTENT_TYPE
from retraining.statuses import Status, status_event

_log = logging.getLogger("driftline.retraining")

POLL_MS = 500
IDLE_MS = 200
SEND_MS_MAX = 10_000
CLOSE_MS_MAX = 3_000
RECONNECT_MS_MAX = 2_000
TELL_EVERY = 12


@dataclass(frozen=True, slots=True)
class Ends:
    """Where requests are read and statuses written, and as whom."""

    bootstrap_servers: str
    security: KafkaSecurity
    topic: str
    status_topic: str
    group: str
    session_timeout_ms: int
    heartbeat_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """One message, and where it was."""

    place: TopicPartition
    offset: int
    value: bytes | None


class Channel:
    """Both ends, open."""

    def __init__(self, ends: Ends, stopping: threading.Event, patience_s: float) -> None:
        self._ends, self._stopping, self._patience_s = ends, stopping, patience_s
        options = {
            **client_options(ends.bootstrap_servers, security=ends.security),
            "reconnect_backoff_max_ms": RECONNECT_MS_MAX,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        self._consumer: Any = KafkaConsumer(
            ends.topic,
            **options,
            group_id=ends.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=1,
            session_timeout_ms=ends.session_timeout_ms,
            heartbeat_interval_ms=ends.heartbeat_ms,
        )
        self._producer: Any = KafkaProducer(
            **options,
            acks="all",
            enable_idempotence=False,  # a repeat can be told by its id, and this needs no right of its own
            max_block_ms=SEND_MS_MAX,
            request_timeout_ms=SEND_MS_MAX // 2,
            delivery_timeout_ms=SEND_MS_MAX,
        )

    def take(self) -> Taken | None:
        """Wait a little for the next message."""
        return next(self._poll(POLL_MS), None)

    def idle(self) -> None:
        """Stay a member of the group for a moment without reading on."""
        self._consumer.pause(*self._consumer.assignment())
        for taken in self._poll(IDLE_MS):
            self._consumer.seek(taken.place, taken.offset)  # of a partition that was assigned just now

    def _poll(self, wait_ms: int) -> Iterator[Taken]:
        topic, polled = self._ends.topic, {}
        with (
            suppress(RetriableError),
            self._told(f"read topic {topic}", f"Read on topic {topic} and on group {self._ends.group}"),
        ):
            polled = self._consumer.poll(wait_ms)
        return (Taken(place, each.offset, each.value) for place, found in polled.items() for each in found)

    def commit(self, taken: Taken) -> None:
        """Say that everything up to a message is done; if that fails it comes again, which does no harm."""
        if taken.place in self._consumer.assignment():
            with suppress(KafkaError):
                self._consumer.commit({taken.place: OffsetAndMetadata(taken.offset + 1, "", -1)}, SEND_MS_MAX)
        self._consumer.resume(*self._consumer.paused())

    def is_at_end(self) -> bool:
        """Whether all that is there was read, of the partitions that are ours."""
        own = self._consumer.assignment()
        if not own:
            return self._is_member_without_work()
        with suppress(KafkaError):
            ends = self._consumer.end_offsets(list(own), SEND_MS_MAX)
            return all((self._consumer.position(place, SEND_MS_MAX) or 0) >= end for place, end in ends.items())
        return False

    def _is_member_without_work(self) -> bool:
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def publish(self, status: Status) -> bool:
        """Send a status, trying again for as long as our patience lasts; return False if we are to stop before.

        Raises
        ------
        StateError
            If it never can be sent.
        ServiceUnavailableError
            If our patience is at its end.
        """
        topic, tries, until = self._ends.status_topic, 0, time.monotonic() + self._patience_s
        value = json.dumps(status_event(status)).encode()
        headers = [("content-type", CONTENT_TYPE.encode())]
        while not self._stopping.is_set():
            try:
                with self._told(f"write topic {topic}", f"Write on topic {topic}"):
                    sent = self._producer.send(topic, value, status.request_id.encode(), headers)
                    sent.get(SEND_MS_MAX / 1000)
                return True
            except RetriableError as error:
                if time.monotonic() >= until:
                    raise self.away(f"status {status.state} could not be sent: {type(error).__name__}") from None
                if tries % TELL_EVERY == 0:
                    _log.warning("status %s not sent yet: %s; trying again", status.state, type(error).__name__)
                tries += 1
                self.idle()
        return False

    def away(self, what: str) -> ServiceUnavailableError:
        """Say that Kafka does not do in time what it should."""
        return ServiceUnavailableError(
            what, where=f"kafka at {self._ends.bootstrap_servers}", remedy="check the servers, and run this again"
        )

    @contextmanager
    def _told(self, deed: str, right: str) -> Iterator[None]:
        where = f"kafka at {self._ends.bootstrap_servers}"
        try:
            yield
        except AuthorizationError:
            raise StateError(
                f"we have no right to {deed}", where=where, remedy=f"have {right} granted to this user"
            ) from None
        except RetriableError:
            raise
        except KafkaError as error:
            raise StateError(
                f"can't {deed}: {type(error).__name__}", where=where, remedy="look at the broker"
            ) from error

    def close(self) -> None:
        """Leave the group, waiting for nobody for long."""
        with suppress(KafkaError, OSError):
            self._producer.close(timeout=CLOSE_MS_MAX / 1000)
        with suppress(KafkaError, OSError):
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS_MAX)


@contextmanager
def open_channel(ends: Ends, stopping: threading.Event, patience_s: float = math.inf) -> Iterator[Channel]:
    """Make sure that both topics are there, and open both ends.

    Parameters
    ----------
    stopping
        Set when no more is to be tried.
    patience_s
        How long is waited for a Kafka that is away, once it was there.

    Raises
    ------
    StateError
        If a topic is missing.
    ServiceUnavailableError
        If no broker answers.
    """
    where = f"kafka at {ends.bootstrap_servers}"
    wanted = [ends.topic, ends.status_topic]
    there = topic_ids(ends.bootstrap_servers, wanted, security=ends.security)
    if missing := [topic for topic in wanted if topic not in there]:
        raise StateError(
            no_such(missing),
            where=where,
            remedy="run `driftline topics --create`, or name your own with --topic and --status-topic",
        )
    try:
        channel = Channel(ends, stopping, patience_s)
    except (KafkaError, OSError, ValueError) as error:
        what = f"can't be used: {type(error).__name__}"
        raise ServiceUnavailableError(
            what, where=where, remedy=f"it answered within {TIMEOUT_MS // 1000}s a moment ago"
        ) from None
    try:
        yield channel
    finally:
        channel.close()
