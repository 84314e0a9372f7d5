"""A Faust transport that hands over each partition's whole fetch as one message, and goes on where Postgres says.

Faust finds it by the URL scheme `driftline://`. Groups, rebalances, heartbeats and back-pressure are Faust's; here is
only what differs: one message a fetch instead of one a record, and positions from the store instead of from Kafka.

Offsets may have gaps that are no loss (transaction markers, compaction), so a gap proves nothing. What counts is the
position a fetch was read from: it is known here, travels with the fetch, and must be what Postgres holds when the
fetch is committed. A fetch that was under way during a seek is dropped, since nobody can tell where it was read from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from faust.transport.drivers import aiokafka as driver
from faust.types import AppT
from faust.types.tuples import TP, ConsumerMessage

from streams.messages import Record


@dataclass(frozen=True, slots=True)
class Fetch:
    """What one fetch brought of one partition.

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
    records: Sequence[Record]


class Positions(Protocol):
    """Knows where the log goes on."""

    async def resume(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Return where each newly assigned partition goes on."""


_POSITIONS: WeakKeyDictionary[AppT, Positions] = WeakKeyDictionary()


def set_positions(app: AppT, positions: Positions) -> None:
    """Say who knows where an application's log goes on; before it is started."""
    _POSITIONS[app] = positions


def positions_of(app: AppT) -> Positions:
    """Return who knows where an application's log goes on."""
    return _POSITIONS[app]


class WholeFetchConsumer(driver.Consumer):
    """Faust's consumer, with whole fetches for messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[TP, int] = {}
        """Position behind the last fetch handed over."""
        self._asked = 0
        """How often the broker was asked for records."""
        self._valid_from: dict[TP, int] = {}
        """Number of the first answer that was asked for after the last seek."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield each partition's whole fetch."""
        asked = self._asked
        self._asked += 1
        answer, active = await self._wait_next_records(timeout)
        if not answer or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        generation_id = self.app.consumer_generation_id
        for partition, records in answer.items():
            if not self.flow_active or self.app.consumer_generation_id != generation_id:
                return
            tp = TP(partition.topic, partition.partition)
            start = self._next.get(tp)
            is_ours = active is None or tp in active
            if not records or not is_ours or start is None or asked < self._valid_from.get(tp, 0):
                continue
            last = records[-1]
            self._next[tp] = last.offset + 1
            fetch = Fetch(tp.topic, tp.partition, start, last.offset + 1, records)
            yield (
                tp,
                ConsumerMessage(
                    tp.topic,
                    tp.partition,
                    last.offset,
                    last.timestamp / 1000,
                    last.timestamp_type,
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

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go on where Postgres says; called by Faust when partitions are assigned."""
        assigned = {TP(tp.topic, tp.partition) for tp in self.assignment()}
        for tp in set(self._next) - assigned:
            del self._next[tp]
        resumed: Mapping[TP, int] = await positions_of(self.app).resume(assigned)
        for tp, offset in resumed.items():
            await self.go_to(tp, offset)
        return resumed

    async def go_to(self, tp: TP, offset: int) -> None:
        """Read on from an offset; fetches that are under way are dropped."""
        self._next.pop(tp, None)
        await self.seek_wait({tp: offset})
        self._valid_from[tp] = self._asked
        self._next[tp] = offset

    def holds(self, tp: TP) -> bool:
        """Tell whether a partition is assigned to this worker."""
        return tp in {TP(own.topic, own.partition) for own in self.assignment()}


class Transport(driver.Transport):
    """What the scheme `driftline://` stands for."""

    Consumer = WholeFetchConsumer
