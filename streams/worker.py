"""What a worker does: commits fetches as they come, closes windows as time passes, and says how it is.

A fetch is tried until it is committed or fenced. While a service is away it waits and tries again. A fetch that
Postgres refuses for what it holds is halved until the record is found; that one becomes a dead letter and the rest goes
on. Where Postgres refuses us, for want of a right or a table, no event is to blame: the worker ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from driftline.errors import DriftlineError, StateError
from driftline.events import DeadLetter, Decoded, FeatureType
from driftline.settings import Settings
from driftline.store.connection import SERVICE_TROUBLE, Connection, row, run, timestamp
from retraining.words import decisions_in_words
from streams.commit import Committed, Pipeline, Position, commit_fetch
from streams.decode.decoder import Decoder
from streams.decode.payloads import kept_payload
from streams.decode.shapes import event_shape
from streams.evaluate import evaluate, evaluations_due
from streams.faults import fault_of, one_line
from streams.freeze import freeze_references, references_complete
from streams.health import Health
from streams.log_times import LogTimes, labels_apart
from streams.merging import merge_passed_panes
from streams.monitored import MonitoredModel
from streams.positions import LogPositions
from streams.statuses import Statuses, commit_statuses, read_statuses
from streams.tidy import drop_expired, drop_old_partitions, drop_old_rollups
from streams.transport import Fetch
from streams.watermarks import BEFORE_ALL_MS

_log = logging.getLogger("driftline.worker")

REFUSALS_MAX = 3
"""How often Postgres may refuse a fetch, or a record, before that is believed."""

STUCK_AFTER_S = 30.0
"""How long a partition may stand still where nothing else is configured."""

ASK_DOCTOR = "run `driftline doctor`"

BURIED_IN_A_ROW_MAX = 100
"""After so many refused records without a good one between, events are not to blame."""

FAILURES_TOLD_MAX = 5
"""Of so many models at most it is told at once what went wrong."""

BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is made of.

    Parameters
    ----------
    topics
        By model, the input topics that exist.
    """

    settings: Settings
    pool: AsyncConnectionPool[Connection]
    pipeline: Pipeline
    positions: LogPositions
    topics: Mapping[str, tuple[str, ...]]


class Worker:
    """One process's share of the work; everything it remembers can be lost."""

    def __init__(self, parts: WorkerParts, decoder: Decoder, health: Health | None = None) -> None:
        self._parts = parts
        self.health = health or Health(STUCK_AFTER_S)
        self._decoder = decoder
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}"
        self.stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._buried_in_a_row = 0
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

    def begin(self, fetch: Fetch) -> asyncio.Task[Decoded | Statuses]:
        """Begin to decode a fetch, in a thread of its own."""
        return asyncio.create_task(asyncio.to_thread(self._decode, fetch))

    async def process(self, fetch: Fetch, decoding: Awaitable[Decoded | Statuses] | None = None) -> int | None:
        """Commit a fetch.

        Parameters
        ----------
        decoding
            What has begun already.

        Returns
        -------
        None if it is committed; else the position where the log goes on, because another worker has read on or an
        earlier fetch failed.

        Raises
        ------
        StateError
            If Postgres refuses us, whatever we bring.
        """
        pending = [fetch]
        while pending:
            part = pending.pop(0)
            # That it is the fetch's fault is made sure of at first, and of the record in the end; between is a search.
            is_search = part is not fetch and len(part.records) > 1
            problem = await self._insist(part, 1 if is_search else REFUSALS_MAX, decoding if part is fetch else None)
            if problem is None:
                self._buried_in_a_row = 0
            elif isinstance(problem, _Fenced):
                return problem.position
            elif len(part.records) > 1:
                pending[:0] = _halves(part)
            else:
                await self._bury(part, problem.reason)
        return None

    async def _insist(
        self, fetch: Fetch, refusals_max: int, decoding: Awaitable[Decoded | Statuses] | None
    ) -> _Fenced | _Refused | None:
        """Try a fetch again that is refused, a few times."""
        for refusals in range(1, refusals_max):
            problem = await self._try(fetch, decoding)
            if not isinstance(problem, _Refused):
                return problem
            await self._pause(refusals)
            decoding = None
        return await self._try(fetch, decoding)

    async def _try(
        self, fetch: Fetch, decoding: Awaitable[Decoded | Statuses] | None = None
    ) -> _Fenced | _Refused | None:
        """Try to commit a fetch, for as long as a service is away; to commit changes what was decoded."""
        tries = 0
        while True:
            try:
                begun, decoding = decoding or self.begin(fetch), None
                return await self._commit(fetch, await begun)
            except DriftlineError:
                raise
            except Exception as error:
                fault = fault_of(error)
                if fault == "ours":
                    raise StateError(f"postgres refuses: {one_line(error)}", remedy=ASK_DOCTOR) from error
                if fault == "events":
                    return self._refused(fetch, error)
                self.health.trouble = one_line(error)
                if tries % 10 == 0:
                    _log.warning("postgres: %s; trying again", one_line(error))
                await self._pause(tries)
                tries += 1
                if self.stopping.is_set():
                    return _Fenced(fetch.start)

    def _refused(self, fetch: Fetch, error: Exception) -> _Refused:
        for model in self._models.values():
            model.partitions.clear()
        place, n = f"{fetch.topic}, partition {fetch.partition}, offset {fetch.start}", len(fetch.records)
        # The text of an error may quote a value.
        may_quote = self._parts.settings.privacy.dead_letter_payloads == "keep"
        reason = one_line(error) if may_quote else type(error).__name__
        _log.warning("%s, %s records: refused: %s", place, n, reason, exc_info=may_quote and n == 1)
        return _Refused(reason)

    def _decode(self, fetch: Fetch) -> Decoded | Statuses:
        settings = self._parts.settings
        if settings.kafka is None or fetch.topic != settings.kafka.topics.retraining_status:
            return self._decoder.decode(fetch.topic, fetch.partition, fetch.records)
        shown = settings.privacy.dead_letter_payloads == "keep"
        return read_statuses(fetch.records, settings.limits, partial(self._letter, fetch), shows_values=shown)

    async def _commit(self, fetch: Fetch, decoded: Decoded | Statuses) -> _Fenced | None:
        async with self._connection() as connection:
            if await self._commit_on(connection, fetch, decoded) is not None:
                return None
            at = await row(connection, "partition_position", topic=fetch.topic, partition=fetch.partition)
            if at is None:
                where = f"{fetch.topic}, partition {fetch.partition}"
                raise StateError("has no position in postgres any more", where=where, remedy="start the worker again")
            return _Fenced(int(at.next))

    async def _commit_on(self, connection: Connection, fetch: Fetch, decoded: Decoded | Statuses) -> Committed | None:
        pipeline, topic_id = self._parts.pipeline, self._parts.positions.topic_id(fetch.topic)
        position = Position(fetch.topic, fetch.partition, topic_id, fetch.start, fetch.next)
        if isinstance(decoded, Statuses):
            return await commit_statuses(connection, pipeline, position, decoded)
        record_ms = fetch.records.timestamps[decoded.record_of]
        make_letter = self._dead_letter_of(fetch, decoded)
        return await commit_fetch(connection, pipeline, position, decoded, record_ms, make_letter)

    def _dead_letter_of(self, fetch: Fetch, decoded: Decoded) -> Callable[[int, str, str, str], DeadLetter]:
        def make(order: int, model: str, reason: str, detail: str) -> DeadLetter:
            index = int(decoded.record_of[order])
            element = int(order - np.searchsorted(decoded.record_of, index))
            return self._letter(fetch, index, element, model, reason, detail)

        return make

    def _letter(
        self, fetch: Fetch, index: int, element: int, model: str | None, reason: str, detail: str
    ) -> DeadLetter:
        settings = self._parts.settings
        value, offset = fetch.records.values[index] or b"", int(fetch.records.offsets[index])
        bytes_max = settings.limits.dead_letter_payload_bytes_max
        payload = kept_payload(value, settings.privacy.dead_letter_payloads, bytes_max)
        return DeadLetter(reason, detail, model, fetch.topic, fetch.partition, offset, element, payload)

    async def _bury(self, fetch: Fetch, reason: str) -> None:
        """Commit a record that Postgres refuses as a dead letter.

        Raises
        ------
        StateError
            If so many were refused one after the other that the fault must be ours.
        """
        self._buried_in_a_row += 1
        if self._buried_in_a_row > BURIED_IN_A_ROW_MAX:
            where = f"{fetch.topic}, partition {fetch.partition}, offset {fetch.start}"
            raise StateError(f"record after record is refused: {reason}", where=where, remedy=ASK_DOCTOR)
        letter = self._letter(fetch, 0, 0, None, "refused_by_store", reason)
        while not self.stopping.is_set():
            try:
                await self._commit(fetch, Decoded(dead=[letter]))
                return
            except SERVICE_TROUBLE as error:
                _log.warning("postgres: %s; trying again", one_line(error))
                await self._pause(len(BACK_OFF_S))

    async def _pause(self, tries: int) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)])
        except TimeoutError:
            return

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
        unknown = [self._models[name] for name, shape in self._decoder.shapes.items() if shape.features is None]
        if not unknown:
            return
        in_force = await self._parts.pipeline.profiles.in_force(connection, unknown)
        shapes = dict(self._decoder.shapes)
        for model in unknown:
            for (model_id, _), profile_id in in_force.items():
                if model_id == model.model_id:
                    layout = await self._parts.pipeline.profiles.layout(connection, profile_id)
                    types = [FeatureType(f.name, f.kind) for f in layout.profile.features if f.name[:1] != "@"]
                    shapes[model.name] = event_shape(model.name, model.settings, types)
        self._decoder = replace(self._decoder, shapes=shapes)

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


@dataclass(frozen=True, slots=True)
class _Fenced:
    """The log goes on somewhere else."""

    position: int


@dataclass(frozen=True, slots=True)
class _Refused:
    """Postgres, or we, can't take what the fetch holds."""

    reason: str


def _halves(fetch: Fetch) -> list[Fetch]:
    middle = len(fetch.records) // 2
    cut = int(fetch.records.offsets[middle])
    return [
        replace(fetch, next=cut, records=fetch.records.part(0, middle)),
        replace(fetch, start=cut, records=fetch.records.part(middle, len(fetch.records))),
    ]
