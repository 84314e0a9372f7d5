"""What stands ready before anything is measured: topics full of events, a reference, and what a replay finds in them.

Invariants: each is made once, for whoever asks first, outside any measured time; every row of one form drains the very
same messages. Several may be made at a time.
"""

from __future__ import annotations

import csv
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg
import pyarrow.parquet as pq
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.setting import traffic
from benchmarks.setting.services import Services
from benchmarks.setting.traffic import Message, Traffic
from tests.support.live import run_driftline
from tests.support.monitors import create_topics, migrate_store
from tests.support.postgres import fresh_database

Form = Literal["json", "arrow"]

PARTITIONS = 4
SEED = 20_240_601
REFERENCE_SEED = 7
REFERENCE_ROWS = 50_000
ARROW_EVENTS_A_MESSAGE = 2_000
ARROW_HEADERS = [("content-type", b"application/vnd.apache.arrow.stream")]
REPLAY_S_MAX = 200
PEER_EVENTS_MAX = 100_000


class WrongAnswerError(Exception):
    """What was measured computed something else than it should have."""


@dataclass(frozen=True)
class Size:
    """How much a run measures.

    Parameters
    ----------
    events
        Predictions that a row of ours drains.
    turns
        How often each row is measured.
    """

    events: int
    turns: int


FULL = Size(1_000_000, 5)
QUICK = Size(200_000, 2)


@dataclass(frozen=True)
class Topics:
    """Where one form of the traffic lies."""

    predictions: str
    labels: str


@dataclass
class Stage:
    """Everything a row needs besides its own code.

    Parameters
    ----------
    folder
        For files that are thrown away.
    peers
        The Python of the environment in which the peers are installed.
    tell
        Told what is going on, for people who wait.
    """

    services: Services
    size: Size
    folder: Path
    peers: Path
    tell: Callable[[str], None] = lambda what: None
    made: dict[Any, Any] = field(default_factory=dict)
    _making: dict[Any, threading.Lock] = field(default_factory=dict)

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address."""
        return self.services.broker.bootstrap_servers

    def once(self, what: Any, make: Callable[[], Any]) -> Any:
        """Make something the first time it is asked for."""
        with self._making.setdefault(what, threading.Lock()):
            if what not in self.made:
                self.tell(f"preparing {what}")
                self.made[what] = make()
        return self.made[what]

    @property
    def traffic(self) -> Traffic:
        """The events that all rows share."""
        found: Traffic = self.once("events", lambda: traffic.make_traffic(self.size.events, SEED))
        return found

    def topics(self, form: Form, partitions: int = PARTITIONS) -> Topics:
        """Name the topics that hold the events in a form, filled."""
        what = f"{form} topics of {partitions} partitions"
        found: Topics = self.once(what, lambda: self._fill(form, partitions))
        return found

    def _fill(self, form: Form, partitions: int) -> Topics:
        topics = Topics(*(self.new_topic(f"{form}-{of}", partitions) for of in ("predictions", "labels")))
        messages = self._messages(form, partitions)
        for topic, of_topic in zip((topics.predictions, topics.labels), messages, strict=True):
            send(self.bootstrap_servers, topic, of_topic, ARROW_HEADERS if form == "arrow" else None)
        return topics

    @property
    def by_segment(self) -> str:
        """Name a topic of as many events as peers need that are keyed by their segment, filled."""

        def make() -> str:
            events = self.traffic.first(min(PEER_EVENTS_MAX, len(self.traffic)))
            topic = self.new_topic("json-by-segment")
            send(self.bootstrap_servers, topic, traffic.json_predictions(events, PARTITIONS, by_segment=True))
            return topic

        found: str = self.once("events by segment", make)
        return found

    def _messages(self, form: Form, partitions: int) -> tuple[Iterable[Message], Iterable[Message]]:
        events = self.traffic
        if form == "json":
            return traffic.json_predictions(events, partitions), traffic.json_labels(events, partitions)
        places = np.arange(len(events)), events.labelled
        tables = traffic.predictions_table(events), traffic.labels_table(events)
        predictions, labels = (
            traffic.arrow_messages(table, place % partitions, partitions, ARROW_EVENTS_A_MESSAGE)
            for table, place in zip(tables, places, strict=True)
        )
        return predictions, labels

    def new_topic(self, stem: str, partitions: int = PARTITIONS) -> str:
        """Make a topic."""
        name = f"{stem}-{secrets.token_hex(4)}"
        create_topics(self.bootstrap_servers, [name], partitions)
        return name

    @property
    def reference(self) -> Path:
        """What "no drift" looks like: events of another seed, with their truth."""

        def make() -> Path:
            events = traffic.make_traffic(REFERENCE_ROWS, REFERENCE_SEED, moved_by=0.0)
            path = self.folder / "reference.parquet"
            # Rows of no other model are wanted, and a reference is of one anyhow.
            pq.write_table(traffic.predictions_table(events).drop_columns(["model"]), path)
            return path

        found: Path = self.once("reference", make)
        return found

    def replayed(self, model: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
        """Tell what a replay of the same events finds in them, with their labels if the model has any.

        Returns
        -------
        Rows of `drift` and `performance`.
        """
        what = "replay with labels" if "labels" in model else "replay"
        found: dict[str, list[dict[str, str]]] = self.once(what, lambda: self._replay(what, model))
        return found

    def _replay(self, name: str, model: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
        folder = self.folder / name
        folder.mkdir()
        (folder / "monitor.yaml").write_text(json.dumps({"models": {traffic.MODEL: model}}))
        tables = {"predictions": traffic.predictions_table}
        if "labels" in model:
            tables["labels"] = traffic.labels_table
        command = ["replay", "--config", str(folder / "monitor.yaml"), "--out", str(folder / "out"), "--no-pictures"]
        for kind, table in tables.items():
            pq.write_table(table(self.traffic), folder / f"{kind}.parquet")
            command += [f"--{kind}", str(folder / f"{kind}.parquet")]
        with self.database() as url:
            done = run_driftline(*command, "--database", url, timeout_s=REPLAY_S_MAX)
        if done.returncode:
            raise WrongAnswerError(f"the replay failed: {done.stderr}")
        return {name: list(_rows_of_file(folder / "out" / f"{name}.csv")) for name in ("drift", "performance")}

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give an empty database with the current schema, and nothing left to be written of those before."""
        with fresh_database(self.services.postgres_url) as url:
            migrate_store(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("checkpoint")
            yield url


def _rows_of_file(file: Path) -> Iterator[dict[str, str]]:
    with file.open(newline="") as lines:
        yield from csv.DictReader(lines)


def send(bootstrap_servers: str, topic: str, messages: Iterable[Message], headers: Any = None) -> None:
    """Put messages into a topic, in their order."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 200_000,
            "message.max.bytes": 32 * 1024 * 1024,
            "enable.idempotence": True,
            "log_level": 0,
        }
    )
    for number, message in enumerate(messages):
        while True:
            try:
                producer.produce(topic, message.value, message.key, message.partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 10_000 == 0:
            producer.poll(0)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} messages could not be sent to {topic}")


def ends(bootstrap_servers: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Tell where each partition's log ends."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "ends", "log_level": 0})
    try:
        found = {}
        for topic in topics:
            for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
                found[topic, partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)[1]
        return found
    finally:
        consumer.close()
