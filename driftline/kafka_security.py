"""Who are we to a broker, and does it refuse us for that?

kafka-python often loses what a broker says right before it hangs up, so another client is asked why: librdkafka.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from driftline.settings import KafkaSecurity

ANSWER_S_MAX = 3

_FILES = {"ssl.ca.": "ca_file", "ssl.certificate.": "certificate_file", "ssl.key.": "key_file"}
"""Of which setting librdkafka speaks when it names one of its own."""

_ADDED = re.compile(
    r"^\S+://\S+: |^\S+/(bootstrap|\d+): | \(after \d+ms in state .*$|, verify that ssl\.ca\.location .*$"
)


def security_options(security: KafkaSecurity) -> dict[str, Any]:
    """Write our settings as kafka-python's.

    Examples
    --------
    >>> security_options(KafkaSecurity())
    {'security_protocol': 'PLAINTEXT'}
    """
    options = {
        "security_protocol": security.protocol.upper(),
        "sasl_mechanism": security.sasl_mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password.get_secret_value() if security.password else None,
        "ssl_cafile": security.ca_file and str(security.ca_file),
        "ssl_certfile": security.certificate_file and str(security.certificate_file),
        "ssl_keyfile": security.key_file and str(security.key_file),
    }
    return {name: value for name, value in options.items() if value is not None}


def librdkafka_options(bootstrap: str, security: KafkaSecurity) -> dict[str, Any]:
    """Write where the broker is, and who we are to it, as librdkafka does.

    Examples
    --------
    >>> librdkafka_options("b:9092", KafkaSecurity())
    {'bootstrap.servers': 'b:9092', 'security.protocol': 'plaintext'}
    """
    options = {
        "bootstrap.servers": bootstrap,
        "security.protocol": security.protocol,
        "sasl.mechanism": security.sasl_mechanism,
        "sasl.username": security.username,
        "sasl.password": security.password.get_secret_value() if security.password else None,
        "ssl.ca.location": _authorities(security),
        "ssl.certificate.location": security.certificate_file and str(security.certificate_file),
        "ssl.key.location": security.key_file and str(security.key_file),
    }
    return {name: value for name, value in options.items() if value is not None}


def _authorities(security: KafkaSecurity) -> str | None:
    """Say who may sign the broker's certificate: without a file of their own, whoever Python trusts, too."""
    if security.ca_file is not None:
        return str(security.ca_file)
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath if security.protocol.endswith("ssl") else None


def why_refused(bootstrap: str, security: KafkaSecurity) -> str | None:
    """Say why a broker refuses our name, password, mechanism or certificate, or which of our files nobody could use.

    None if it does not refuse us, or says nothing.
    """
    errors: list[KafkaError] = []
    try:
        options: dict[str, Any] = {**librdkafka_options(bootstrap, security), "error_cb": errors.append, "log_level": 0}
        client = AdminClient(options)
    except KafkaException as error:  # a certificate or key that can't be used
        told = words_of(error.args[0])
        of_file = next((key for option, key in _FILES.items() if option in told), "")
        return f"{of_file} can't be used: it must be PEM that may be read, without a password" if of_file else told
    with suppress(KafkaException):
        client.list_topics(timeout=ANSWER_S_MAX)
    client.poll(0)
    return next((f"refuses us: {words_of(error)}" for error in errors if _is_refusal(error)), None)


def _is_refusal(error: KafkaError) -> bool:
    is_certificate = error.code() == KafkaError._SSL and "certificate" in error.str()
    return is_certificate or error.code() == KafkaError._AUTHENTICATION


def words_of(error: KafkaError) -> str:
    """Write an error of librdkafka without what differs each time, and without advice on settings that are its own."""
    return _ADDED.sub("", " ".join(str(error.str()).split())).rstrip(" :")
