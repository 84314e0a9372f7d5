"""Where faults happen: a broker, a Postgres, a relay and two workers, of which one is behind a network of ours."""

from __future__ import annotations

import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.chaos.disk import SmallDisk
from tests.chaos.traffic import INPUTS, LABEL_DELAY_MS, RATE, STEP_MS, WINDOW_MS, Traffic, write_reference
from tests.support.kafka import JarBroker
from tests.support.live import WorkerProcess, wait_for
from tests.support.monitors import Monitor, create_topics, make_monitor
from tests.support.own_postgres import OwnPostgres
from tests.support.proxy import Proxy
from tests.support.services import free_port

PARTITIONS = 3
ROLES = (*INPUTS, "drift", "retraining", "dead_letters")
MODEL: dict[str, Any] = {
    "task": "binary",
    "features": [{"name": "x", "type": "numeric"}, {"name": "c", "type": "categorical"}],
    "segments": ["s"],
    "windows": {
        "length": f"{WINDOW_MS}ms",
        "out_of_orderness": f"{10 * STEP_MS}ms",
        "allowed_lateness": "0s",
        "restate_after": "1s",
        "idle_after": "1d",  # who is silent for so long may be far away, but comes back
        "min_events": 1,
    },
    "labels": {"horizon": "1d"},
    "performance": {"floor": {"accuracy": 0.8}, "judge_after": f"{LABEL_DELAY_MS + WINDOW_MS}ms", "min_labelled": 50},
    "drift": {"significance": 0.001},
    "retraining": {"consecutive": 1, "cooldown": "1m"},
}
PATIENCE_S = 240
KAFKA = {"session_timeout": "6s", "heartbeat": "1s", "fetch_bytes_max": 100_000}
"""So small that a fetch is one of many, and a fence is met in the middle of a backlog."""

Positions = dict[tuple[str, int], int]


@dataclass
class Services:
    """What workers need, and the networks of the one that is behind them.

    Parameters
    ----------
    broker_network, postgres_network
        What stands between the first worker and the two.
    """

    broker: JarBroker
    postgres: OwnPostgres
    broker_network: Proxy
    postgres_network: Proxy


@contextmanager
def running_services(postgres_within: Path | None = None, broker_log: Path | None = None) -> Iterator[Services]:
    """Run a broker and a Postgres of our own.

    Parameters
    ----------
    broker_log
        A folder that does not exist yet, for what the broker keeps.

    Raises
    ------
    MissingServiceError
        If Java, or Kafka, or Postgres can't be had.
    """
    with ExitStack() as running:
        network_port = free_port()
        broker = JarBroker(proxied_port=network_port, log=broker_log)
        running.callback(broker.stop)
        broker_network = running.enter_context(Proxy(f"kafka://{broker.proxied_servers}", network_port))
        postgres = running.enter_context(OwnPostgres(postgres_within))
        yield Services(broker, postgres, broker_network, running.enter_context(Proxy(postgres.url)))


@dataclass
class World:
    """Two workers and a relay on a store and topics of their own.

    Parameters
    ----------
    quick
        Whether outages are to be short.
    """

    services: Services
    folder: Path
    monitor: Monitor
    behind: Monitor
    traffic: Traffic
    quick: bool
    disk: SmallDisk | None = None
    workers: list[WorkerProcess] = field(default_factory=list)
    """The first one is behind the networks."""
    relays: list[WorkerProcess] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: int = 0

    def start_worker(self, at: int) -> WorkerProcess:
        """Start a worker in the place of one that has ended, or a further one."""
        config = (self.behind if at == 0 else self.monitor).config
        worker = WorkerProcess(config, self._log(f"worker-{at}"), self._home())
        return _put(self.workers, at, worker)

    def start_relay(self, at: int, *, is_behind: bool = False) -> WorkerProcess:
        """Start a relay in the place of one that has ended, or a further one; behind the networks if wanted."""
        config = (self.behind if is_behind else self.monitor).config
        relay = WorkerProcess(config, self._log(f"relay-{at}"), self._home(), command="relay")
        return _put(self.relays, at, relay)

    def _log(self, name: str) -> Path:
        self.started += 1
        return self.folder / f"{name}-{self.started}.log"

    def _home(self) -> Path:
        home = self.folder / f"home-{self.started}"
        home.mkdir()
        return home

    def end_workers(self) -> list[int]:
        """End all workers in order; return their exit codes."""
        return [worker.end() for worker in self.workers]

    def positions(self) -> Positions:
        """Return where each partition goes on; nothing while Postgres is away."""
        with suppress(psycopg.OperationalError):
            found = self.monitor.rows("select topic, partition, next from driftline.stream_offset")
            return {(topic, partition): position for topic, partition, position in found}
        return {}

    def ends(self) -> Positions:
        """Return where each partition of the log ends now."""
        return ends_of(self.monitor)

    def lag(self) -> int:
        """Return how many records are not read yet."""
        at = self.positions()
        return sum(max(0, end - at.get(place, 0)) for place, end in self.ends().items())

    def share(self, at: int) -> list[tuple[str, int]]:
        """Return the partitions that a worker says that it has."""
        query = f"select partitions from driftline.v_workers where pid = {self.workers[at].process.pid}"
        return [(topic, partition) for (held,) in self.monitor.rows(query) for topic, partition in held]

    def wait_until_shared(self) -> None:
        """Wait until every worker has some partitions and all are read."""
        everything = len(self.ends())

        def shared() -> bool:
            with suppress(psycopg.OperationalError):
                held = [self.share(at) for at in range(len(self.workers))]
                return all(held) and sum(map(len, held)) == everything
            return False

        wait_for(shared, "workers to share the partitions", PATIENCE_S)

    def wait_until_read(self) -> None:
        """Wait until all that is in the log now is read."""
        ends = self.ends()
        wait_for(lambda: _reached(self.positions(), ends), "the log to be read", PATIENCE_S)


def _put(processes: list[WorkerProcess], at: int, process: WorkerProcess) -> WorkerProcess:
    """Put a process into a place, and close what is left of the one that was there."""
    for ended in processes[at : at + 1]:
        ended.end()
    processes[at : at + 1] = [process]
    return process


def _reached(at: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int]) -> bool:
    return bool(at) and all(at.get(place, -1) >= end for place, end in ends.items())


def ends_of(monitor: Monitor) -> Positions:
    """Return where each partition of the inputs ends."""
    consumer = Consumer({"bootstrap.servers": monitor.address, "group.id": "chaos", "log_level": 0})
    try:
        places = [
            TopicPartition(topic, partition)
            for topic in map(monitor.topic, INPUTS)
            for partition in consumer.list_topics(topic, timeout=60).topics[topic].partitions
        ]
        spans = {of: wait_for(partial(_span_of, consumer, of), f"the broker to lead {of}") for of in places}
        return {(of.topic, of.partition): end for of, (_, end) in spans.items()}
    finally:
        consumer.close()


def _span_of(consumer: Consumer, of: TopicPartition) -> tuple[int, int] | None:
    """Return the first and the next offset; None while a broker that has just started leads nothing yet."""
    with suppress(KafkaException):
        first, end = consumer.get_watermark_offsets(of, timeout=60)
        return int(first), int(end)
    return None


@contextmanager
def fresh_store(server_url: str, tablespace: str = "") -> Iterator[str]:
    """Give the URL of a new database; it is dropped afterwards if the server still runs."""
    name = f"chaos_{secrets.token_hex(4)}"
    place = f'tablespace "{tablespace}"' if tablespace else ""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {name} {place}".encode())
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    with suppress(psycopg.OperationalError), psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


def settings_of(folder: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's settings; its reference is written beside."""
    reference = {"path": str(write_reference(folder / "calm.parquet"))}
    return {**MODEL, "reference": reference, **model}


@contextmanager
def running_world(
    services: Services,
    *,
    quick: bool,
    rate: int = RATE,
    model: Mapping[str, Any] | None = None,
    logs: Path | None = None,
    disk: SmallDisk | None = None,
    tablespace: str = "",
    **sections: Mapping[str, Any],
) -> Iterator[World]:
    """Let two workers and a relay read a steady stream, and wait until they do.

    Parameters
    ----------
    model
        What is to be otherwise than usual in the model's settings.
    logs
        Where logs are kept; by default they go with this context.
    disk
        A small one on which something is, which may be filled.
    tablespace
        Where the tables are, if not where Postgres is.
    """
    with ExitStack() as running:
        folder = logs or Path(running.enter_context(tempfile.TemporaryDirectory(prefix="driftline-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        url = running.enter_context(fresh_store(services.postgres.url, tablespace))
        run = secrets.token_hex(3)
        topics = {role: f"{role.replace('_', '-')}-{run}" for role in ROLES}
        address = services.broker.bootstrap_servers
        create_topics(address, [topics[role] for role in INPUTS], PARTITIONS)
        create_topics(address, [topics[role] for role in ROLES[len(INPUTS) :]])
        privacy = {"id_key": "the same key in both stores"}
        models = {"m": settings_of(folder, model or {})}
        monitor = make_monitor(folder, address, url, topics, models, kafka=KAFKA, privacy=privacy, **sections)
        behind = monitor.variant(
            "behind-networks",
            kafka={"bootstrap_servers": urlsplit(services.broker_network.url).netloc},
            postgres={
                "url": urlunsplit(urlsplit(services.postgres_network.url)._replace(path=urlsplit(url).path)),
                "answer_timeout": "8s",
            },
        )
        traffic = running.enter_context(Traffic(monitor, PARTITIONS, rate))
        world = World(services, folder, monitor, behind, traffic, quick, disk)
        running.callback(lambda: [process.end() for process in (*world.workers, *world.relays)])
        world.start_worker(0)
        world.start_worker(1)
        world.start_relay(0)
        world.wait_until_shared()
        wait_for(lambda: min(world.positions().values()) > 0, "the first events to be read", PATIENCE_S)
        yield world


def end_in_order_when_told() -> None:
    """Let SIGTERM end everything that was started, as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def seconds_until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float | None:
    """Return how long it took until something held; None if it did not."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if condition():
            return time.monotonic() - began
        time.sleep(0.1)
    return None


def recovery_of(world: World) -> tuple[float | None, float | None]:
    """Return after how many seconds each partition was committed to again, and all that there was by then was read."""
    began = time.monotonic()
    ends, before = world.ends(), wait_for(world.positions, "Postgres to answer", PATIENCE_S)

    def moved() -> bool:
        at = world.positions()
        return bool(at) and all(at.get(place, 0) > before.get(place, -1) for place in ends)

    asked_s = time.monotonic() - began
    again_s = seconds_until(moved)
    level_s = seconds_until(lambda: _reached(world.positions(), ends))
    if again_s is None or level_s is None:
        return None, None
    return again_s + asked_s, again_s + asked_s + level_s
