"""Does the log of the simulation promise what Kafka promises? Both are asked the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from driftline.kafka_admin import Admin, PartitionEnds, TopicInfo
from driftline.settings import KafkaSecurity
from streams.reading.transport import Fetch
from tests.simulation.log import DeletedError, Place, SimLog
from tests.support.events import Message, records
from tests.support.kafka import Broker

SECONDS_MAX = 30


class Log(Protocol):
    def append(self, place: Place, value: bytes, *, time_ms: int, gap: int = 0) -> int: ...
    def fetch(self, place: Place, position: int, records_max: int) -> Fetch | None: ...
    def delete_before(self, place: Place, offset: int) -> None: ...
    def ends(self, partitions: Iterable[Place]) -> dict[Place, PartitionEnds]: ...
    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]: ...


class KafkaLog:
    """The same on a real broker; what a gap holds was taken back by its producer."""

    def __init__(self, broker: Broker, identity: str) -> None:
        servers = {"bootstrap.servers": broker.bootstrap_servers}
        self._admin = Admin(broker.bootstrap_servers, KafkaSecurity())
        self._client = AdminClient(servers)
        self._producer = Producer(servers | {"transactional.id": identity})
        self._producer.init_transactions(SECONDS_MAX)
        self._reading = servers | {
            "group.id": identity, "auto.offset.reset": "error", "isolation.level": "read_committed",
            "enable.auto.commit": False, "enable.partition.eof": True,
        }  # fmt: skip

    def append(self, place: Place, value: bytes, *, time_ms: int, gap: int = 0) -> int:
        offsets: list[int] = []
        for keeps in [*[False] * bool(gap), True]:
            self._producer.begin_transaction()
            self._producer.produce(
                place[0],
                value,
                partition=place[1],
                timestamp=time_ms,
                on_delivery=lambda _, m: offsets.append(m.offset()),
            )
            self._producer.flush(SECONDS_MAX)
            (self._producer.commit_transaction if keeps else self._producer.abort_transaction)(SECONDS_MAX)
        return offsets[-1]

    def fetch(self, place: Place, position: int, records_max: int) -> Fetch | None:
        consumer = Consumer(self._reading)
        consumer.assign([TopicPartition(*place, position)])
        found: list[Message] = []
        try:
            while len(found) < records_max:
                message = consumer.poll(SECONDS_MAX)
                assert message is not None, "nothing came, not even the end"
                if (error := message.error()) is None:
                    found.append(Message(message.value(), (), message.offset(), message.timestamp()[1]))
                elif error.code() == KafkaError._PARTITION_EOF:
                    break
                else:
                    raise KafkaException(error)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._AUTO_OFFSET_RESET:
                raise DeletedError(str(error)) from None
            raise
        finally:
            consumer.close()
        return Fetch(*place, position, found[-1].offset + 1, records(*found)) if found else None

    def delete_before(self, place: Place, offset: int) -> None:
        [done] = self._client.delete_records([TopicPartition(*place, offset)]).values()
        done.result(SECONDS_MAX)

    def ends(self, partitions: Iterable[Place]) -> dict[Place, PartitionEnds]:
        with self._admin as admin:
            return dict(admin.ends(partitions))

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        with self._admin as admin:
            return admin.topics(names)


@pytest.fixture(params=["simulated", pytest.param("kafka", marks=pytest.mark.real_kafka)])
def log(request: pytest.FixtureRequest, topic_name: Callable[[str], str]) -> tuple[Log, Place]:
    """A log with one topic of two partitions, and one of the two."""
    topic = topic_name("log")
    if request.param == "simulated":
        return SimLog({topic: 2}), (topic, 1)
    broker: Broker = request.getfixturevalue("broker")
    broker.create_topic(topic, 2)
    return KafkaLog(broker, topic), (topic, 1)


def values(fetch: Fetch | None) -> list[bytes | None]:
    return list(fetch.records.values) if fetch else []


def test_records_are_read_in_the_order_they_were_written_from_the_position_asked_for(log: tuple[Log, Place]) -> None:
    of, place = log

    offsets = [of.append(place, value, time_ms=1_700_000_000_000) for value in (b"a", b"b", b"c")]

    assert offsets == sorted(set(offsets))
    assert values(of.fetch(place, 0, 10)) == [b"a", b"b", b"c"]
    fetch = of.fetch(place, offsets[1], 1)
    assert fetch is not None
    assert (fetch.start, values(fetch)) == (offsets[1], [b"b"])
    assert fetch.records.timestamps.tolist() == [1_700_000_000_000]
    assert values(of.fetch(place, fetch.next, 10)) == [b"c"]
    assert of.fetch(place, of.ends([place])[place].end, 10) is None
    assert of.fetch((place[0], 0), 0, 10) is None


def test_offsets_may_have_gaps_and_a_position_inside_one_is_no_loss(log: tuple[Log, Place]) -> None:
    of, place = log
    first = of.append(place, b"a", time_ms=1)

    second = of.append(place, b"b", time_ms=2, gap=1)

    assert second > first + 1
    assert [values(of.fetch(place, position, 10)) for position in (first, first + 1, second)] == [
        [b"a", b"b"], [b"b"], [b"b"]
    ]  # fmt: skip


def test_what_was_deleted_is_noticed_and_not_skipped(log: tuple[Log, Place]) -> None:
    of, place = log
    offsets = [of.append(place, value, time_ms=1) for value in (b"a", b"b", b"c")]

    of.delete_before(place, offsets[2])

    with pytest.raises(DeletedError):
        of.fetch(place, offsets[0], 10)
    assert values(of.fetch(place, offsets[2], 10)) == [b"c"]
    assert of.ends([place])[place].earliest == offsets[2]
    assert of.ends([place])[place].end > offsets[2]


def test_topics_are_described_and_unknown_ones_left_out(log: tuple[Log, Place]) -> None:
    of, (topic, _) = log

    found = of.topics([topic, f"{topic}-of-nobody"])

    assert list(found) == [topic]
    assert found[topic].partitions == 2
    assert found[topic].topic_id
