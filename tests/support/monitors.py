"""A small model that is watched by real workers: its configuration, its events, and what became of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from driftline.store.connection import connect
from driftline.store.migrate import migrate
from tests.support.live import rows_of, wait_for
from tests.support.pipelines import START_MS

REFERENCE_ROWS = 400
WINDOWS = {"length": "10s", "out_of_orderness": "1s", "allowed_lateness": "0s", "restate_after": "1s", "min_events": 1}
MODEL: dict[str, Any] = {
    "task": "binary",
    "features": [{"name": "x", "type": "numeric"}, {"name": "c", "type": "categorical"}],
    "windows": WINDOWS,
}
ROLES = ("predictions", "labels", "features", "dead_letters")


@dataclass(frozen=True)
class Monitor:
    """A configuration on disk, and where its workers read and write.

    Parameters
    ----------
    config
        The file.
    settings
        What it holds.
    """

    config: Path
    settings: Mapping[str, Any]

    @property
    def url(self) -> str:
        """The store."""
        return str(self.settings["postgres"]["url"])

    @property
    def address(self) -> str:
        """The broker."""
        return str(self.settings["kafka"]["bootstrap_servers"])

    def topic(self, role: str) -> str:
        """Name the topic that has a role."""
        return str(self.settings["kafka"]["topics"][role])

    def variant(self, name: str, **sections: Mapping[str, Any] | None) -> Monitor:
        """Write another file, beside this one, with some keys of some sections changed, or without a section."""
        settings = dict(self.settings)
        for section, keys in sections.items():
            settings[section] = {**settings.get(section, {}), **(keys or {})}
            if keys is None:
                del settings[section]
        return replace(self, config=self.config.with_name(f"{name}.yaml"), settings=settings).written()

    def written(self) -> Monitor:
        """Write the file; JSON is YAML too."""
        self.config.write_text(json.dumps(self.settings))
        return self

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return rows_of(self.url, query)

    def counts(self) -> Counter[tuple[str, str]]:
        """Return all counters by (model, reason)."""
        return Counter(
            {
                (model, reason): n
                for model, reason, n in self.rows(
                    "select model, reason, sum(n)::int from driftline.v_counts group by 1, 2"
                )
            }
        )

    def read(self) -> int:
        """Return how many records are read, all partitions together."""
        return int(self.rows("select coalesce(sum(next), 0)::bigint from driftline.stream_offset")[0][0])

    def wait_until_read(self, records: int) -> None:
        """Wait until so many records are read."""
        wait_for(lambda: self.read() >= records, f"{records} records to be read")


def write_reference(folder: Path) -> Path:
    """Write a reference: `x` from 0 to 1, `c` half `a` and half `b`, both classes."""
    rows = range(REFERENCE_ROWS)
    columns = {
        "prediction": [row % 2 for row in rows],
        "score": [(row + 0.5) / REFERENCE_ROWS for row in rows],
        "x": [row / REFERENCE_ROWS for row in rows],
        "c": ["ab"[row % 2] for row in rows],
    }
    path = folder / "reference.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def make_monitor(
    folder: Path,
    bootstrap_servers: str,
    url: str,
    topics: Mapping[str, str],
    models: Mapping[str, Mapping[str, Any]] | None = None,
    **sections: Mapping[str, Any],
) -> Monitor:
    """Write a configuration of small models, by default one that is called `m` and has labels; migrate its store.

    Parameters
    ----------
    topics
        Names by role.
    sections
        Further sections of the file; `kafka` adds to what is needed.
    """
    reference = {"path": str(write_reference(folder))}
    chosen = {"m": {"labels": {"horizon": "1d"}}} if models is None else models
    kafka = {
        "bootstrap_servers": bootstrap_servers,
        "group": topics["predictions"],
        "topics": dict(topics),
        "session_timeout": "6s",
        "heartbeat": "1s",
    }
    settings = {
        **sections,
        "kafka": {**kafka, **sections.get("kafka", {})},
        "postgres": {"url": url, "connect_timeout": "3s"},
        "models": {name: {**MODEL, "reference": reference, **model} for name, model in chosen.items()},
    }
    made = Monitor(folder / "monitor.yaml", settings).written()
    migrate_store(url)
    return made


def migrate_store(url: str) -> None:
    """Bring a store to the current schema."""

    async def go() -> None:
        async with await connect(url) as connection:
            await migrate(connection)

    asyncio.run(go())


def create_topics(bootstrap_servers: str, names: Iterable[str], partitions: int = 1, **config: str) -> None:
    """Make topics with settings of their own and wait until they are led."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    for name in names:
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)
        wait_for(partial(_led, admin, name, partitions), f"leaders of {name}")


def _led(admin: AdminClient, name: str, partitions: int) -> bool:
    found = admin.list_topics(name, timeout=30).topics[name]
    return sum(partition.leader >= 0 for partition in found.partitions.values()) == partitions


@dataclass(frozen=True)
class Sent:
    """One message to send."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = 0
    key: bytes | None = None


def send_all(bootstrap_servers: str, topic: str, messages: Iterable[Sent], compression: str = "none") -> list[int]:
    """Send messages in their order and return their offsets."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "compression.type": compression,
            "message.max.bytes": 64 * 1024 * 1024,
            "enable.idempotence": True,
            "log_level": 0,
        }
    )
    sent = list(messages)
    offsets = [-1] * len(sent)

    def noting(place: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            offsets[place] = message.offset() or 0

        return delivered

    for place, each in enumerate(sent):
        producer.produce(
            topic, each.value, each.key, each.partition, headers=list(each.headers), on_delivery=noting(place)
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert -1 not in offsets
    return offsets


def prediction(name: str, at_ms: int, **rest: Any) -> dict[str, Any]:
    """Make a prediction of model `m`; `at_ms` counts from `START_MS`."""
    return {
        "prediction_id": name,
        "model": "m",
        "version": "v1",
        "timestamp": START_MS + at_ms,
        "prediction": 1,
        "score": 0.75,
        "features": {"x": 0.5, "c": "a"},
    } | rest


def label(name: str, at_ms: int, **rest: Any) -> dict[str, Any]:
    """Make a label of model `m`."""
    return {"prediction_id": name, "model": "m", "timestamp": START_MS + at_ms, "label": 1} | rest


def as_json(event: object) -> bytes:
    """Write an event as Python producers do, NaN and lone surrogates included."""
    return json.dumps(event).encode()


def make_topics_and_monitor(
    folder: Path, address: str, url: str, topic_name: Callable[[str], str], partitions: int = 2, **sections: Any
) -> Monitor:
    """Make the topics and a monitor of them; there is none for features."""
    topics = {role: topic_name(role) for role in ROLES}
    create_topics(address, [topics[role] for role in ("predictions", "labels")], partitions)
    create_topics(address, [topics["dead_letters"]])
    return make_monitor(folder, address, url, topics, **sections)


def send_events(monitor: Monitor, start: int, end: int, partitions: int = 2) -> None:
    """Send predictions number `start` to `end`, ten of them a second of event time, each with its label."""
    for role, make in (("predictions", prediction), ("labels", label)):
        events = [Sent(as_json(make(f"e-{row}", row * 100)), (), row % partitions) for row in range(start, end)]
        send_all(monitor.address, monitor.topic(role), events)


class Traffic:
    """Sends events as `send_events` does for as long as it is open, also while nobody reads them.

    Parameters
    ----------
    batch
        How many predictions and labels are sent at a time.
    pause_s
        How long is waited before each batch.
    """

    def __init__(self, monitor: Monitor, *, batch: int = 50, pause_s: float = 0.5, partitions: int = 2) -> None:
        self._monitor, self._batch, self._pause_s, self._partitions = monitor, batch, pause_s, partitions
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0

    def _send(self) -> None:
        while not self._closing.wait(self._pause_s):
            send_events(self._monitor, self.sent, self.sent + self._batch, self._partitions)
            self.sent += self._batch

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
