"""A Faust transport that hands over each partition's whole fetch as one message, and goes on where Postgres says.

Faust finds it by the URL scheme `driftline://`. Groups, rebalances, heartbeats and back-pressure are Faust's; here is
only what differs: one message a fetch instead of one a record, and positions from the store instead of from Kafka.

Offsets may have gaps that are no loss (transaction markers, compaction), so a gap proves nothing. What counts is the
position a fetch was read from: it is known here, travels with the fetch, and must be what Postgres holds when the
fetch is committed. So that it is known, a seek only ever happens between two answers of the broker: who wants one puts
it down in `_wanted`, and an answer that was under way meanwhile is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import AppT
from faust.types.tuples import TP, ConsumerMessage
from mode.types import ServiceT

from streams.decode.messages import Records
from streams.reading.slices import Bounds, next_slice

_log = logging.getLogger("driftline.transport")

RETRY_S = 0.1
REACHED_S = 1.0
POSITION_S_MAX = 2.0
FETCH_WAIT_MS_MAX = 100
ROOM_S = 0.01
BUFFER_SHARE = 2
"""Faust's buffer is so many times what we let wait in it."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What one fetch brought of one partition, or a slice of it.

    Parameters
    ----------
    start
        The position it was read from.
    next
        The position behind its last record.
    """

    topic: str
    partition: int
    start: int
    next: int
    records: Records


class Positions(Protocol):
    """Knows where the log goes on."""

    async def resume(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Return where each newly assigned partition goes on."""


_POSITIONS: WeakKeyDictionary[AppT, Positions] = WeakKeyDictionary()
_BOUNDS: WeakKeyDictionary[AppT, Bounds] = WeakKeyDictionary()


def set_reading(app: AppT, positions: Positions, bounds: Bounds) -> None:
    """Say who knows where an application's log goes on, and how much is taken of it at a time; before it is started."""
    _POSITIONS[app], _BOUNDS[app] = positions, bounds


def positions_of(app: AppT) -> Positions:
    """Return who knows where an application's log goes on."""
    return _POSITIONS[app]


class CommittedOnlyThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread; no transaction that was taken back is read, no broker waited for long."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers this only together with transactions of its own, which are not used here.
        consumer._isolation_level = "read_committed"
        # Faust waits 1.5 s. Meanwhile a broker is asked for nothing else, so quiet partitions would hold up busy ones.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX
        # Faust bounds what comes of each partition, not what comes of all together.
        consumer._fetch_max_bytes = self.app.conf.consumer_max_fetch_size
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """Return the next records of one partition as columns; called in the thread that speaks with the broker."""
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            return await next_slice(fetcher, active_partitions, timeout, _BOUNDS[self.app])

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit positions to Kafka; a failure, for which Faust would end, does no harm."""
        assigned = self.assignment()
        own = {driver.ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items() if tp in assigned}
        try:
            if own:  # what was taken away from us is for its new owner to tell
                await self._ensure_consumer().commit(own)
        except KafkaError as error:
            _log.debug("positions were not committed to Kafka: %s", error)
            return False
        return True


class WholeFetchConsumer(driver.Consumer):
    """Faust's consumer, with whole fetches for messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[TP, int] = {}
        """Position behind the last fetch handed over."""
        self._wanted: dict[TP, int] = {}
        """Where to read on before the broker is asked again."""
        self._placed = True
        """Whether Postgres was asked where the assigned partitions go on."""
        self._told_of: set[TP] = set()
        """The partitions that were last told to be read."""
        self._committed: dict[TP, int] = {}
        """What Kafka was not told yet of what is in Postgres."""
        self._reached: dict[TP, tuple[int, int]] = {}
        self._reached_at = 0.0
        self.buffer: asyncio.Queue[Any] | None = None
        """Where fetches wait for the agent, once it has started."""

    def _new_consumer_thread(self) -> CommittedOnlyThread:
        return CommittedOnlyThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield each partition's whole fetch."""
        try:
            await self._place()
            await self._seek_wanted()
            await self._note_reached()
            answer, active = await self._wait_next_records(timeout)
        except IllegalStateError:
            # A partition was taken away just now; where the others were sought to is not known.
            self._placed = False
            await self.sleep(RETRY_S)
            return
        except NoOffsetForPartitionError:
            # Kafka's own offsets are not used: a partition has no position until Postgres gave it one.
            await self.sleep(RETRY_S)
            return
        except OffsetOutOfRangeError:
            # The log was cut off in front of us: Postgres and the broker are compared anew.
            await self.seek_to_committed()
            return
        if not answer or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        generation_id = self.app.consumer_generation_id
        records: Records
        for partition, records in cast(Any, answer).items():
            await self._wait_for_room()
            tp = TP(partition.topic, partition.partition)
            start = self._next.get(tp)
            if start is None or tp in self._wanted:
                continue
            is_current = self.flow_active and self.app.consumer_generation_id == generation_id
            if not is_current or (active is not None and tp not in active):
                self._wanted[tp] = start
                continue
            last = int(records.offsets[-1])
            self._next[tp] = last + 1
            fetch = Fetch(tp.topic, tp.partition, start, last + 1, records)
            yield (
                tp,
                ConsumerMessage(
                    tp.topic,
                    tp.partition,
                    last,
                    int(records.timestamps[-1]) / 1000,
                    0,
                    None,
                    None,
                    cast(Any, fetch),
                    None,
                    None,
                    None,
                    tp,
                    generation_id=generation_id,
                ),
            )

    async def _wait_for_room(self) -> None:
        """Wait until the agent has taken enough, so that Faust's own flow control never acts.

        That leaves out one partition after the other until the queue is short for once: in a catch-up some would be
        read to their ends before others went on, and the watermark would stand still.
        """
        while self.buffer is not None and self.flow_active and not self.should_stop:
            if self.buffer.qsize() < self.app.conf.stream_buffer_maxsize // BUFFER_SHARE:
                return
            await self.sleep(ROOM_S)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Forget all positions, so that `getmany` asks for them; called by Faust when partitions are assigned.

        Asking belongs there because Faust waits here for a while only, and Postgres may be away for longer.
        """
        self._next.clear()
        self._wanted.clear()
        self._placed = False
        return {}

    async def _place(self) -> None:
        """Ask where the partitions go on, if they were assigned since the last time."""
        while not self._placed:
            self._placed = True
            held = self._held()
            try:
                self._wanted = dict(await positions_of(self.app).resume(held))
                self._committed |= self._wanted  # else lag tools see what has moved as unread until its next record
            except BaseException:
                self._placed = False
                raise
            if held != self._told_of:
                shares = Counter(tp.topic for tp in sorted(held))
                told = ", ".join(f"{n} of {topic}" for topic, n in shares.items())
                _log.info("reading %s", f"partitions: {told}" if told else "no partition")
            self._told_of = held

    async def _seek_wanted(self) -> None:
        wanted, self._wanted = self._wanted, {}
        own = self._held()
        held = {tp: offset for tp, offset in wanted.items() if tp in own}
        if held:
            await self.seek_wait(held)
            # Whoever wants another position by now gets it the next time.
            self._next.update({tp: offset for tp, offset in held.items() if tp not in self._wanted})

    async def _note_reached(self) -> None:
        """Note how far the client is, while no answer is under way.

        The client waits, for ever if need be, for a position that a rebalance took away; but the next comes from us.
        What a rebalance changes meanwhile is not noted.
        """
        now = self.loop.time()
        if now - self._reached_at >= REACHED_S:
            held = {tp: start for tp, start in self._next.items() if self.holds(tp)}
            self._reached = {}
            with suppress(TimeoutError):
                async with asyncio.timeout(POSITION_S_MAX):
                    found = {tp: (start, await self.position(tp) or 0) for tp, start in held.items()}
                    self._reached = {tp: at for tp, at in found.items() if self._next.get(tp) == at[0]}
            self._reached_at = now

    def reached(self, tp: TP) -> tuple[int, int]:
        """Return the position behind the last fetch handed over, and how far the client is beyond it.

        They differ where the log ends with what is no record: markers of transactions, or what compaction left.
        """
        return self._reached.get(tp, (-1, -1))

    def go_to(self, tp: TP, offset: int) -> None:
        """Read on from an offset, from the next answer on."""
        self._wanted[tp] = offset

    def note_committed(self, tp: TP, position: int) -> None:
        """Note that everything before a position is in Postgres."""
        self._committed[tp] = position

    async def force_commit(self, topics: object = None, start_new_transaction: bool = True) -> bool:
        """Tell Kafka what is in Postgres, now and then: a hint for lag tools, which nothing here reads."""
        committed, self._committed = self._committed, {}
        if not committed:
            return False
        with suppress(RuntimeError):  # the thread has ended
            if await self._commit(committed):
                return True
        self._committed = committed | self._committed
        return False

    def is_active(self, tp: TP) -> bool:
        """Tell whether a partition is being read."""
        return tp in self._get_active_partitions()

    def is_paused(self, tp: TP) -> bool:
        """Tell whether a partition is assigned but not being read."""
        return tp in self._paused_partitions

    @property
    def is_placed(self) -> bool:
        """Whether partitions were assigned, perhaps none, and Postgres has said where they go on."""
        return self._placed and self.app.consumer_generation_id > 0

    def holds(self, tp: TP) -> bool:
        """Tell whether a partition is assigned to this worker."""
        return tp in self._held()

    def _held(self) -> set[TP]:
        return {TP(own.topic, own.partition) for own in self.assignment()}

    @property
    def is_alive(self) -> bool:
        """Whether the thread that speaks with the broker still runs, or was not started yet."""
        thread = self._thread._thread
        return thread is None or thread.is_alive()

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Read until told to stop; what else ends it is an error, also a cancelled request, which Faust ignores."""
        try:
            await super()._drain_messages(fetcher)
        except asyncio.CancelledError as error:
            if self.should_stop or fetcher.should_stop:
                raise
            raise RuntimeError("reading was cancelled") from error


class Transport(driver.Transport):
    """What the scheme `driftline://` stands for."""

    Consumer = WholeFetchConsumer
