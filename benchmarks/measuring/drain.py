"""How fast does a real worker drain a backlog, and is what it found right?

A row of ours starts `driftline run` on topics that are full and a store that is empty. Measured is from the moment the
worker begins to read until the positions in Postgres, which move in the transactions of the results, have reached the
ends of all topics. Invariants: what starts before and is checked after is not measured; a worker whose answer is wrong
has no figure.
"""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.measuring.usage import Meter
from benchmarks.report.results import Measured
from benchmarks.setting.checks import check_answer
from benchmarks.setting.model import model_settings
from benchmarks.setting.stage import PARTITIONS, Form, Stage, Topics, ends
from benchmarks.setting.traffic import MODEL
from tests.support.live import DRIFTLINE, WorkerProcess

POLL_S = 0.02
START_S_MAX = 60
DRAIN_S_MAX = 400
READING = b"reading partitions"
"""What a worker's log says when it knows where to go on, just before it asks the broker for the first time."""


@dataclass(frozen=True)
class Running:
    """A worker that has begun to read, on a store of its own."""

    process: psutil.Process
    url: str
    log: Path

    def fail_if_ended(self) -> None:
        """Raise if the worker can't go on."""
        if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"the worker ended:\n{self.log.read_text()[-2000:]}")

    def wait(self, condition: Callable[[], bool], what: str, seconds_max: float, poll_s: float = POLL_S) -> None:
        """Wait until something holds, looking closely."""
        deadline = time.monotonic() + seconds_max
        while not condition():
            self.fail_if_ended()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds_max} s for {what}:\n{self.log.read_text()[-2000:]}")
            time.sleep(poll_s)


@contextmanager
def worker(
    stage: Stage,
    models: Mapping[str, Any],
    topics: Topics,
    store: str | None = None,
    program: Sequence[str] = DRIFTLINE,
) -> Iterator[Callable[[], Running]]:
    """Prepare a store and a configuration; yield what starts a worker on them and waits until it begins to read.

    Parameters
    ----------
    store
        The URL of a database that has the schema already; by default a new one.
    program
        What a worker is, as arguments for Python, if not the command line of the system.
    """
    with stage.database() if store is None else nullcontext(store) as url:
        folder = stage.folder / secrets.token_hex(4)
        folder.mkdir()
        config = folder / "monitor.yaml"
        names = {role: f"bench-{role}" for role in ("drift", "retraining", "dead_letters")}
        inputs = {"predictions": topics.predictions, "labels": topics.labels}
        settings = {
            "kafka": {
                "bootstrap_servers": stage.bootstrap_servers,
                "group": f"bench-{folder.name}",
                "topics": names | inputs,
            },
            "postgres": {"url": url},
            "models": models,
        }
        config.write_text(json.dumps(settings))
        started: list[WorkerProcess] = []

        def start() -> Running:
            log = folder / f"worker-{len(started)}.log"
            started.append(WorkerProcess(config, log, program=program))
            running = Running(psutil.Process(started[-1].process.pid), url, log)
            running.wait(lambda: READING in log.read_bytes(), "the worker to read", START_S_MAX)
            return running

        try:
            yield start
        finally:
            for process in started:
                process.signal(signal.SIGKILL)
                process.end()


def prepare_drain(stage: Stage, form: Form, *, labels: bool, partitions: int = PARTITIONS) -> None:
    """Fill the topics that are drained, and find what a replay finds in them."""
    stage.topics(form, partitions)
    stage.replayed(model_settings(stage.reference, labels=labels))


def drain(stage: Stage, form: Form, *, labels: bool) -> Measured:
    """Drain the topics of a form with one worker, and check what it found."""
    topics, events = stage.topics(form), stage.traffic
    model = model_settings(stage.reference, labels=labels)
    read = [topics.predictions, topics.labels] if labels else [topics.predictions]
    goal = ends(stage.bootstrap_servers, read)
    with worker(stage, {MODEL: model}, topics) as start:
        running = start()
        meter = Meter(running.process, stage.services.processes)
        meter.start()
        with psycopg.connect(running.url, autocommit=True) as connection:
            running.wait(lambda: positions(connection) == goal, "the end of the log", DRAIN_S_MAX)
            usage = meter.stop()
            expected = stage.replayed(model)
            check_answer(connection, events if labels else events.without_labels(), expected, running)
    return Measured.of(len(events), usage)


def positions(connection: psycopg.Connection[Any]) -> dict[tuple[str, int], int]:
    """Tell up to where each partition is committed."""
    found = connection.execute("select topic, partition, next from driftline.stream_offset").fetchall()
    return {(topic, partition): position for topic, partition, position in found}
