"""Is what the Kafka client fetched handed over whole, whatever it is cut into?"""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.decode.messages import Records
from streams.reading.slices import RECORD_BYTES, unpack

HEADERS = [("driftline-model", b"m")]


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
        records, is_rest = unpack(of, bytes_max)
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
    records, is_rest = unpack(fetched([b"a", b"b", b"c"], start=2), 10**9)
    assert (list(records.values), records.offsets.tolist(), is_rest) == ([b"c"], [2], True)
