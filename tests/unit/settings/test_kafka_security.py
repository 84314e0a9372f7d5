"""Is an error of librdkafka told the same way each time? Its texts are librdkafka's own."""

import pytest
from confluent_kafka import KafkaError

from driftline.kafka_security import words_of


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "db:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
            "Connect to ipv4#10.0.0.1:9092 failed: Connection refused",
        ),
        (
            "sasl_plaintext://db:9092/bootstrap: SASL authentication: no such user (after 308ms in state AUTH_REQ)",
            "SASL authentication: no such user",
        ),
        ("db:9092/1: Disconnected (after 5ms in state UP, 3 identical error(s) suppressed)", "Disconnected"),
        ("1/1 brokers are down", "1/1 brokers are down"),
    ],
)
def test_what_differs_each_time_is_left_out(text: str, told: str) -> None:
    assert words_of(KafkaError(KafkaError._TRANSPORT, text)) == told
