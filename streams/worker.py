"""What a worker does: commits fetches as they come, closes windows as time passes, and says how it is."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import chain

from psycopg.types.json import Jsonb

from driftline.events import FeatureType
from driftline.store.connection import SERVICE_TROUBLE, Connection, run, timestamp
from retraining.words import decisions_in_words
from streams.closing.due import evaluations_due
from streams.closing.evaluate import evaluate
from streams.closing.tidy import drop_expired, drop_old_partitions, drop_old_rollups
from streams.committing.fetches import Fetches, WorkerParts
from streams.committing.merging import merge_passed_panes
from streams.decode.decoder import Decoder
from streams.decode.shapes import event_shape
from streams.faults import one_line
from streams.health import Health
from streams.monitored import MonitoredModel
from streams.reading.log_times import LogTimes, labels_apart
from streams.references.freeze import freeze_references, references_complete
from streams.watermarks import BEFORE_ALL_MS

_log = logging.getLogger("driftline.worker")

STUCK_AFTER_S = 30.0
"""How long a partition may stand still where nothing else is configured."""

FAILURES_TOLD_MAX = 5
"""Of so many models at most it is told at once what went wrong."""


class Worker:
    """One process's share of the work; everything it remembers can be lost."""

    def __init__(self, parts: WorkerParts, decoder: Decoder, health: Health | None = None) -> None:
        self._parts = parts
        self.health = health or Health(STUCK_AFTER_S)
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}"
        self.stopping = asyncio.Event()
        self.fetches = Fetches(parts, decoder, self.health, self.stopping)
        self._failure: BaseException | None = None
        self._merged_through: dict[str, int] = {}

    @property
    def failure(self) -> BaseException | None:
        """Why nothing can go on, if so."""
        return self._failure or self._parts.positions.fatal

    def fail(self, error: BaseException) -> None:
        """Stop, because nothing can go on."""
        self._failure = error
        self.stopping.set()

    @property
    def _models(self) -> Mapping[str, MonitoredModel]:
        return self._parts.pipeline.models

    def _connection(self) -> AbstractAsyncContextManager[Connection]:
        return self._parts.pool.connection()

    async def close_windows(self) -> None:
        """Close and restate whatever the watermarks allow, for every model that has anything to close."""
        async with self._connection() as connection:
            watermarks = await self._watermarks(connection)
            due = await evaluations_due(connection, self._models.values(), watermarks)
            due |= await references_complete(connection, self._models.values())
        await self._for_each_model(watermarks, self._close_windows_of, due)

    async def _close_windows_of(self, connection: Connection, model: MonitoredModel, watermark_ms: int) -> None:
        profiles, limits = self._parts.pipeline.profiles, self._parts.settings.limits
        await freeze_references(connection, profiles, model, watermark_ms, categories_max=limits.categories_max)
        is_behind = True
        while is_behind and not self.stopping.is_set():
            done = await evaluate(connection, profiles, model, watermark_ms)
            for line in decisions_in_words(done.decided):
                _log.info("%s", line)
            is_behind = done.behind

    async def merge_panes(self) -> None:
        """Merge what fetches left of panes that passed the watermark, so that what waits for its slide is bounded."""
        async with self._connection() as connection:
            watermarks = await self._watermarks(connection)
        await self._for_each_model(watermarks, self._merge_panes_of, self._models)

    async def _merge_panes_of(self, connection: Connection, model: MonitoredModel, watermark_ms: int) -> None:
        from_ms = self._merged_through.get(model.name, BEFORE_ALL_MS)
        merged_ms = await merge_passed_panes(connection, self._parts.pipeline.profiles, model, from_ms, watermark_ms)
        if merged_ms is not None:
            self._merged_through[model.name] = merged_ms

    async def _for_each_model(
        self,
        watermarks: Mapping[str, int | None],
        do: Callable[[Connection, MonitoredModel, int], Awaitable[None]],
        names: Container[str],
    ) -> None:
        """Do something for some models, if they have a watermark; one that fails holds up no other one."""
        failures: list[str] = []
        for name, watermark_ms in watermarks.items():
            if watermark_ms is None or name not in names:
                continue
            try:
                async with self._connection() as connection:
                    await do(connection, self._models[name], watermark_ms)
            except SERVICE_TROUBLE:
                raise
            except Exception as error:
                _log.debug("%s", name, exc_info=error)
                failures.append(f"{name}: {one_line(error)}")
        if failures:
            raise RuntimeError("; ".join(failures[:FAILURES_TOLD_MAX]))

    async def _watermarks(self, connection: Connection) -> dict[str, int | None]:
        times = await self._log_times(connection)
        return {
            name: times.watermark(self._parts.topics[name], model.settings.windows.out_of_orderness_ms)
            for name, model in self._models.items()
        }

    async def _log_times(self, connection: Connection) -> LogTimes:
        return await LogTimes.read(connection, chain.from_iterable(self._parts.topics.values()))

    async def note_ends(
        self, ends: Callable[[], Mapping[tuple[str, int], int]], reached: Callable[[str, int], tuple[int, int]]
    ) -> None:
        """Record how far the broker's logs reach; a partition that is read to its end is idle after a while.

        Parameters
        ----------
        ends
            Asks the broker for the ends of this worker's partitions; blocking.
        reached
            Tells the position behind the last fetch of a partition, and how far the client is beyond it.
        """
        async with self._connection() as connection:
            times = await self._log_times(connection)
        newest = {topics: times.newest(topics) for topics in set(self._parts.topics.values())}
        # The ends are asked for after the newest events were read, so "read to the end" is about all of them.
        found = await asyncio.to_thread(ends)
        async with self._connection() as connection:
            for (topic, partition), end in found.items():
                read_from, read_to = reached(topic, partition)
                owners = [name for name, topics in self._parts.topics.items() if topic in topics]
                read_with = {self._parts.topics[name] for name in owners}
                elsewhere = [ms for topics in read_with if (ms := newest[topics]) is not None]
                idle_ms = max((self._models[name].settings.windows.idle_after_ms for name in owners), default=0)
                await run(
                    connection,
                    "note_end_offset",
                    topic=topic,
                    partition=partition,
                    end_offset=end,
                    read_from=read_from,
                    read_to=read_to,
                    idle_after_s=idle_ms / 1000,
                    newest_elsewhere=timestamp(min(elsewhere)) if elsewhere else None,
                )

    async def labels_too_far_ahead(self) -> set[tuple[str, int]]:
        """Return the partitions that carry nothing but labels and are to wait for the predictions."""
        pairs = labels_apart(map(self._parts.settings.input_topics, self._models))
        async with self._connection() as connection:
            return (await LogTimes.read(connection, chain.from_iterable(pairs))).labels_ahead(pairs)

    async def beat(self, state: str, partitions: list[tuple[str, int]]) -> None:
        """Say that this worker is alive, and learn what other workers froze."""
        async with self._connection() as connection:
            await run(
                connection,
                "beat",
                worker_id=self.worker_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                state=state,
                partitions=Jsonb([list(partition) for partition in partitions]),
            )
            await self._learn_types(connection)

    async def _learn_types(self, connection: Connection) -> None:
        """Decode straight to columns once a model's reference is frozen."""
        decoder = self.fetches.decoder
        unknown = [self._models[name] for name, shape in decoder.shapes.items() if shape.features is None]
        if not unknown:
            return
        in_force = await self._parts.pipeline.profiles.in_force(connection, unknown)
        shapes = dict(decoder.shapes)
        for model in unknown:
            for (model_id, _), profile_id in in_force.items():
                if model_id == model.model_id:
                    layout = await self._parts.pipeline.profiles.layout(connection, profile_id)
                    types = [FeatureType(f.name, f.kind) for f in layout.profile.features if f.name[:1] != "@"]
                    shapes[model.name] = event_shape(model.name, model.settings, types)
        self.fetches.decoder = replace(decoder, shapes=shapes)

    async def tidy(self) -> None:
        """Drop what no label and no window can reach any more, and what was kept for long enough."""
        async with self._connection() as connection:
            await run(connection, "forget_workers")
            watermarks = await self._watermarks(connection)
        await self._for_each_model(watermarks, drop_old_rollups, self._models)
        async with self._connection() as connection:
            await drop_old_partitions(connection, self._models, watermarks)
            statuses = [kafka.topics.retraining_status] if (kafka := self._parts.settings.kafka) else []
            inputs = {*statuses, *chain.from_iterable(self._parts.topics.values())}
            await drop_expired(connection, self._parts.settings.retention, self._models, watermarks, inputs)
