"""Are the Kafka security settings what Faust connects with, and does reading wait for the agent?"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from driftline.settings import KafkaSecurity, KafkaSettings, LimitSettings
from streams.app import _add_agent, build_app, credentials


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


async def test_reading_waits_for_room_in_the_buffer_of_the_agent_so_that_no_partition_is_left_out() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()

    class Stream:
        channel = SimpleNamespace(queue=queue)

        async def __aiter__(self) -> AsyncIterator[Any]:
            return
            yield

    app = build_app(KafkaSettings(bootstrap_servers="nobody:1"), cast(Any, None), LimitSettings())
    consumer = SimpleNamespace(buffer=None)
    app.consumer = consumer
    _add_agent(app, cast(Any, None), ["t"])

    await app.agents["driftline.fetches"].fun(Stream())

    assert consumer.buffer is queue


def test_partitions_that_are_added_are_noticed_within_seconds() -> None:
    app = build_app(KafkaSettings(bootstrap_servers="nobody:1"), cast(Any, None), LimitSettings())

    # By default after five minutes, in which nobody reads them and no window closes.
    assert app.conf.consumer_metadata_max_age_ms <= 15_000
