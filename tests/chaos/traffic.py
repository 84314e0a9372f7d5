"""What is sent: a steady stream of predictions and their labels, the same in every run, with times when things are bad.

Every event follows from its number alone, so what a careful reader would find can be told without having listened.
Event time runs faster than the clock. No event is late: what late events do is tried by simulation, where the time at
which a window closes can be chosen.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, Message, Producer

from tests.support.monitors import Monitor
from tests.support.pipelines import START_MS

INPUTS = ("predictions", "labels")
STEP_MS = 40
WINDOW_MS = 60_000
LABEL_DELAY_MS = 20_000
ROWS_A_WINDOW = WINDOW_MS // STEP_MS
CYCLE_WINDOWS = 6
CYCLE = CYCLE_WINDOWS * ROWS_A_WINDOW
SHIFTED, WRONG = 1, 3
"""In which window of a cycle a feature is shifted, and in which predictions are wrong; the others are calm."""

REPEATED_EVERY = 97
FAREWELL_AFTER_MS = 600_000
REFERENCE_ROWS = 2_000
RATE = 250
TICK_S = 0.1

Event = dict[str, Any]


def features_of(row: int, *, shifted: bool = False) -> Event:
    """Make the features of an event."""
    chance = random.Random(row)
    return {"x": chance.random() + 0.5 * shifted, "c": chance.choice("aab")}


def segment_of(row: int) -> Event:
    """Say in which segment an event is."""
    return {"s": "uv"[row // 2 % 2]}


def event_of(role: str, row: int) -> Event:
    """Make prediction or label number `row`."""
    window, chance = row // ROWS_A_WINDOW % CYCLE_WINDOWS, random.Random(row + 0.5)
    predicted, score = row % 2, round((chance.random() + row % 2) / 2, 3)
    at_ms = START_MS + row * STEP_MS
    base: Event = {"prediction_id": f"p{row}", "model": "m", "timestamp": at_ms}
    if role == "labels":
        is_wrong = chance.random() < (0.45 if window == WRONG else 0.05)
        return base | {"timestamp": at_ms + LABEL_DELAY_MS, "label": predicted ^ is_wrong}
    features = features_of(row, shifted=window == SHIFTED)
    told = {"version": "v1", "prediction": predicted, "score": score}
    return base | told | {"features": features, "segment": segment_of(row)}


def farewell_of(role: str, rows: int, partition: int) -> Event:
    """Make an event of a time at which all windows of the first `rows` events are closed."""
    at_ms = START_MS + rows * STEP_MS + FAREWELL_AFTER_MS
    return event_of(role, 0) | {"prediction_id": f"end-{partition}", "timestamp": at_ms}


def write_reference(path: Path) -> Path:
    """Write what calm predictions look like."""
    rows = [
        {
            "prediction": row % 2,
            "score": (row + 0.5) / REFERENCE_ROWS,
            "label": row % 2,
            **features_of(-row - 1),
            **segment_of(row),
        }
        for row in range(REFERENCE_ROWS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


class Traffic:
    """Sends events at a steady pace, also while nobody takes them.

    Parameters
    ----------
    partitions
        How many each topic has in the beginning.
    rate
        Predictions a second; there are as many labels.
    """

    def __init__(self, monitor: Monitor, partitions: int, rate: int = RATE) -> None:
        self._monitor, self._rate = monitor, rate
        self._partitions = partitions
        self._producer = self._new_producer()
        self._flowing, self._ended = threading.Event(), threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._send)
        self.rows = 0
        """How many predictions were made."""
        self.in_log: dict[tuple[str, int], list[str]] = defaultdict(list)
        """By role and partition, the ids in the order in which the broker has them: offset by offset."""
        self.lost: dict[str, Counter[str]] = {role: Counter() for role in INPUTS}
        """By role, how many records of an id were deleted before anybody could read them."""
        self.farewell = 0
        """In how many partitions of each topic there is an event behind all others."""

    def __enter__(self) -> Traffic:
        self._flowing.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._flowing.set()
        self._thread.join()

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._monitor.address,
                "enable.idempotence": True,
                "linger.ms": 20,
                "message.timeout.ms": 0,
                "queue.buffering.max.messages": 2_000_000,
                "topic.metadata.refresh.interval.ms": 1_000,
                "socket.timeout.ms": 5_000,
                "log_level": 0,
            }
        )

    def _send(self) -> None:
        due, began = 0.0, time.monotonic()
        while not self._ended.wait(TICK_S):
            due += self._rate * (time.monotonic() - began)
            began = time.monotonic()
            with self._turn:
                if not self._flowing.is_set():
                    due = 0.0
                rows = int(due)
                due -= rows
                self._produce(rows)

    def _produce(self, rows: int) -> None:
        for row in range(self.rows, self.rows + rows):
            for role in INPUTS:
                for _ in range(2 if row % REPEATED_EVERY == 0 else 1):
                    self._produce_one(role, event_of(role, row), row % self._partitions)
        self.rows += rows
        self._producer.poll(0)

    def _produce_one(self, role: str, event: Event, partition: int) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            log = self.in_log[role, partition]
            assert message.offset() == len(log), "the log is not what was sent"
            log.append(event["prediction_id"])

        value = json.dumps(event).encode()
        self._producer.produce(self._monitor.topic(role), value, None, partition, on_delivery=delivered)

    @property
    def acknowledged(self) -> int:
        """How many records the broker has."""
        return sum(map(len, list(self.in_log.values())))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send nothing; all that was made before is in the log."""
        with self._turn:
            self._flowing.clear()
            assert self._producer.flush(120) == 0
        try:
            yield
        finally:
            self._flowing.set()

    def begin_log_anew(self, role: str, deleted: dict[int, int]) -> None:
        """Go on in a topic that was made anew; of the one before, so many records of each partition had been read."""
        for partition, read in deleted.items():
            self.lost[role].update(self.in_log.pop((role, partition), [])[read:])
        self._producer = self._new_producer()

    def lose(self, role: str, partition: int, start: int, end: int) -> None:
        """Note that records of some offsets were deleted before anybody could read them."""
        self.lost[role].update(self.in_log[role, partition][start:end])

    def use_partitions(self, partitions: int) -> None:
        """Send to so many partitions of each topic from now on."""
        with self._turn:
            self._partitions = partitions

    def finish(self) -> None:
        """Send the rest of a cycle, so that the end is calm, and an event to every partition that closes all before."""
        self._ended.set()
        self._flowing.set()
        self._thread.join()
        self._produce(-self.rows % CYCLE)
        self.farewell = self._partitions
        for role in INPUTS:
            for partition in range(self._partitions):
                self._produce_one(role, farewell_of(role, self.rows, partition), partition)
        assert self._producer.flush(120) == 0

    def readable(self, role: str) -> Iterator[Event]:
        """Yield what could be read, as often as that."""
        for row in range(self.rows):
            event = event_of(role, row)
            times = (2 if row % REPEATED_EVERY == 0 else 1) - self.lost[role][event["prediction_id"]]
            yield from [event] * times
        for partition in range(self.farewell):
            yield farewell_of(role, self.rows, partition)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write what could be read as files to replay, by role."""
        files = {}
        for role in INPUTS:
            files[role] = folder / f"{role}.parquet"
            rows = [_flat(event) for event in self.readable(role)]
            pq.write_table(pa.Table.from_pylist(rows), files[role])
        return files


def _flat(event: Event) -> Event:
    nested = ("features", "segment")
    inner = {name: value for outer in nested for name, value in event.get(outer, {}).items()}
    return {name: value for name, value in event.items() if name not in nested} | inner
