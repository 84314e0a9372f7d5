"""A worker to which a test hands the log of one topic, fetch by fetch, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg

from driftline.kafka_admin import PartitionEnds, TopicInfo
from driftline.settings import PostgresSettings
from driftline.store.connection import Connection, open_pool
from streams.committing.fetches import WorkerParts
from streams.reading.positions import LogPositions
from streams.reading.transport import Fetch
from streams.worker import Worker
from tests.support.events import Message, records
from tests.support.live import rows_of
from tests.support.pipelines import END_MS, START_MS, Lab, json_bytes, lab, settings_of

TOPIC = "predictions"
CLOSED = "select (extract(epoch from closed_through) * 1000)::bigint from driftline.evaluation"


class NoBroker:
    """Answers nothing: tests hand over fetches themselves."""

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        raise AssertionError("nobody asks")

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        return {place: PartitionEnds(0, 0) for place in partitions}


@dataclass
class Desk:
    """A worker, and the log of one topic that it reads."""

    parts: WorkerParts
    made: Lab
    url: str

    @cached_property
    def worker(self) -> Worker:
        return Worker(self.parts, self.made.decoder)

    async def read(
        self, start: int, *events: dict[str, Any], partition: int = 0, record_ms: int = END_MS
    ) -> int | None:
        """Hand over a fetch that begins at an offset."""
        named = (json_bytes({"model": "m"} | event) for event in events)
        fetched = records(*(Message(value, (), offset, record_ms) for offset, value in enumerate(named, start)))
        return await self.worker.fetches.process(Fetch(TOPIC, partition, start, start + len(fetched), fetched))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return rows_of(self.url, query)

    def do(self, statement: str) -> None:
        """Change the store behind the worker's back."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def counted(self) -> dict[str, int]:
        return dict(self.rows("select reason, sum(n)::int from driftline.v_counts group by 1"))

    def dead(self) -> list[tuple[Any, ...]]:
        return self.rows("select record_offset, reason, model, payload from driftline.v_dead_letters order by 1")

    def position(self, partition: int = 0) -> int:
        [(position,)] = self.rows(f"select next from driftline.stream_offset where partition = {partition}")
        return int(position)

    async def ends(self, ends: Mapping[int, int], before_answering: Callable[[], None] = lambda: None) -> None:
        """Let the worker look, twice, at how far the logs of its partitions reach: idle needs a second look."""

        def answer() -> dict[tuple[str, int], int]:
            before_answering()
            return {(TOPIC, partition): end for partition, end in ends.items()}

        for _ in range(2):
            await self.worker.note_ends(answer, lambda topic, partition: (-1, -1))
            await asyncio.sleep(0.01)

    async def closed_through(self) -> int | None:
        """Let the worker close what it may, and return up to when, in milliseconds from `START_MS`."""
        await self.worker.close_windows()
        found = self.rows(CLOSED)
        return int(found[0][0]) - START_MS if found and found[0][0] is not None else None


@asynccontextmanager
async def a_desk(connection: Connection, url: str, partitions: int, **model: Any) -> AsyncIterator[Desk]:
    made = await lab(connection, model)
    info = {TOPIC: TopicInfo("first", partitions)}
    async with open_pool(url, PostgresSettings.model_validate({"url": url, "connect_timeout": "2s"})) as pool:
        positions = LogPositions(pool, NoBroker(), info)
        await positions.register(info)
        parts = WorkerParts(settings_of("m", model), pool, made.pipeline, positions, {"m": (TOPIC,)})
        yield Desk(parts, made, url)
