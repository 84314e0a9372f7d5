"""Real workers as processes, and the employment data as a log: what live tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from confluent_kafka import Producer

PROJECT = Path(__file__).parents[2]
START_MS = 1_451_606_400_000
LABEL_DELAY_MS = 3_600_000
DRIFTLINE = ("-m", "driftline.cli")


@dataclass(frozen=True)
class Log:
    """Messages of one topic, by partition, in the order they are to be sent."""

    topic: str
    messages: list[tuple[int, bytes, bytes]]
    """(partition, key, value)."""


def run_driftline(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, *DRIFTLINE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


class WorkerProcess:
    """One `driftline run`, or another command that goes on until it is told to stop.

    Parameters
    ----------
    home
        Where it runs and may leave what is temporary.
    program
        Arguments for Python, if it is not quite the command line.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        home: Path | None = None,
        program: Sequence[str] = DRIFTLINE,
        command: str = "run",
    ) -> None:
        self._log = log.open("ab")
        command_line = [sys.executable, *program, command, "--config", str(config)]
        places = {"PYTHONPATH": str(PROJECT)} | ({"TMPDIR": str(home)} if home else {})
        self.process = subprocess.Popen(
            command_line, stdout=self._log, stderr=self._log, cwd=home, env={**os.environ, **places}
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to just this process."""
        os.kill(self.process.pid, number)

    def end(self) -> int:
        """Stop politely, or else hard; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._log.close()


@contextmanager
def workers(config: Path, logs: Path, n: int) -> Iterator[list[WorkerProcess]]:
    """Run some workers; more may be put into the list, all are stopped at the end."""
    running = [WorkerProcess(config, logs / f"worker-{number}.log") for number in range(n)]
    try:
        yield running
    finally:
        for worker in running:
            worker.end()


def send(bootstrap_servers: str, log: Log, between: Callable[[int], None] = lambda sent: None) -> None:
    """Send a log; `between` is called now and then with the number of messages sent."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "compression.type": "lz4"})
    for sent, (partition, key, value) in enumerate(log.messages):
        while True:
            try:
                producer.produce(log.topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
        if sent % 5_000 == 0:
            producer.poll(0)
            between(sent)
    assert producer.flush(60) == 0


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 120) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {timeout_s} s for {what}")


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """Run a query on its own connection."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def employment_events(shared_data: Path, rows: int | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the employment predictions and labels as events of the contract, a second apart, labels an hour later."""
    analysis = pq.read_table(shared_data / "employment_ma_analysis.parquet").slice(0, rows)
    labels = pq.read_table(shared_data / "employment_ma_labels.parquet").slice(0, rows)
    left_out = {"id", "prediction", "predicted_probability"}
    names = [name for name in analysis.schema.names if name not in left_out]
    columns = {name: analysis[name].to_pylist() for name in analysis.schema.names}
    predictions, truths = [], []
    for row in range(analysis.num_rows):
        time_ms = START_MS + row * 1000
        identity = str(columns["id"][row])
        predictions.append(
            {
                "prediction_id": identity,
                "model": "employment",
                "timestamp": time_ms,
                "prediction": columns["prediction"][row],
                "score": columns["predicted_probability"][row],
                "features": {name: columns[name][row] for name in names},
            }
        )
    for row, (identity, label) in enumerate(zip(labels["id"].to_pylist(), labels["employed"].to_pylist(), strict=True)):
        time_ms = START_MS + row * 1000 + LABEL_DELAY_MS
        truths.append({"prediction_id": str(identity), "model": "employment", "timestamp": time_ms, "label": label})
    return predictions, truths


def message(event: dict[str, Any], partitions: int) -> tuple[int, bytes, bytes]:
    """Put an event on the partition of its id."""
    key = event["prediction_id"].encode()
    return sum(key) % partitions, key, json.dumps(event).encode()
