"""A log like Kafka's, in memory: topics of partitions of records, read by position.

What is promised is what `tests/integration/committing/test_log_contract.py` asks of this log and of a real broker
alike: records keep their order and their offsets, offsets may have gaps, a fetch begins at the position asked for, and
what was deleted in front of a position is noticed, not skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from driftline.kafka_admin import PartitionEnds, TopicInfo
from streams.reading.transport import Fetch
from tests.support.events import Message, records

Place = tuple[str, int]
"""Topic and partition."""


class DeletedError(Exception):
    """The position asked for lies in front of the earliest record that is kept."""


@dataclass
class _Partition:
    records: list[Message] = field(default_factory=list)
    earliest: int = 0
    end: int = 0


class SimLog:
    """Some topics and their records.

    Parameters
    ----------
    partitions
        How many each topic has.
    """

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self._sizes = dict(partitions)
        self._partitions = {(topic, number): _Partition() for topic, n in partitions.items() for number in range(n)}

    @property
    def places(self) -> list[Place]:
        """All partitions."""
        return sorted(self._partitions)

    def append(self, place: Place, value: bytes, *, time_ms: int, gap: int = 0) -> int:
        """Add a record behind all others and return its offset; `gap` offsets before it hold none."""
        partition = self._partitions[place]
        offset = partition.end + gap
        partition.records.append(Message(value, (), offset, time_ms))
        partition.end = offset + 1
        return offset

    def fetch(self, place: Place, position: int, records_max: int) -> Fetch | None:
        """Read on from a position; None where nothing more is there.

        Raises
        ------
        DeletedError
            If what stood there was deleted.
        """
        partition = self._partitions[place]
        if position < partition.earliest:
            raise DeletedError(f"{place} begins at {partition.earliest}, {position} was asked for")
        found = [record for record in partition.records if record.offset >= position][:records_max]
        return Fetch(*place, position, found[-1].offset + 1, records(*found)) if found else None

    def delete_before(self, place: Place, offset: int) -> None:
        """Delete what stands in front of an offset, as retention does."""
        partition = self._partitions[place]
        partition.earliest = max(partition.earliest, offset)
        partition.records = [record for record in partition.records if record.offset >= offset]

    def ends(self, partitions: Iterable[Place]) -> dict[Place, PartitionEnds]:
        """Say how far logs reach, as `streams.reading.positions.Broker` does."""
        return {
            place: PartitionEnds(self._partitions[place].earliest, self._partitions[place].end) for place in partitions
        }

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """Describe those of the topics that exist."""
        return {name: TopicInfo(name, self._sizes[name]) for name in names if name in self._sizes}
