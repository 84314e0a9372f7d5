"""Which services does the demo run on, and how do they end?

Invariants: whatever is not given is embedded and ours alone; ports, topics, group and folder belong to one run; all
of it ends with the context, and also when this process is killed.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import yaml
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from pyarrow import parquet

from driftline.demo.process import Process, started
from driftline.demo.receiver import Receiver, receiver
from driftline.demo.story import COOLDOWN, FLOOR, JUDGE_AFTER_MS
from driftline.demo.traffic import CATEGORICAL, HOUR_MS, NUMERIC, reference_table
from driftline.embedded import embedded_postgres, temporary_folder
from driftline.errors import ServiceUnavailableError
from driftline.kafka_admin import create_topics
from driftline.store.connection import connect, place_of
from driftline.store.migrate import migrate

BROKER_SECONDS_MAX = 10
PARTITIONS = 4
"""What every topic of the mock has."""
MOCK_LINGER_MS = 1_000
BROKER_DEFAULT = -1
CONSUMER = "python -m retraining.consumer"
TOPICS = ("predictions", "labels", "drift", "retraining", "retraining_status", "dead_letters")

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """What `driftline demo` was asked for.

    Parameters
    ----------
    kafka
        `host:port`; None for the mock.
    postgres
        A URL; None for an embedded server.
    """

    seed: int
    kafka: str | None
    postgres: str | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that runs while the demo plays.

    Parameters
    ----------
    topics
        By kind, as in `kafka.topics`.
    """

    producer: Producer
    topics: dict[str, str]
    url: str
    model: str
    receiver: Receiver
    processes: tuple[Process, ...]

    def require_running(self) -> None:
        """Check that no process has ended.

        Raises
        ------
        StateError
            If one has; with the last line it wrote.
        """
        for process in self.processes:
            process.require_running()


@contextmanager
def scene(request: Request, told: Callable[[str], None]) -> Iterator[Scene]:
    """Set up the services, and start a worker and a retraining consumer between them.

    Parameters
    ----------
    told
        Told, a line each, what is there.

    Raises
    ------
    DriftlineError
        If a service does not start, can't be reached or refuses.
    """
    run = f"driftline-demo-{secrets.token_hex(4)}"
    # A database that is not ours may hold an earlier run, which this one must not go on from.
    model = "fraud" if request.postgres is None else f"fraud-{run[-8:]}"
    topics = {kind: f"{run}-{kind.replace('_', '-')}" for kind in TOPICS}
    if request.postgres is None:
        told("starting  an embedded Postgres")
    with receiver() as hook, _postgres(request) as url, _broker(request, run, topics) as (producer, servers):
        # On a line of its own the URL fits 80 columns, so a terminal does not cut what one wants to copy.
        embedded = f"embedded, gone afterwards (--postgres URL takes yours):\n{url}"
        told(f"postgres  {place_of(url) if request.postgres else embedded}")
        mock = f"{servers}, librdkafka's mock, for the demo only\n          (--kafka HOST:PORT takes yours)"
        told(f"kafka     {servers if request.kafka else mock}")
        with temporary_folder(run) as folder, temporary_folder(f"{run}-runs") as runs:
            config = folder / "monitor.yaml"
            parquet.write_table(reference_table(request.seed), config.with_name("reference.parquet"))
            setting = configuration(run, servers, topics, url, model, hook)
            config.write_text(yaml.safe_dump(setting, sort_keys=False))
            told("starting  a worker and a retraining consumer, which join their groups")
            retrain = shlex.join([sys.executable, "-P", "-m", "driftline.demo.retrain"])
            consuming = ["--config", str(config), "--group", f"{run}-retraining", "--state", str(runs)]
            with (
                started("driftline run", ["-m", "driftline.cli", "run", "--config", str(config)], folder) as worker,
                started(CONSUMER, ["-m", "retraining.consumer", "--run", retrain, *consuming], runs) as consumer,
            ):
                worker.wait_until_it_says("watching ")
                told(f"worker    driftline run --config\n          {config}")
                told(f"webhook   {hook.url}, verifies every signature")
                told(f"retrain   {CONSUMER} --run COMMAND, one that trains nothing")
                yield Scene(producer, topics, url, model, hook, (worker, consumer))


@contextmanager
def _postgres(request: Request) -> Iterator[str]:
    """Give the URL of a database that has our schema."""
    with nullcontext(request.postgres) if request.postgres else embedded_postgres(durable=False) as url:
        asyncio.run(_migrate(url))
        yield url


async def _migrate(url: str) -> None:
    connection = await connect(url, application_name="driftline demo")
    try:
        await migrate(connection)
    finally:
        await connection.close()


@contextmanager
def _broker(request: Request, run: str, topics: dict[str, str]) -> Iterator[tuple[Producer, str]]:
    """Give a producer and the broker's address; a real broker's topics and group are deleted again."""
    common = {"compression.type": "lz4", "log_level": 0}
    if request.kafka is None:
        # The mock cluster lives in this client, for as long as the client does. It answers a fetch with one batch a
        # partition, so many small ones would be read slowly.
        mock = {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "linger.ms": MOCK_LINGER_MS}
        producer = Producer(common | mock)
        for topic in topics.values():
            _touch(producer, topic)
        (broker,) = producer.list_topics(timeout=BROKER_SECONDS_MAX).brokers.values()
        yield producer, f"{broker.host}:{broker.port}"
        return
    create_topics(request.kafka, topics.values(), partitions=PARTITIONS, replication=BROKER_DEFAULT)
    try:
        yield Producer(common | {"bootstrap.servers": request.kafka}), request.kafka
    finally:
        admin = AdminClient({"bootstrap.servers": request.kafka, "log_level": 0})
        deletions = [
            *admin.delete_topics(list(topics.values())).values(),
            *admin.delete_consumer_groups([run, f"{run}-retraining"]).values(),
        ]
        wait(deletions, BROKER_SECONDS_MAX)  # whoever may create topics but not delete them keeps them


def _touch(producer: Producer, topic: str) -> None:
    """Ask the mock for a topic, which makes it."""
    deadline = time.monotonic() + BROKER_SECONDS_MAX
    while True:
        try:
            if len(producer.list_topics(topic, timeout=BROKER_SECONDS_MAX).topics[topic].partitions) == PARTITIONS:
                return
        except KafkaException as error:
            raise ServiceUnavailableError(f"the mock broker does not answer: {error}") from error
        if time.monotonic() > deadline:
            raise ServiceUnavailableError(f"the mock broker does not make topic {topic}")
        time.sleep(_POLL_S)


def configuration(
    run: str, servers: str, topics: dict[str, str], url: str, model: str, hook: Receiver
) -> dict[str, Any]:
    """Write the worker's configuration: what a user's monitor.yaml would say."""
    features = [
        *({"name": name, "type": "numeric"} for name in NUMERIC),
        *({"name": name, "type": "categorical"} for name in CATEGORICAL),
    ]
    return {
        "kafka": {"bootstrap_servers": servers, "group": run, "topics": topics | {"features": f"{run}-features"}},
        "postgres": {"url": url},
        "alerts": {"webhooks": {"demo": {"url": hook.url, "secret": hook.secret}}},
        "models": {
            model: {
                "task": "binary",
                "positive_class": 1,
                "reference": {"path": "reference.parquet"},
                "features": features,
                # An hour of event time passes in about a second, so labels have to show without waiting for long.
                "windows": {"length": "1h", "restate_after": "1s"},
                "labels": {"horizon": "7d"},
                "performance": {
                    "metrics": ["recall", "precision", "roc_auc"],
                    "floor": {"recall": FLOOR},
                    "judge_after": f"{JUDGE_AFTER_MS // HOUR_MS}h",
                },
                "retraining": {"when": ["drift", "performance"], "consecutive": 2, "cooldown": COOLDOWN},
            }
        },
    }
