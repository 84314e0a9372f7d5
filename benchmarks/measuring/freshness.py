"""How long after it was sent does an event show in its pane's row, at a steady rate?

A pane's rows move in the same transaction as the position of the partition, so an event is fresh when that position has
passed it. It is looked at every few milliseconds, and an event counts with the look that first saw it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
from confluent_kafka import Producer

from benchmarks.measuring.drain import positions, worker
from benchmarks.measuring.usage import Meter
from benchmarks.report.results import Measured
from benchmarks.setting.checks import check_answer
from benchmarks.setting.model import model_settings
from benchmarks.setting.stage import PARTITIONS, Stage, Topics
from benchmarks.setting.traffic import MODEL, Message, json_predictions
from driftline.events import Floats

EVENTS_A_SECOND = 10_000
SECONDS = 20
TICK_S = 0.01
LOOK_S = 0.005
SETTLES_S_MAX = 30


@dataclass
class Sending:
    """When each message was sent, by partition, in the order of the log."""

    bootstrap_servers: str
    topic: str
    messages: Sequence[Message]
    sent_at: list[list[float]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])

    def run(self) -> None:
        """Send at the rate, some every tick."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "linger.ms": 5, "enable.idempotence": True})
        started = time.perf_counter()
        for number, message in enumerate(self.messages):
            while number >= (time.perf_counter() - started) * EVENTS_A_SECOND:
                producer.poll(0)
                time.sleep(TICK_S)
            producer.produce(self.topic, message.value, message.key, message.partition)
            self.sent_at[message.partition].append(time.perf_counter())
        producer.flush(30)


def measure_freshness(stage: Stage) -> Measured:
    """Send at a steady rate to a worker that has read everything, and note when each event is committed."""
    events = stage.traffic.first(min(EVENTS_A_SECOND * SECONDS, len(stage.traffic)))
    topics = Topics(stage.new_topic("fresh-predictions"), stage.new_topic("fresh-labels"))
    model = model_settings(stage.reference, labels=False)
    expected = stage.replayed(model)
    sending = Sending(stage.bootstrap_servers, topics.predictions, list(json_predictions(events, PARTITIONS)))
    with worker(stage, {MODEL: model}, topics) as start:
        running = start()
        meter = Meter(running.process, stage.services.processes)
        meter.start()
        thread = threading.Thread(target=sending.run, daemon=True)
        thread.start()
        looks: list[tuple[float, list[int]]] = []
        with psycopg.connect(running.url, autocommit=True) as connection:

            def all_seen() -> bool:
                found = positions(connection)
                reached = [found.get((topics.predictions, partition), 0) for partition in range(PARTITIONS)]
                looks.append((time.perf_counter(), reached))
                return sum(reached) == len(events)

            running.wait(all_seen, "the end of the log", SECONDS + SETTLES_S_MAX, poll_s=LOOK_S)
            usage = meter.stop()
            thread.join()
            check_answer(connection, events, expected, running)
    waited_ms = 1000 * np.concatenate([_waited(looks, sending.sent_at, partition) for partition in range(PARTITIONS)])
    p50, p99, p100 = np.quantile(waited_ms, (0.5, 0.99, 1.0))
    figures = {"freshness_ms_p50": float(p50), "freshness_ms_p99": float(p99), "freshness_ms_max": float(p100)}
    return Measured(figures, usage.cpu_s, usage.peak_mib, len(events))


def _waited(looks: Sequence[tuple[float, list[int]]], sent_at: Sequence[Sequence[float]], partition: int) -> Floats:
    """Return how long each event of a partition waited, in seconds."""
    at = np.array([moment for moment, _ in looks])
    reached = np.array([positions[partition] for _, positions in looks])
    sent = np.array(sent_at[partition])
    seen: Floats = at[np.searchsorted(reached, np.arange(1, len(sent) + 1))] - sent
    return seen
