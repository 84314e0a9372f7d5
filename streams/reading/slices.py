"""How much of what the Kafka client has fetched is handed over at a time? One partition's records, up to so many bytes.

The client by itself would make an object of each record of all partitions at once, and ask for more before these are
taken. Here it asks a broker again only when all that this one sent is taken, so what waits in the client is one answer
of each broker, as it came, and at most `kafka.fetch_bytes_max` (or one larger message). Records become columns. Of a
message that is too large to be used only the beginning goes on, so that no two of them are there at once.

An answer comes in few pieces: for each this thread has to wait for its turn with the interpreter, which decoding
and committing keep busy. In dozens of pieces, as by default, waiting takes several times as long as receiving. And an
answer goes when it is handled; the client by itself holds it until the next one is there.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType

import numpy as np
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.structs import TopicPartition

from streams.decode.messages import CutMessage, Records

RECORD_BYTES = 64
"""What a record takes besides its value."""

PIECE_BYTES = 4 * 1024 * 1024
"""So much of an answer the kernel may hold for us, and we take at a time."""

SLICE_SHARE = 1.25
"""A slice may be so many times an answer, which counts less than `RECORD_BYTES`, so that few are cut in two."""

_FOR_EVER_S = 1e6


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken at a time.

    Parameters
    ----------
    answer_bytes_max
        What an answer may have at most; if its records take much more, they come in several slices.
    value_bytes_max
        What is kept of a message: more than any that can be used has.
    """

    answer_bytes_max: int
    value_bytes_max: int

    @property
    def slice_bytes(self) -> int:
        """What the records of a slice take, but for the last one."""
        return int(self.answer_bytes_max * SLICE_SHARE)


async def next_slice(
    fetcher: Any, active: Collection[TopicPartition] | None, timeout_s: float | None, bounds: Bounds
) -> dict[TopicPartition, Records]:
    """Return the next records of one partition, or nothing if none come in time.

    Parameters
    ----------
    fetcher
        The client's, in whose thread this runs.
    active
        The partitions to read; the others are paused. None for all.

    Raises
    ------
    KafkaError
        What the broker said of a partition.
    """
    fetcher._prefetch_backoff = _FOR_EVER_S
    _receive_in_few_pieces(fetcher._client)
    subscriptions = fetcher._subscriptions
    if subscriptions.reassignment_in_progress:
        await subscriptions.wait_for_assignment()
    subscription = subscriptions.subscription
    if active is not None and subscription is not None and subscription.assignment is not None:
        _pause_all_but(active, subscription.assignment)
    taken = _take(fetcher, active, bounds)
    if taken or not timeout_s:
        return taken
    waiter = fetcher._create_fetch_waiter()
    done, _ = await asyncio.wait([waiter], timeout=timeout_s)
    if not done:
        waiter.cancel()
        return {}
    waiter.result()  # what the coordinator can't go on with
    return {} if fetcher._closed else _take(fetcher, active, bounds)


async def _read_answers(connection_of: ReferenceType[AIOKafkaConnection]) -> None:
    """Read a connection's answers as the client does, but hold none while waiting for the next."""
    connection = connection_of()
    assert connection is not None
    reader = connection._reader
    del connection
    while True:
        (n_bytes,) = struct.unpack(">i", await reader.readexactly(4))
        answer = await reader.readexactly(n_bytes)
        connection = connection_of()
        if connection is None:
            return
        connection._handle_frame(answer)
        del answer, connection


AIOKafkaConnection._read = staticmethod(_read_answers)


def _receive_in_few_pieces(client: Any) -> None:
    for connection in client._conns.values():
        reader, writer = connection._reader, connection._writer
        if writer is not None and reader._limit != PIECE_BYTES:
            reader._limit = PIECE_BYTES
            if hasattr(writer.transport, "max_size"):  # over TLS it is another one
                writer.transport.max_size = PIECE_BYTES
            with suppress(OSError):  # it was lost just now, which the client finds out by itself
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)


def _pause_all_but(active: Collection[TopicPartition], assignment: Any) -> None:
    for tp in assignment.tps:
        state = assignment.state_value(tp)
        if state.paused and tp in active:
            state.resume()
        elif not state.paused and tp not in active:
            state.pause()


def _take(fetcher: Any, active: Collection[TopicPartition] | None, bounds: Bounds) -> dict[TopicPartition, Records]:
    for tp in list(fetcher._records):
        fetched = fetcher._records[tp]
        if active is not None and tp not in active:
            _drop(fetcher, tp)  # or the broker would not be asked again; it is fetched once more later
        elif not isinstance(fetched, FetchResult):
            _drop(fetcher, tp)
            fetched.check_raise()
        elif not fetched.check_assignment(tp):
            _drop(fetcher, tp)
        else:
            records, is_rest = unpack(fetched._partition_records, bounds)
            fetched._update_position()
            if is_rest:
                _drop(fetcher, tp)
            if len(records):
                return {tp: records}
    return {}


def _drop(fetcher: Any, tp: TopicPartition) -> None:
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


def unpack(fetched: Iterator[Any], bounds: Bounds) -> tuple[Records, bool]:
    """Unpack records until a slice is full; tell whether these were all that is left.

    Parameters
    ----------
    fetched
        The client's; it leaves out what is no record, or was taken back.
    """
    # Instead of an object of sixteen fields a record, its batch's own one, which is gone after this loop.
    fetched._consumer_record = _as_it_is  # type: ignore[attr-defined]
    values, headers, timestamps, offsets = [], [], [], []
    left = bounds.slice_bytes
    is_rest = True
    for record in fetched:
        value = record.value
        if value is not None and len(value) > bounds.value_bytes_max:
            value = CutMessage.of(value, bounds.value_bytes_max)
        values.append(value)
        headers.append(tuple(record.headers))
        timestamps.append(record.timestamp)
        offsets.append(record.offset)
        left -= RECORD_BYTES + len(value or b"")
        if left <= 0:
            is_rest = False
            break
    return Records(values, headers, np.array(timestamps, np.int64), np.array(offsets, np.int64)), is_rest


def _as_it_is(_: TopicPartition, record: Any) -> Any:
    return record
