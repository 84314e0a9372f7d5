"""Do the services that tests stand on keep what they promise?"""

import socket
import uuid
from collections.abc import Callable

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from tests.support.kafka import Broker, OwnBroker
from tests.support.postgres import fresh_database

POLL_SECONDS_MAX = 30


def produce(bootstrap_servers: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(POLL_SECONDS_MAX) == 0


def consume(bootstrap_servers: str, topic: str, n_messages: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes | None] = []
    try:
        while len(values) < n_messages:
            message = consumer.poll(POLL_SECONDS_MAX)
            assert message is not None, f"{len(values)} of {n_messages} messages came"
            assert message.error() is None, message.error()
            values.append(message.value())
    finally:
        consumer.close()
    return values


def test_what_is_produced_to_the_broker_can_be_consumed(broker: Broker, topic_name: Callable[[str], str]) -> None:
    topic = topic_name("round-trip")
    broker.create_topic(topic)
    values = [b"%d" % number for number in range(100)]

    produce(broker.bootstrap_servers, topic, values)

    assert consume(broker.bootstrap_servers, topic, 100) == values


def test_a_topic_name_is_given_once(topic_name: Callable[[str], str]) -> None:
    assert len({topic_name("predictions") for _ in range(100)}) == 100


@pytest.mark.real_kafka
def test_a_topic_has_the_partitions_that_were_asked_for(broker: Broker, topic_name: Callable[[str], str]) -> None:
    topic = topic_name("partitions")

    broker.create_topic(topic, partitions=7)

    client = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    assert len(client.list_topics(topic, timeout=POLL_SECONDS_MAX).topics[topic].partitions) == 7


@pytest.mark.real_kafka
def test_a_broker_that_was_killed_and_started_again_still_has_its_messages(own_broker: OwnBroker) -> None:
    address = own_broker.bootstrap_servers
    own_broker.create_topic("survivors")
    produce(address, "survivors", [b"before"])

    own_broker.kill()
    own_broker.start()
    produce(address, "survivors", [b"after"])

    assert own_broker.bootstrap_servers == address
    assert consume(address, "survivors", 2) == [b"before", b"after"]


def test_a_free_port_can_be_listened_on(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)) as server:
        assert server.getsockname()[1] == free_port


@pytest.mark.postgres
def test_two_databases_do_not_see_one_another(postgres_url: str, postgres_server_url: str) -> None:
    with fresh_database(postgres_server_url) as other_url:
        with psycopg.connect(postgres_url) as connection:
            connection.execute("create table seen (n int)")
        with psycopg.connect(other_url) as connection:
            row = connection.execute("select to_regclass('seen')").fetchone()

    assert row == (None,)


@pytest.mark.postgres
def test_a_database_is_gone_after_its_test_even_while_someone_is_connected(postgres_server_url: str) -> None:
    with fresh_database(postgres_server_url) as url:
        left_open = psycopg.connect(url)

    with pytest.raises(psycopg.OperationalError, match="terminat"):
        left_open.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    left_open.close()
