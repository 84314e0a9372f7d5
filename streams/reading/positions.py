"""Where does the log go on? Postgres says, and the broker is asked whether that can be.

A partition is registered, at its earliest record, before anything reads it, so that it holds its models' watermark back
from the beginning. A position behind the broker's earliest record is a loss: counted, told, skipped. A position
beyond the end, or a topic with another id, is not the log that was read before: nothing goes on until somebody looks.
A topic can be made anew while it is read, without any error of the broker: it has to be looked at again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from faust.types.tuples import TP
from psycopg_pool import AsyncConnectionPool

from driftline.errors import ConfigurationError, DriftlineError, ServiceUnavailableError, StateError
from driftline.kafka_admin import PartitionEnds, TopicInfo
from driftline.store.connection import SERVICE_TROUBLE, Connection, bounded, row, run
from streams.faults import one_line
from streams.reading.losses import NOBODY, Audience, Loss, note_loss

_log = logging.getLogger("driftline.positions")

RETRY_S = 1.0

ABSENT_LOOKS_MAX = 5
"""How often in a row a topic may be missing: a broker that has just started may not know all of its topics yet."""

RECREATED = "if it was recreated on purpose, delete its rows from driftline.stream_offset"


class Broker(Protocol):
    """What is asked of the broker; blocking calls."""

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """Describe those of the topics that exist."""

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        """Say how far logs reach."""


class LogPositions:
    """The positions of all input partitions.

    Parameters
    ----------
    topics
        The topics to be read, as they were found when this process started.
    audience
        Who is told of records that are lost.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Connection],
        broker: Broker,
        topics: Mapping[str, TopicInfo],
        audience: Audience = NOBODY,
    ) -> None:
        self._audience = audience
        self._pool = pool
        self._broker = broker
        self._topics = dict(topics)
        self._absent: Counter[str] = Counter()
        self.fatal: DriftlineError | None = None
        """Why nothing can go on, once that is known."""

    def topic_id(self, topic: str) -> str:
        """Return what tells a topic from an earlier one of the same name; empty where the broker does not say."""
        return self._topics[topic].topic_id

    async def register(self, topics: Mapping[str, TopicInfo]) -> None:
        """Register every partition of some topics."""
        partitions = [(name, number) for name, info in topics.items() for number in range(info.partitions)]
        ends = await asyncio.to_thread(self._broker.ends, partitions)
        async with self._pool.connection() as connection:
            for (topic, partition), end in ends.items():
                await self._register(connection, topic, partition, end)

    async def _register(self, connection: Connection, topic: str, partition: int, end: PartitionEnds) -> None:
        await run(
            connection,
            "register_partition",
            topic=topic,
            partition=partition,
            topic_id=self.topic_id(topic),
            next=end.earliest,
        )

    async def look(self) -> None:
        """Look whether the topics are still the ones that were found; if not, `fatal` says so.

        Partitions that were added are registered, so that they hold the watermark back before anybody reads them.

        Raises
        ------
        ServiceUnavailableError
            If the broker does not say.
        """
        found = await asyncio.to_thread(self._broker.topics, list(self._topics))
        for topic, known in self._topics.items():
            now = found.get(topic)
            self._absent[topic] = 0 if now else self._absent[topic] + 1
            if self._absent[topic] >= ABSENT_LOOKS_MAX:
                self.fatal = StateError(
                    "is gone", where=topic, remedy="run `driftline topics --create`, then start again"
                )
            elif now and known.topic_id and now.topic_id not in ("", known.topic_id):
                self.fatal = _another_topic(topic, now.topic_id, known.topic_id)
        grown = {topic: now for topic, now in found.items() if now.partitions > self._topics[topic].partitions}
        if grown and self.fatal is None:
            await self.register(grown)
            self._topics |= grown

    async def resume(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Return where each partition goes on; nowhere once a log is not the one that was read before: see `fatal`."""
        assigned = list(partitions)
        told = ""
        while self.fatal is None:
            try:
                await self.look()
                return await self._resume(assigned)
            except StateError as error:
                self.fatal = error
            except (ServiceUnavailableError, ConfigurationError, *SERVICE_TROUBLE) as error:
                if told != (why := one_line(error)):
                    _log.warning("can't tell yet where to go on: %s", why)
                told = why
                await asyncio.sleep(RETRY_S)
        return {}

    async def _resume(self, assigned: list[TP]) -> dict[TP, int]:
        ends = await asyncio.to_thread(self._broker.ends, [(tp.topic, tp.partition) for tp in assigned])
        async with self._pool.connection() as connection:
            return {
                tp: await self._position(connection, tp.topic, tp.partition, ends[tp.topic, tp.partition])
                for tp in assigned
            }

    async def _position(self, connection: Connection, topic: str, partition: int, end: PartitionEnds) -> int:
        await self._register(connection, topic, partition, end)
        at = await row(connection, "partition_position", topic=topic, partition=partition)
        where, known_id = f"{topic}, partition {partition}", self.topic_id(topic)
        if at.topic_id and known_id and at.topic_id != known_id:
            raise _another_topic(where, known_id, at.topic_id)
        if at.next > end.end:
            raise StateError(f"ends at offset {end.end}, but was read up to {at.next}", where=where, remedy=RECREATED)
        if at.next >= end.earliest:
            return int(at.next)
        return await self._skip_lost(connection, topic, partition, at, end.earliest)

    async def _skip_lost(self, connection: Connection, topic: str, partition: int, at: Any, earliest: int) -> int:
        start = int(at.next)
        async with bounded(connection):
            skipped = await run(
                connection, "skip_lost_records", topic=topic, partition=partition, start=start, next=earliest
            )
            if skipped:
                _log.error(
                    "%s, partition %s: records %s to %s were deleted before they were read; they are lost",
                    topic,
                    partition,
                    start,
                    earliest - 1,
                )
                loss = Loss(topic, self.topic_id(topic), partition, start, earliest, at.newest_event)
                await note_loss(connection, loss, self._audience)
        at = await row(connection, "partition_position", topic=topic, partition=partition)
        return int(at.next)


def _another_topic(where: str, topic_id: str, was: str) -> StateError:
    return StateError(
        f"is another topic than the one that was read before (id {topic_id}, was {was})", where=where, remedy=RECREATED
    )
