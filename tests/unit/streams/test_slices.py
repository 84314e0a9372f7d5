"""Is what the Kafka client fetched handed over whole, whatever it is cut into?"""

import asyncio
import struct
import sys
import weakref
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.decode.messages import Records, length_of
from streams.reading.slices import RECORD_BYTES, SLICE_SHARE, Bounds, unpack

ANY_BYTES = 10**9
HEADERS = [("driftline-model", b"m")]


class Connection:
    """What reading needs of the client's connection."""

    def __init__(self, reader: asyncio.StreamReader, handle: Callable[[bytes], None]) -> None:
        self._reader, self._handle_frame = reader, handle


def fetched(*batches: list[bytes | None], start: int = 0) -> PartitionRecords:
    """Make what the client has after a fetch from `start`: record batches, each with its records' values."""
    raw, offset = b"", 0
    for values in batches:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        for place, value in enumerate(values):
            assert builder.append(place, 1_000 + offset + place, b"key", value, HEADERS if place == 1 else [])
        batch = bytearray(builder.build())
        struct.pack_into(">q", batch, 0, offset)
        offset += len(values)
        raw += bytes(batch)
    return PartitionRecords(TopicPartition("t", 0), MemoryRecords(raw), None, start, None, None, True, 1)


def slices(of: PartitionRecords, bytes_max: int) -> Iterator[Records]:
    """Take slice after slice."""
    is_rest = False
    while not is_rest:
        records, is_rest = unpack(of, Bounds(ceil(bytes_max / SLICE_SHARE), ANY_BYTES))
        yield records


@pytest.mark.parametrize("bytes_max", [1, 100, 250, 10**9])
def test_slices_hold_every_record_once_in_order(bytes_max: int) -> None:
    batches: list[list[bytes | None]] = [[b"a" * 10, None, b"b" * 90], [b"c" * 300], [b"", b"d"]]
    found: list[Any] = []
    for part in slices(fetched(*batches), bytes_max):
        sizes = [RECORD_BYTES + len(value or b"") for value in part.values]
        assert sum(sizes[:-1]) < bytes_max
        found += zip(part.values, part.headers, part.timestamps.tolist(), part.offsets.tolist(), strict=True)
    values = [value for batch in batches for value in batch]
    marked = {1, 5}
    assert found == [
        (value, tuple(HEADERS) if place in marked else (), 1_000 + place, place) for place, value in enumerate(values)
    ]


def test_records_before_the_position_are_left_out() -> None:
    """A broker sends whole batches, also if the position is in the middle of one."""
    records, is_rest = unpack(fetched([b"a", b"b", b"c"], start=2), Bounds(10**9, ANY_BYTES))
    assert (list(records.values), records.offsets.tolist(), is_rest) == ([b"c"], [2], True)


def test_only_the_beginning_of_a_message_that_is_too_large_goes_on_with_its_length() -> None:
    values: list[bytes | None] = [b"a" * 10, b"b" * 11, None, b"c" * 500]

    records, _ = unpack(fetched(values), Bounds(10**9, 10))

    assert list(records.values) == [b"a" * 10, b"b" * 10, None, b"c" * 10]
    assert [length_of(value) for value in records.values if value is not None] == [10, 11, 500]


async def test_an_answer_is_held_by_nobody_once_it_is_handled() -> None:
    reader = asyncio.StreamReader()
    handled: list[bytes] = []
    connection = Connection(reader, handled.append)
    reading = asyncio.create_task(AIOKafkaConnection._read(weakref.ref(connection)))

    for answer in (b"first" * 1_000, b"second" * 1_000):
        reader.feed_data(struct.pack(">i", len(answer)) + answer)
    while len(handled) < 2:
        await asyncio.sleep(0)

    assert handled == [b"first" * 1_000, b"second" * 1_000]
    assert [sys.getrefcount(handled[place]) for place in range(2)] == [2, 2]  # the list's, and the call's own
    reading.cancel()
