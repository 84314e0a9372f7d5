"""How is a fetch brought into Postgres, whatever is away and whoever refuses it?

It is tried until it is committed or fenced. While a service is away it waits and is tried again. A fetch that Postgres
refuses for what it holds is halved until the record is found; that one becomes a dead letter and the rest goes on.
Where Postgres refuses us, for want of a right or a table, no event is to blame: the worker ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from psycopg_pool import AsyncConnectionPool

from driftline.errors import DriftlineError, StateError
from driftline.events import DeadLetter, DeadReason, Decoded
from driftline.settings import Settings
from driftline.store.connection import SERVICE_TROUBLE, Connection, row
from streams.committing.commit import Committed, DeadLetterOf, Pipeline, Position, commit_fetch
from streams.committing.statuses import Statuses, commit_statuses, read_statuses
from streams.decode.decoder import Decoder
from streams.decode.payloads import kept_payload
from streams.faults import fault_of, one_line
from streams.health import Health
from streams.reading.positions import LogPositions
from streams.reading.transport import Fetch

_log = logging.getLogger("driftline.worker")

REFUSALS_MAX = 3
"""How often Postgres may refuse a fetch, or a record, before that is believed."""

ASK_DOCTOR = "run `driftline doctor`"

BURIED_IN_A_ROW_MAX = 100
"""After so many refused records without a good one between, events are not to blame."""

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


class Fetches:
    """Decodes and commits fetches; those of different partitions may be under way beside one another.

    Parameters
    ----------
    health
        Told what Postgres says while it is away.
    stopping
        Set when nothing is to be tried again.
    """

    def __init__(self, parts: WorkerParts, decoder: Decoder, health: Health, stopping: asyncio.Event) -> None:
        self._parts = parts
        self.decoder = decoder
        self._health = health
        self._stopping = stopping
        self._buried_in_a_row = 0

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
                self._health.trouble = one_line(error)
                if tries % 10 == 0:
                    _log.warning("postgres: %s; trying again", one_line(error))
                await self._pause(tries)
                tries += 1
                if self._stopping.is_set():
                    return _Fenced(fetch.start)

    def _refused(self, fetch: Fetch, error: Exception) -> _Refused:
        for model in self._parts.pipeline.models.values():
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
            return self.decoder.decode(fetch.topic, fetch.partition, fetch.records)
        shown = settings.privacy.dead_letter_payloads == "keep"
        return read_statuses(fetch.records, settings.limits, partial(self._letter, fetch), shows_values=shown)

    async def _commit(self, fetch: Fetch, decoded: Decoded | Statuses) -> _Fenced | None:
        async with self._parts.pool.connection() as connection:
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

    def _dead_letter_of(self, fetch: Fetch, decoded: Decoded) -> DeadLetterOf:
        def make(order: int, model: str, reason: DeadReason, detail: str) -> DeadLetter:
            index = int(decoded.record_of[order])
            element = int(order - np.searchsorted(decoded.record_of, index))
            return self._letter(fetch, index, element, model, reason, detail)

        return make

    def _letter(
        self, fetch: Fetch, index: int, element: int, model: str | None, reason: DeadReason, detail: str
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
        while not self._stopping.is_set():
            try:
                await self._commit(fetch, Decoded(dead=[letter]))
                return
            except SERVICE_TROUBLE as error:
                _log.warning("postgres: %s; trying again", one_line(error))
                await self._pause(len(BACK_OFF_S))

    async def _pause(self, tries: int) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)])
        except TimeoutError:
            return


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
