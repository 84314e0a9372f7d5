"""Is an error of librdkafka told the same way each time? Its texts are librdkafka's own."""

from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from driftline.kafka_security import why_refused, words_of
from driftline.settings import KafkaSecurity
from tests.support.encrypted import make_authority


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


@pytest.mark.parametrize(
    ("wrong", "content"),
    [
        ("ca_file", None),
        ("ca_file", "no PEM"),
        ("certificate_file", None),
        ("certificate_file", "no PEM"),
        ("key_file", None),
        ("key_file", "no PEM"),
        ("key_file", "behind a password"),
    ],
)
def test_a_file_that_can_not_be_used_is_named_by_its_setting(tmp_path: Path, wrong: str, content: str | None) -> None:
    authority = make_authority(tmp_path / "own")
    files = dict.fromkeys(("ca_file", "certificate_file", "key_file"), authority.identity("me", "me"))
    files[wrong] = authority.client("guarded", "hunter2") if content == "behind a password" else tmp_path / "other.pem"
    if content == "no PEM":
        files[wrong].write_text("hello")

    told = why_refused("127.0.0.1:1", KafkaSecurity(protocol="ssl", **files))

    assert told == f"{wrong} can't be used: it must be PEM that may be read, without a password"
