"""Is what workers find through a real Kafka exactly what a replay of the same rows finds, whatever happens to them?"""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka import Broker
from tests.support.live import (
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
ROWS = 60_000
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
    drift: {{psi: {{effect: 0.004}}, significance: 0.01}}
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


def stored(url: str, view: str) -> set[tuple[Any, ...]]:
    """Read a view as comparable rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
        return {_comparable(row) for row in connection.execute(f"select * from driftline.{view}").fetchall()}


def differences(live: set[tuple[Any, ...]], replay: set[tuple[Any, ...]]) -> list[str]:
    """List rows that only one of them has, by window, the first few."""
    only = [("live", dict(row)) for row in live - replay] + [("replay", dict(row)) for row in replay - live]
    return [f"{where}: {row}" for where, row in sorted(only, key=lambda item: str(item[1]["window_end"]))][:6]


def kill_and_replace(running: list[WorkerProcess], config: Path, logs: Path) -> None:
    """Kill the first worker in the middle of its work and start another one."""
    running[0].signal(signal.SIGKILL)
    running.append(WorkerProcess(config, logs / "worker-replacing.log"))


def stop_until_fenced(running: list[WorkerProcess], config: Path, logs: Path) -> None:
    """Stop the first worker until the group has gone on without it, then let it go on."""
    running[0].signal(signal.SIGSTOP)
    time.sleep(14)
    running[0].signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", [kill_and_replace, stop_until_fenced])
def test_two_workers_find_what_a_replay_finds(
    fault: Callable[[list[WorkerProcess], Path, Path], None],
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
        wait_for(lambda: rows_of(postgres_url, read)[0][0] > total / 4, "a quarter of the log")
        assert rows_of(postgres_url, read)[0][0] < total * 0.95, "too fast to disturb"
        fault(running, config, tmp_path)
        wait_for(lambda: rows_of(postgres_url, read)[0][0] == total, "the whole log")
        last = "select max(closed_through) from driftline.evaluation"
        wait_for(
            lambda: rows_of(postgres_url, last)[0][0] >= datetime(2016, 1, 1, 15, tzinfo=UTC), "closed windows", 60
        )
        time.sleep(4)  # a restatement or two, should one be due
        closed = rows_of(postgres_url, last)[0][0]
        live_drift, live_performance = stored(postgres_url, "v_drift"), stored(postgres_url, "v_performance")
        live_events = [
            row[0] for row in rows_of(postgres_url, "select payload from driftline.outbox order by sequence")
        ]
        live_episodes = set(rows_of(postgres_url, EPISODES))

    def until_closed(rows: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
        return {row for row in rows if dict(row)["window_end"] <= closed}

    assert differences(live_drift, until_closed(expected.drift)) == []
    assert differences(live_performance, until_closed(expected.performance)) == []
    assert live_events == [event for event in expected.events if datetime.fromisoformat(event["time"]) <= closed]
    assert live_episodes == {row for row in expected.episodes if row[-1] <= closed}
    assert {event["type"].removeprefix("driftline.") for event in live_events} == {
        "drift.detected", "drift.recovered", "performance.degraded", "performance.recovered", "retraining.requested"
    }  # fmt: skip
    counted = dict(rows_of(postgres_url, "select reason, sum(n)::int from driftline.v_counts group by 1"))
    assert counted["pair"] == ROWS
    assert counted["prediction"] - counted["repeated_prediction"] == ROWS
    assert counted["label"] - counted["repeated_label"] == ROWS
