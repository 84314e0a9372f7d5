"""Are the Kafka security settings what messages are sent with, and is what can't be used the caller's error?"""

from pathlib import Path

import pytest
import trustme

from driftline.errors import ConfigurationError
from driftline.kafka_security import librdkafka_options
from driftline.settings import KafkaSettings
from streams.sending.publish import Publisher


def kafka(**security: object) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap_servers": "b:9092", "security": security})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["sasl_plaintext", "sasl_ssl"])
def test_who_we_are_reaches_the_producer(mechanism: str, protocol: str) -> None:
    settings = kafka(protocol=protocol, sasl_mechanism=mechanism, username="me", password="hidden")

    options = librdkafka_options(settings.bootstrap_servers, settings.security)
    Publisher(settings).close()

    assert options["security.protocol"] == protocol
    assert (options["sasl.mechanism"], options["sasl.username"], options["sasl.password"]) == (
        mechanism,
        "me",
        "hidden",
    )


def test_without_a_file_whoever_python_trusts_may_sign_the_brokers_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    assert librdkafka_options("b:9092", kafka(protocol="ssl").security)["ssl.ca.location"] == str(trusted)
    assert "ssl.ca.location" not in librdkafka_options("b:9092", kafka().security)


def test_a_certificate_that_is_none_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")

    with pytest.raises(ConfigurationError, match=r"^kafka.security: can't be used: ssl.ca.location failed"):
        Publisher(kafka(protocol="ssl", ca_file=str(tmp_path / "ca.pem")))
