"""How many labels a second find their predictions among millions, in memory and beyond it?

The store is filled by a worker, with predictions of a month, and vacuumed: within a month autovacuum does that to all
but the rows of the last minute, and here the month takes a minute. Then workers drain topics of labels, with and
without `prediction_timestamp` in turns. Last the server is started again within a memory control group smaller than
what it stores, with nothing of it left in the system's cache. Invariants: labels are of predictions chosen by chance,
so every one is a probe of its own; each must have made its pair, and what came of them, by day, classes and score, must
be what numpy counts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import psycopg
import pyarrow as pa

from benchmarks.measuring.drain import DRAIN_S_MAX, positions, worker
from benchmarks.measuring.usage import MIB, Meter, Usage
from benchmarks.report.results import Measured
from benchmarks.setting import traffic
from benchmarks.setting.brute_force import check_outcomes
from benchmarks.setting.services import with_process
from benchmarks.setting.stage import ARROW_HEADERS, PARTITIONS, Stage, Topics, WrongAnswerError, ends, send
from benchmarks.setting.traffic import MODEL, Traffic
from driftline.embedded import embedded_postgres
from tests.support.monitors import migrate_store

STORED_A_ROW = 5
"""So many predictions are stored for one that another row drains: five million, if a million are drained."""

LABELS_SHARE = 0.012
"""Of the predictions stored, that each drain of labels looks for."""

SLICES = 3
SEED = 11
MONTH_S = 2_500_000
"""Event time that the predictions take."""

EVENTS_A_MESSAGE = 5_000
MEMORY_MIB_MAX = 384
CONTROL_GROUPS = Path("/sys/fs/cgroup/memory")
DISBAND_TRIES_MAX = 50
COUNTED = "select reason, sum(n)::bigint from driftline.v_counts group by 1"


@dataclass
class _Join:
    """A store, and the labels that are still to come."""

    stage: Stage
    events: Traffic
    predictions: str
    left: list[Traffic]
    joined: list[Traffic] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    usages: list[Usage] = field(default_factory=list)

    def fill(self, url: str) -> None:
        topics = Topics(self.predictions, self.stage.new_topic("join-labels"))
        with worker(self.stage, {MODEL: _model(self.stage)}, topics, url) as start:
            running, goal = start(), ends(self.stage.bootstrap_servers, [self.predictions])
            with psycopg.connect(url, autocommit=True) as connection:
                running.wait(lambda: goal.items() <= positions(connection).items(), "the store to fill", DRAIN_S_MAX)
                connection.execute("vacuum driftline.prediction")

    def drain(self, figure: str, url: str, process: psutil.Process, *, with_time: bool) -> None:
        """Drain the next labels."""
        labels, topic = self.left.pop(), self.stage.new_topic("join-labels")
        messages = traffic.json_labels(labels, PARTITIONS, with_prediction_time=with_time)
        send(self.stage.bootstrap_servers, topic, messages)
        goal = ends(self.stage.bootstrap_servers, [topic])
        processes = {**self.stage.services.processes, "database": process}
        with (
            psycopg.connect(url, autocommit=True) as connection,
            worker(self.stage, {MODEL: _model(self.stage)}, Topics(self.predictions, topic), url) as start,
        ):
            connection.execute("checkpoint")
            running = start()
            meter = Meter(running.process, processes)
            meter.start()
            running.wait(lambda: goal.items() <= positions(connection).items(), "the labels", DRAIN_S_MAX)
            usage = meter.stop()
            self.joined.append(labels)
            self.check(connection, figure)
        self.rates.setdefault(figure, []).append(len(labels.labelled) / usage.seconds)
        self.usages.append(usage)

    def check(self, connection: psycopg.Connection[Any], figure: str) -> None:
        """Compare what the store holds of the labels that came so far."""
        n = sum(len(labels.labelled) for labels in self.joined)
        counted = {reason: int(n) for reason, n in connection.execute(COUNTED).fetchall()}
        wanted = {"prediction": len(self.events), "label": n, "pair": n}
        if counted != wanted:
            raise WrongAnswerError(f"{figure}: counted {counted}, not {wanted}")
        try:
            check_outcomes(connection, self.events, self.joined)
        except WrongAnswerError as error:
            raise WrongAnswerError(f"{figure}: {error}") from None


def measure_join(stage: Stage) -> Measured:
    """Fill a store and join labels with it."""
    stored = STORED_A_ROW * stage.size.events
    events = traffic.make_traffic(stored, SEED, events_a_second=stored / MONTH_S)
    predictions = stage.new_topic("join-predictions")
    places = np.arange(stored) % PARTITIONS
    send(
        stage.bootstrap_servers,
        predictions,
        traffic.arrow_messages(_table(events), places, PARTITIONS, EVENTS_A_MESSAGE),
        ARROW_HEADERS,
    )
    join = _Join(stage, events, predictions, _slices(events))
    with tempfile.TemporaryDirectory(prefix="driftline-join-") as place:
        home = Path(place)
        home.chmod(0o755)  # the server may run as another user
        with _server(home) as (url, process):
            migrate_store(url)
            join.fill(url)
            for _ in range(SLICES):
                join.drain("labels_per_s", url, process, with_time=False)
                join.drain("labels_with_time_per_s", url, process, with_time=True)
            stored_mib = _stored_mib(url)
        if stored_mib > MEMORY_MIB_MAX and os.access(CONTROL_GROUPS, os.W_OK):
            _forget_cached(home.rglob("*"))
            with _server(home) as (url, process), _bounded(process):
                for _ in range(SLICES):
                    join.drain("labels_beyond_memory_per_s", url, process, with_time=False)
    figures = {name: median(rates) for name, rates in join.rates.items()}
    figures |= {"stored_predictions": float(stored), "stored_mib": stored_mib}
    middle = sorted(join.usages[: 2 * SLICES], key=lambda usage: usage.seconds)[SLICES]
    return Measured(figures, middle.cpu_s, middle.peak_mib, int(LABELS_SHARE * stored))


def _model(stage: Stage) -> dict[str, Any]:
    return {
        "task": "binary",
        "reference": {"path": str(stage.reference)},
        "features": [{"name": "amount", "type": "numeric"}],
        "windows": {"length": "1d"},
        "labels": {"horizon": "30d"},
    }


def _table(events: Traffic) -> pa.Table:
    """Give the predictions with one feature: what else they say is not stored."""
    whole = events.pool
    few = replace(whole, numeric={"amount": whole.numeric["amount"]}, categorical={}, region=whole.region[:0])
    return traffic.predictions_table(replace(events, pool=few))


def _slices(events: Traffic) -> list[Traffic]:
    """Choose labels for every slice, no prediction twice."""
    chance = np.random.default_rng(SEED)
    chosen = chance.choice(len(events.labelled), (3 * SLICES, int(LABELS_SHARE * len(events))), replace=False)
    return [
        replace(events, labelled=events.labelled[at], label_time_ms=events.label_time_ms[at], label=events.label[at])
        for at in np.sort(chosen, axis=1)
    ]


@contextmanager
def _server(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    server = embedded_postgres(home / "server", durable=True)
    url, process = with_process(server.__enter__)
    try:
        assert process is not None
        yield url, process
    finally:
        server.__exit__(None, None, None)


def _stored_mib(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("select pg_database_size(current_database())").fetchone()
    assert found is not None
    return float(found[0] / MIB)


def _forget_cached(files: Iterable[Path]) -> None:
    """Let the system forget what it has cached of files that are on the disk."""
    for file in files:
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


@contextmanager
def _bounded(process: psutil.Process) -> Iterator[None]:
    """Bound the memory of a process and of all below it, cached files included."""
    group = CONTROL_GROUPS / f"driftline-bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(MEMORY_MIB_MAX * MIB))
        for each in (process, *process.children(recursive=True)):
            with suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(each.pid))
        yield
    finally:
        _disband(group)


def _disband(group: Path) -> None:
    """Let the members of a control group go, and remove it; a server makes processes while they are let go."""
    for _ in range(DISBAND_TRIES_MAX):
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (CONTROL_GROUPS / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)
    group.rmdir()
