"""Which topics does the broker have, and how far do their logs reach?

Topic administration through kafka-python: blocking, for commands (functions, each with a connection of its own) and for
threads of a worker, which ask again and again (`Admin`). Invariants: every failure is an error of ours that names the
servers and never a secret; no call takes much longer than twice its `timeout_ms`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)
from kafka.protocol.metadata import ApiVersionsRequest

from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError
from driftline.kafka_security import security_options, why_refused
from driftline.settings import KafkaSecurity, Settings
from driftline.settings.services import INPUTS

T = TypeVar("T")

TIMEOUT_MS = 10_000
PLAINTEXT = KafkaSecurity()

_OLDEST_BROKER = (2, 0)
_log = logging.getLogger("kafka")
_log.addHandler(logging.NullHandler())  # what it warns of ends in our errors; without a handler it would be printed too


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic that is there.

    Parameters
    ----------
    topic_id
        What tells it from an earlier topic of the same name; empty where the broker has no topic ids (before Kafka 2.8,
        and librdkafka's mock).
    partitions
        How many it has.
    """

    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """How far a partition's log reaches: the offset of its oldest record, and the offset behind its newest."""

    earliest: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicUse:
    """What a topic of the configuration is for.

    Parameters
    ----------
    roles
        What is in it: `predictions`, `labels` or `features` are read, anything else is written.
    models
        Whose events are read from it; none where it is only written.
    needed
        Whether something does not work without it: feature events and what becomes of requests are optional.
    """

    roles: tuple[str, ...]
    models: tuple[str, ...]
    needed: bool


def topic_uses(settings: Settings) -> dict[str, TopicUse]:
    """Name every topic that a configuration makes use of: the models' inputs, then what Driftline writes.

    Raises
    ------
    ValueError
        Without a `kafka` section.
    """
    uses: dict[str, TopicUse] = {}
    for model, of_model in settings.models.items():
        for kind, topic in settings.input_topics(model).items():
            if kind != "labels" or of_model.has_labels:
                before = uses.get(topic, TopicUse((), (), False))
                roles, models = dict.fromkeys((*before.roles, kind)), dict.fromkeys((*before.models, model))
                uses[topic] = TopicUse(tuple(roles), tuple(models), before.needed or kind != "features")
    written = settings.kafka.topics.model_dump(exclude=set[str](INPUTS)) if settings.kafka else {}
    for role, topic in written.items():
        before = uses.get(topic, TopicUse((), (), False))
        uses[topic] = TopicUse((*before.roles, role), (), before.needed or role != "retraining_status")
    return uses


class Admin:
    """Asks a broker about topics, time after time, over one client that is made when it is needed.

    After a failure the next question makes a new one. Questions of several threads wait for one another.
    """

    def __init__(self, bootstrap: str, security: KafkaSecurity = PLAINTEXT, timeout_ms: int = TIMEOUT_MS) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._timeout_ms = timeout_ms
        self._kept: _Client | None = None
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._asking:
            self._drop()

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        """Ask a question; once more over a new client, should the one that was kept not know of a broker's restart.

        Raises
        ------
        ServiceUnavailableError
            If no broker answers in time.
        ConfigurationError
            If it refuses us.
        """
        with self._asking, _told(self._bootstrap, self._security, self._timeout_ms):
            if self._kept is not None:
                try:
                    return self._ask(question)
                except KafkaTimeoutError:
                    raise
                except (KafkaError, OSError, ValueError):
                    _log.debug("a broker's connection was of no use any more", exc_info=True)
            return self._ask(question)

    def _ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        try:
            self._kept = self._kept or _open(self._bootstrap, self._security, self._timeout_ms)
            return question(self._kept)
        except BaseException:
            self._drop()
            raise

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """Describe those of the topics that exist, in the order they were named in; none is made by asking.

        Raises
        ------
        ServiceUnavailableError
            If no broker answers in time.
        ConfigurationError
            If it refuses us.
        StateError
            If we have no right to describe a topic.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        found = {}
        for topic in self.ask(lambda client: client.describe_topics(wanted)):
            error = for_code(topic["error_code"])
            if issubclass(error, AuthorizationError):
                name = topic["name"]
                raise _no_right(self._bootstrap, f"describe topic {name}", f"Describe on topic {name}")
            if error is NoError:
                found[topic["name"]] = TopicInfo(str(topic.get("topic_id") or ""), len(topic["partitions"]))
        return {topic: found[topic] for topic in wanted if topic in found}

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], PartitionEnds]:
        """Say how far the logs of partitions reach, by (topic, partition).

        Raises
        ------
        ServiceUnavailableError
            If no broker answers in time, or one of the partitions does not exist.
        ConfigurationError
            If it refuses us.
        """
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        earliest, latest = self.ask(
            lambda client: [
                client.list_partition_offsets(dict.fromkeys(asked, which))
                for which in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
            ]
        )
        return {(at.topic, at.partition): PartitionEnds(earliest[at].offset, latest[at].offset) for at in asked}


def no_such(topics: Sequence[str]) -> str:
    """Say that topics are missing.

    Examples
    --------
    >>> no_such(["a"]), no_such(["a", "b"])
    ('there is no topic a', 'there are no topics a, b')
    """
    return f"there {'is no topic' if len(topics) == 1 else 'are no topics'} {', '.join(topics)}"


def topic_ids(
    bootstrap: str, topics: Collection[str], *, security: KafkaSecurity = PLAINTEXT, timeout_ms: int = TIMEOUT_MS
) -> dict[str, TopicInfo]:
    """Ask once what `Admin.topics` tells."""
    with Admin(bootstrap, security, timeout_ms) as admin:
        return admin.topics(topics)


def create_topics(
    bootstrap: str,
    topics: Collection[str],
    *,
    partitions: int,
    replication: int,
    security: KafkaSecurity = PLAINTEXT,
    timeout_ms: int = TIMEOUT_MS,
) -> None:
    """Create topics and wait until each partition has a leader; one that is there already stays as it is.

    Raises
    ------
    ServiceUnavailableError
        If no broker answers in time, or it can't create topics.
    StateError
        If we have no right to, or the broker's policy forbids it.
    ConfigurationError
        If the cluster can't have so many partitions or replicas.
    """
    wanted = {topic: {"num_partitions": partitions, "replication_factor": replication} for topic in topics}
    if not wanted:
        return

    def create(client: KafkaAdminClient) -> None:
        for topic in client.create_topics(wanted, raise_errors=False)["topics"]:
            error = for_code(topic["error_code"])
            if error not in (NoError, TopicAlreadyExistsError):
                raise _refusal(bootstrap, topic["name"], error, topic.get("error_message"))
        client.wait_for_topics(list(wanted), timeout_ms)

    with Admin(bootstrap, security, timeout_ms) as admin:
        admin.ask(create)


def partition_ends(
    bootstrap: str,
    partitions: Collection[tuple[str, int]],
    *,
    security: KafkaSecurity = PLAINTEXT,
    timeout_ms: int = TIMEOUT_MS,
) -> dict[tuple[str, int], PartitionEnds]:
    """Ask once what `Admin.ends` tells."""
    with Admin(bootstrap, security, timeout_ms) as admin:
        return admin.ends(partitions)


def client_options(
    bootstrap: str, *, security: KafkaSecurity = PLAINTEXT, timeout_ms: int = TIMEOUT_MS
) -> dict[str, Any]:
    """Ask a broker how it is to be spoken with, and write that as kafka-python's options for any of its clients.

    Raises
    ------
    ServiceUnavailableError
        If no broker answers in time.
    ConfigurationError
        If it refuses us.
    """
    with Admin(bootstrap, security, timeout_ms) as admin:
        spoken = admin.ask(lambda client: client.config["api_version"])
    return {
        "bootstrap_servers": bootstrap,
        "bootstrap_timeout_ms": timeout_ms,
        **security_options(security),
        **({"api_version": spoken} if spoken == _OLDEST_BROKER else {}),
    }


class _Client(KafkaAdminClient):  # type: ignore[misc]
    """kafka-python's client, which ends its thread also when it can't connect."""

    def __init__(self, **options: Any) -> None:
        self._closed = False
        try:
            super().__init__(**options)
        except BaseException:
            if hasattr(self, "_net"):
                self.close()
            raise

    def knows_its_version(self) -> bool:
        """Whether the broker (Kafka 2.4 or newer) understands a client that asks for its version first.

        librdkafka's mock answers such a client with what it can't read, and the client then tries until its time is up.
        """
        response = self._manager.run(self._manager.send, ApiVersionsRequest())
        newest = {api.api_key: api.max_version for api in response.api_keys}
        return bool(newest.get(ApiVersionsRequest.API_KEY, 0) >= 3)


class _LastFailure(logging.Handler):
    """Remembers why a connection failed: the client itself says only that time is up."""

    failure: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException) and not isinstance(argument, KafkaTimeoutError):
                self.failure = argument


@contextmanager
def _told(bootstrap: str, security: KafkaSecurity, timeout_ms: int) -> Iterator[None]:
    """Tell errors of the client as ours."""
    last = _LastFailure(logging.WARNING)
    _log.addHandler(last)
    try:
        yield
    except (KafkaError, OSError, ValueError) as error:
        where = f"kafka at {bootstrap}"
        if security.protocol != "plaintext" and (refused := why_refused(bootstrap, security)):
            raise ConfigurationError(refused, where=where, remedy="correct kafka.security") from None
        what = f"no answer within {timeout_ms / 1000:g}s" if isinstance(error, KafkaTimeoutError) else "can't be used"
        raise ServiceUnavailableError(
            f"{what}: {_one_line(last.failure or error)}",
            where=where,
            remedy="check the servers, kafka.bootstrap_servers and kafka.security",
        ) from None
    finally:
        _log.removeHandler(last)


def _open(bootstrap: str, security: KafkaSecurity, timeout_ms: int) -> _Client:
    """Make a client that speaks as the newest version that the broker knows."""
    options = {
        "bootstrap_servers": bootstrap,
        "bootstrap_timeout_ms": timeout_ms,
        "request_timeout_ms": timeout_ms,
        **security_options(security),
    }
    client = _Client(**options, api_version=_OLDEST_BROKER)
    try:
        if not client.knows_its_version():
            return client
    except BaseException:
        client.close()
        raise
    client.close()
    return _Client(**options)


def _refusal(
    bootstrap: str, topic: str, error: type[KafkaError], message: str | None
) -> StateError | ConfigurationError:
    """Say why a topic was not created, and who can help."""
    if issubclass(error, AuthorizationError):
        return _no_right(bootstrap, f"create topic {topic}", f"Create on topic {topic} or on the cluster")
    what, where = f"can't create topic {topic}: {(message or _one_line(error())).rstrip('.')}", f"kafka at {bootstrap}"
    if error in (InvalidPartitionsError, InvalidReplicationFactorError):
        return ConfigurationError(what, where=where, remedy="give other --partitions or --replication")
    return StateError(what, where=where, remedy="have the topic created by whoever runs the cluster")


def _no_right(bootstrap: str, deed: str, right: str) -> StateError:
    return StateError(
        f"we have no right to {deed}", where=f"kafka at {bootstrap}", remedy=f"have {right} granted to this user"
    )


def _one_line(error: BaseException) -> str:
    """Write an error of kafka-python without the request and response it quotes."""
    if isinstance(error, BrokerResponseError) and error.description:
        return str(error.description).rstrip(".")
    return " ".join(str(error).removeprefix(f"{type(error).__name__}: ").split()) or type(error).__name__
