"""Are the Kafka security settings what Faust connects with?"""

import ssl

import faust
import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from driftline.settings import KafkaSecurity
from streams.app import credentials


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("sasl_plaintext", AuthProtocol.SASL_PLAINTEXT), ("sasl_ssl", AuthProtocol.SASL_SSL)],
)
def test_a_password_reaches_faust_and_no_repr(mechanism: str, protocol: str, expected: AuthProtocol) -> None:
    settings = KafkaSecurity.model_validate(
        {"protocol": protocol, "sasl_mechanism": mechanism, "username": "me", "password": "hidden"}
    )
    found = credentials(settings)
    assert isinstance(found, faust.SASLCredentials)
    assert (found.protocol, found.mechanism) == (expected, SASLMechanism(mechanism))
    assert (found.username, found.password) == ("me", "hidden")
    assert "hidden" not in repr(found)


def test_tls_checks_the_broker_by_default() -> None:
    found = credentials(KafkaSecurity(protocol="ssl"))
    assert isinstance(found, faust.SSLCredentials)
    assert found.context.verify_mode == ssl.CERT_REQUIRED
    assert found.context.check_hostname


def test_plaintext_needs_nothing() -> None:
    assert credentials(KafkaSecurity()) is None
