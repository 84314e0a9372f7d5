"""Do questions about topics get the same kind of answer from every broker, and a plain error from none?"""

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.kafka_admin import PartitionEnds, create_topics, partition_ends, topic_ids
from driftline.kafka_security import security_options
from driftline.settings import KafkaSecurity
from tests.conftest import not_shown
from tests.support.kafka import Broker, JarBroker, MockBroker, OwnBroker
from tests.support.services import MissingServiceError

NewName = Callable[[str], str]


def produce(bootstrap_servers: str, topic: str, messages: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "log_level": 0})
    for _ in range(messages):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(30) == 0


def test_topics_that_exist_are_described_and_others_left_out(broker: Broker, topic_name: NewName) -> None:
    there, not_there = topic_name("there"), topic_name("not-there")
    broker.create_topic(there, partitions=3)

    described = topic_ids(broker.bootstrap_servers, [there, not_there])

    assert list(described) == [there]
    assert described[there].partitions >= 3  # the mock gives every topic the same number


def test_asking_for_a_topic_does_not_make_it(broker: Broker, topic_name: NewName) -> None:
    topic = topic_name("asked-for")

    topic_ids(broker.bootstrap_servers, [topic])

    assert topic_ids(broker.bootstrap_servers, [topic]) == {}


def test_the_ends_of_a_log_are_told(broker: Broker, topic_name: NewName) -> None:
    topic = topic_name("ends")
    broker.create_topic(topic, partitions=2)
    produce(broker.bootstrap_servers, topic, 7)

    ends = partition_ends(broker.bootstrap_servers, [(topic, 0), (topic, 1)])

    assert ends == {(topic, 0): PartitionEnds(0, 7), (topic, 1): PartitionEnds(0, 0)}


def test_nothing_is_asked_when_nothing_is_wanted() -> None:
    assert topic_ids("127.0.0.1:1", []) == {}
    assert partition_ends("127.0.0.1:1", []) == {}
    create_topics("127.0.0.1:1", [], partitions=1, replication=1)


def test_the_mock_broker_is_understood_without_waiting_for_a_version_it_never_tells() -> None:
    mock = MockBroker(MissingServiceError("a real Kafka broker", "none is wanted"))
    mock.create_topic("touched")

    # A client that asks the mock for its version gets no answer it can read, and would fail when its time is up.
    described = topic_ids(mock.bootstrap_servers, ["touched"], timeout_ms=5_000)

    assert described["touched"].topic_id == ""
    assert described["touched"].partitions == 4
    with pytest.raises(ServiceUnavailableError, match=r"^kafka at .*: can't be used: "):
        create_topics(mock.bootstrap_servers, ["new"], partitions=1, replication=1)


@pytest.mark.real_kafka
def test_created_topics_have_their_partitions_and_an_id_of_their_own(broker: Broker, topic_name: NewName) -> None:
    one, other = topic_name("created"), topic_name("created")

    create_topics(broker.bootstrap_servers, [one, other], partitions=5, replication=1)

    described = topic_ids(broker.bootstrap_servers, [one, other])
    assert [info.partitions for info in described.values()] == [5, 5]
    assert len({uuid.UUID(info.topic_id) for info in described.values()}) == 2


@pytest.mark.real_kafka
def test_a_topic_that_exists_is_left_as_it_is(broker: Broker, topic_name: NewName) -> None:
    topic = topic_name("kept")
    create_topics(broker.bootstrap_servers, [topic], partitions=2, replication=1)
    before = topic_ids(broker.bootstrap_servers, [topic])

    create_topics(broker.bootstrap_servers, [topic], partitions=9, replication=1)

    assert topic_ids(broker.bootstrap_servers, [topic]) == before


@pytest.mark.real_kafka
@pytest.mark.parametrize(("partitions", "replication"), [(1, 1000), (0, 1)])
def test_what_a_cluster_cannot_give_is_a_wrong_argument(
    broker: Broker, topic_name: NewName, partitions: int, replication: int
) -> None:
    with pytest.raises(ConfigurationError, match="give other --partitions or --replication"):
        create_topics(
            broker.bootstrap_servers, [topic_name("too-much")], partitions=partitions, replication=replication
        )


@pytest.mark.real_kafka
def test_a_topic_that_the_broker_refuses_is_named_with_its_words(broker: Broker) -> None:
    with pytest.raises(StateError, match=r"can't create topic no way: .*ASCII alphanumerics"):
        create_topics(broker.bootstrap_servers, ["no way"], partitions=1, replication=1)


@pytest.mark.real_kafka
def test_ends_of_a_partition_that_does_not_exist_are_an_error(broker: Broker, topic_name: NewName) -> None:
    with pytest.raises(ServiceUnavailableError, match="does not exist"):
        partition_ends(broker.bootstrap_servers, [(topic_name("absent"), 0)])


# In a process of its own: kafka-python leaves refused sockets to the garbage collector, and pytest minds.
ASKING_NOBODY = """
import sys, threading
from driftline.errors import ServiceUnavailableError
from driftline.kafka_admin import topic_ids
try:
    topic_ids(sys.argv[1], ["t"], timeout_ms=300)
except ServiceUnavailableError as error:
    print(error)
print(threading.active_count())
"""


def test_a_broker_that_is_not_there_is_one_line_that_names_it_and_leaves_no_thread(
    project: Path, free_port: int
) -> None:
    asking = [sys.executable, "-c", ASKING_NOBODY, f"127.0.0.1:{free_port}"]

    told = subprocess.run(asking, cwd=project, capture_output=True, text=True)

    line, threads = told.stdout.splitlines()
    assert line.startswith(f"kafka at 127.0.0.1:{free_port}: no answer within 0.3s: ")
    assert "ECONNREFUSED" in line
    assert threads == "1"
    assert told.stderr == ""


def sasl(password: str, mechanism: str = "PLAIN") -> KafkaSecurity:
    return KafkaSecurity(protocol="sasl_plaintext", sasl_mechanism=mechanism, username="me", password=password)


@pytest.mark.real_kafka
def test_who_the_broker_refuses_is_told_so_and_to_correct_the_configuration(request: pytest.FixtureRequest) -> None:
    try:
        guarded = JarBroker(users={"me": "hunter2"})
    except MissingServiceError as missing:
        not_shown(request, str(missing))
    try:
        for servers, security, told in [
            (guarded.guarded_servers, sasl("hunter3"), "refuses us: .*Invalid username or password"),
            (guarded.guarded_servers, sasl("hunter2", "SCRAM-SHA-512"), "refuses us: .*SASL mechanism"),
            (guarded.bootstrap_servers, sasl("hunter2"), "refuses us: .*SASL state"),
        ]:
            with pytest.raises(ConfigurationError, match=f"^kafka at {servers}: {told}.*; correct kafka.sec") as caught:
                topic_ids(servers, ["t"], security=security, timeout_ms=3_000)
            assert "hunter" not in str(caught.value)
            assert caught.value.__cause__ is None
        assert topic_ids(guarded.guarded_servers, ["t"], security=sasl("hunter2")) == {}
    finally:
        guarded.stop()


ASKING_AGAIN_AND_AGAIN = """
import sys
from driftline.errors import ServiceUnavailableError
from driftline.kafka_admin import Admin
with Admin(sys.argv[1], timeout_ms=2_000) as admin:
    for _ in sys.stdin:
        try:
            print(admin.topics(["t"])["t"].partitions, admin.ends([("t", 0)])["t", 0].end, flush=True)
        except ServiceUnavailableError as error:
            print(error, flush=True)
"""


@pytest.mark.real_kafka
def test_questions_of_one_worker_share_a_connection_that_is_made_anew_after_an_outage(
    own_broker: OwnBroker, project: Path
) -> None:
    address = own_broker.bootstrap_servers
    own_broker.create_topic("t")
    asking = subprocess.Popen(
        [sys.executable, "-c", ASKING_AGAIN_AND_AGAIN, address], cwd=project, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True
    )  # fmt: skip

    def ask() -> str:
        assert asking.stdin is not None
        assert asking.stdout is not None
        print("?", file=asking.stdin, flush=True)
        return asking.stdout.readline().strip()

    def connections() -> set[object]:
        found = psutil.Process(asking.pid).net_connections("tcp")
        return {at.laddr for at in found if at.raddr and address.endswith(f":{at.raddr.port}")}

    try:
        assert ask() == "1 0"
        kept = connections()
        assert [ask() for _ in range(3)] == ["1 0"] * 3
        assert connections() == kept
        own_broker.kill()
        assert ask().startswith(f"kafka at {address}: ")
        own_broker.start()
        produce(address, "t", 5)
        assert ask() == "1 5"
        own_broker.kill()
        own_broker.start()
        assert ask() == "1 5"  # an outage between two questions is none
    finally:
        asking.communicate()
    assert asking.returncode == 0


def test_security_is_written_in_the_words_of_the_client() -> None:
    security = KafkaSecurity(
        protocol="sasl_ssl",
        sasl_mechanism="SCRAM-SHA-256",
        username="me",
        password="hunter2",
        ca_file=Path("ca.pem"),
        certificate_file=Path("me.pem"),
        key_file=Path("me.key"),
    )

    assert security_options(security) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hunter2",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "me.pem",
        "ssl_keyfile": "me.key",
    }
