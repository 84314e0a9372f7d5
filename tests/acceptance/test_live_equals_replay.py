"""Is what workers find through a real Kafka exactly what a replay of the same rows finds, whatever happens to them?"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.kafka import Broker
from tests.support.live import (
    START_MS,
    Log,
    WorkerProcess,
    employment_events,
    message,
    rows_of,
    run_driftline,
    send,
    wait_for,
    workers,
)
from tests.support.postgres import fresh_database

PARTITIONS = 4
ROWS = int(os.environ.get("DRIFTLINE_TEST_ROWS", "60000"))
"""Of the 208,892 there are; `make test-long` takes them all."""

PATIENCE_S = 300 + ROWS / 200
SETTLES_S_MAX = 60
SHUFFLED_BY = 300
REPEATED_SHARE = 0.01

MONITOR = """
{services}
models:
  employment:
    task: binary
    positive_class: 1
    reference: {{path: {reference}}}
    columns: {{id: id, time: timestamp, prediction: prediction, score: predicted_probability, label: employed}}
    features: [{{name: AGEP, type: numeric}}, {{name: SCHL, type: categorical}}, {{name: MAR, type: categorical}},
               {{name: RELP, type: categorical}}]
    segments: [SEX]
    windows: {{length: 1h, slide: 1h, out_of_orderness: 10m, restate_after: 1s}}
    # So low that chance alone opens and closes episodes of both kinds.
    drift: {{psi: {{effect: 0.004}}, significance: 0.03}}
    performance: {{floor: {{accuracy: 0.8}}}}
    retraining: {{consecutive: 1, cooldown: 3h}}
"""
SERVICES = """
kafka:
  bootstrap_servers: "{kafka}"
  group: {group}
  fetch_bytes_max: 300000
  session_timeout: 6s
  heartbeat: 1s
  topics: {{predictions: {predictions}, labels: {labels}, features: {features}, dead_letters: {dead}}}
postgres: {{url: "{postgres}"}}
"""

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]


def repeated_and_shuffled(events: list[dict[str, Any]], by: int, seed: int) -> list[dict[str, Any]]:
    """Repeat some events a little later, and shuffle all within bounds."""
    chance = random.Random(seed)
    places = [(place + chance.random() * by, event) for place, event in enumerate(events)]
    places += [
        (place + by * (1 + chance.random()), event)
        for place, event in enumerate(events)
        if chance.random() < REPEATED_SHARE
    ]
    return [event for _, event in sorted(places, key=lambda item: item[0])]


@dataclass(frozen=True)
class Replayed:
    """What the views must hold: rows, outgoing events in order, and when episodes opened and closed."""

    drift: set[tuple[Any, ...]]
    performance: set[tuple[Any, ...]]
    events: list[dict[str, Any]]
    episodes: set[tuple[Any, ...]]


EPISODES = """
    select episode_id, version, kind, severity, causes::text, opened_at, closed_at from driftline.v_episodes
     where closed_at is not null
"""


def replayed(folder: Path, shared_data: Path, database: str) -> Replayed:
    """Replay the same rows."""
    import pyarrow.parquet as pq

    config = folder / "replay.yaml"
    reference = shared_data / "employment_ma_reference.parquet"
    config.write_text(MONITOR.format(services="", reference=reference))
    for name in ("analysis", "labels"):
        table = pq.read_table(shared_data / f"employment_ma_{name}.parquet").slice(0, ROWS)
        pq.write_table(table, folder / f"{name}.parquet")
    done = run_driftline(
        "replay", "--config", str(config), "--predictions", str(folder / "analysis.parquet"),
        "--labels", str(folder / "labels.parquet"), "--out", str(folder / "out"),
        "--start", "2016-01-01T00:00:00Z", "--interval", "1s", "--label-delay", "1h", "--database", database,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Replayed(
        _read(folder / "out" / "drift.csv"),
        _read(folder / "out" / "performance.csv"),
        [json.loads(line) for line in (folder / "out" / "events.jsonl").read_text().splitlines()],
        set(rows_of(database, EPISODES)),
    )


def _read(file: Path) -> set[tuple[Any, ...]]:
    with file.open() as lines:
        return {_comparable(row) for row in csv.DictReader(lines)}


def _comparable(row: dict[str, Any]) -> tuple[Any, ...]:
    """Leave the revision out; numbers as numbers, times as moments."""
    return tuple((name, _value(name, value)) for name, value in sorted(row.items()) if name != "revision")


def _value(name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if name in ("window_start", "window_end"):
        return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)
    if name in ("score", "threshold", "p_value", "value", "low", "high", "coverage", "n_reference", "n_current",
                "n_predictions", "n_labelled"):  # fmt: skip
        return float(value)
    return value


@dataclass(frozen=True)
class Found:
    """What workers have written, all at one moment, and up to when windows are closed then."""

    closed: datetime
    drift: set[tuple[Any, ...]]
    performance: set[tuple[Any, ...]]
    events: list[dict[str, Any]]
    episodes: set[tuple[Any, ...]]


def found(url: str) -> Found:
    """Read what there is in one snapshot, for windows go on closing meanwhile."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def rows(view: str) -> set[tuple[Any, ...]]:
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
            return {_comparable(row) for row in cursor.execute(f"select * from driftline.{view}".encode())}

        closed = connection.execute("select max(closed_through) from driftline.evaluation").fetchall()[0][0]
        sent = connection.execute("select payload from driftline.outbox order by sequence").fetchall()
        episodes = set(connection.execute(EPISODES.encode()).fetchall())
        return Found(closed, rows("v_drift"), rows("v_performance"), [payload for (payload,) in sent], episodes)


def until(closed: datetime, rows: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Leave out what windows that are not closed yet will say."""
    return {row for row in rows if dict(row)["window_end"] <= closed}


def differences(live: set[tuple[Any, ...]], replay: set[tuple[Any, ...]]) -> list[str]:
    """List rows that only one of them has, by window, the first few."""
    only = [("live", dict(row)) for row in live - replay] + [("replay", dict(row)) for row in replay - live]
    return [f"{where}: {row}" for where, row in sorted(only, key=lambda item: str(item[1]["window_end"]))][:6]


def kill_and_replace(running: list[WorkerProcess], config: Path, logs: Path, url: str) -> None:
    """Kill the first worker in the middle of its work and start another one."""
    running[0].signal(signal.SIGKILL)
    running.append(WorkerProcess(config, logs / "worker-replacing.log"))


def stop_until_fenced(running: list[WorkerProcess], config: Path, logs: Path, url: str) -> None:
    """Stop the first worker until the group has gone on without it, then let it go on."""
    running[0].signal(signal.SIGSTOP)
    other = f"select jsonb_array_length(partitions) from driftline.v_workers where pid = {running[1].process.pid}"
    wait_for(lambda: rows_of(url, other) == [(2 * PARTITIONS,)], "the other one to have all partitions", PATIENCE_S)
    running[0].signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", [kill_and_replace, stop_until_fenced])
def test_two_workers_find_what_a_replay_finds(
    fault: Callable[[list[WorkerProcess], Path, Path, str], None],
    broker: Broker,
    postgres_url: str,
    postgres_server_url: str,
    shared_data: Path,
    topic_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    with fresh_database(postgres_server_url) as database:
        expected = replayed(tmp_path, shared_data, database)
    topics = {kind: topic_name(kind) for kind in ("predictions", "labels", "features", "dead")}
    for kind in ("predictions", "labels"):
        broker.create_topic(topics[kind], PARTITIONS)
    config = tmp_path / "live.yaml"
    services = SERVICES.format(
        kafka=broker.bootstrap_servers, group=topic_name("group"), postgres=postgres_url, **topics
    )
    config.write_text(MONITOR.format(services=services, reference=shared_data / "employment_ma_reference.parquet"))
    assert run_driftline("migrate", "--config", str(config)).returncode == 0
    predictions, labels = employment_events(shared_data, ROWS)
    logs = {
        "predictions": Log(
            topics["predictions"], [message(e, PARTITIONS) for e in repeated_and_shuffled(predictions, 20, 1)]
        ),
        "labels": Log(
            topics["labels"], [message(e, PARTITIONS) for e in repeated_and_shuffled(labels, SHUFFLED_BY, 2)]
        ),
    }
    total = sum(len(log.messages) for log in logs.values())
    read = "select coalesce(sum(next), 0) from driftline.stream_offset"
    with workers(config, tmp_path, 2) as running:
        send(broker.bootstrap_servers, logs["labels"])
        send(broker.bootstrap_servers, logs["predictions"])
        wait_for(lambda: rows_of(postgres_url, read)[0][0] > total / 8, "some of the log", PATIENCE_S)
        assert rows_of(postgres_url, read)[0][0] < total * 0.95, "too fast to disturb"
        fault(running, config, tmp_path, postgres_url)
        wait_for(lambda: rows_of(postgres_url, read)[0][0] == total, "the whole log", PATIENCE_S)
        end = datetime.fromtimestamp(START_MS / 1000 + ROWS, UTC) - timedelta(hours=2)
        closed = f"select from driftline.evaluation where closed_through >= '{end}'"
        wait_for(lambda: rows_of(postgres_url, closed), "closed windows", PATIENCE_S)
        deadline = time.monotonic() + SETTLES_S_MAX
        while True:  # a restatement may be due
            live = found(postgres_url)
            same = (live.drift, live.performance) == tuple(
                until(live.closed, rows) for rows in (expected.drift, expected.performance)
            )
            if same or time.monotonic() > deadline:
                break
            time.sleep(1)

    assert differences(live.drift, until(live.closed, expected.drift)) == []
    assert differences(live.performance, until(live.closed, expected.performance)) == []
    assert live.events == [event for event in expected.events if datetime.fromisoformat(event["time"]) <= live.closed]
    assert live.episodes == {row for row in expected.episodes if row[-1] <= live.closed}
    assert {event["type"].removeprefix("driftline.") for event in live.events} == {
        "drift.detected", "drift.recovered", "performance.degraded", "performance.recovered", "retraining.requested"
    }  # fmt: skip
    counted = dict(rows_of(postgres_url, "select reason, sum(n)::int from driftline.v_counts group by 1"))
    assert counted["pair"] == ROWS
    assert counted["prediction"] - counted["repeated_prediction"] == ROWS
    assert counted["label"] - counted["repeated_label"] == ROWS
