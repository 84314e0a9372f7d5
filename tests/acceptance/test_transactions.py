"""Do producers with transactions fit in: what they took back is not counted, and their markers hold no window open?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support.kafka import Broker
from tests.support.live import rows_of, run_driftline, wait_for, workers

MONITOR = """
kafka:
  bootstrap_servers: "{kafka}"
  group: {group}
  topics: {{predictions: {predictions}, labels: {labels}, features: {features}, dead_letters: {dead}}}
postgres: {{url: "{postgres}"}}
models:
  churn:
    task: binary
    reference: {{path: reference.csv}}
    windows: {{length: 1m, slide: 1m, out_of_orderness: 0s, allowed_lateness: 0s, idle_after: 2s, min_events: 1}}
"""
START_MS = 1_700_000_040_000

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]


@pytest.mark.usefixtures("broker")
def test_aborted_events_are_not_counted_and_markers_hold_no_window_open(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    topics = {kind: topic_name(kind) for kind in ("predictions", "labels", "features", "dead")}
    broker.create_topic(topics["predictions"], 2)
    rows = "".join(f"{row},{row % 2},{row / 300}\n" for row in range(300))
    (tmp_path / "reference.csv").write_text("id,prediction,age\n" + rows)
    config = tmp_path / "monitor.yaml"
    config.write_text(
        MONITOR.format(kafka=broker.bootstrap_servers, group=topic_name("group"), postgres=postgres_url, **topics)
    )
    assert run_driftline("migrate", "--config", str(config)).returncode == 0
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topic_name("producer")})
    producer.init_transactions(30)

    def send(minute: int, partition: int, commit: bool) -> None:
        producer.begin_transaction()
        for second in range(50):
            event = {
                "prediction_id": f"{minute}-{second}-{commit}",
                "model": "churn",
                "timestamp": START_MS + minute * 60_000 + second * 1000,
                "prediction": second % 2,
                "features": {"age": second / 50},
            }
            producer.produce(topics["predictions"], json.dumps(event), partition=partition)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    send(0, 0, commit=True)
    send(0, 0, commit=False)
    # The other partition goes on; the first one, which ends with a marker, must not hold its windows open.
    send(1, 1, commit=True)
    send(2, 1, commit=True)
    with workers(config, tmp_path, 1):
        closed = "select window_start, n_current from driftline.v_drift where feature = 'age' and detector = 'psi'"
        wait_for(lambda: len(rows_of(postgres_url, closed)) >= 2, "two closed windows")
        counts = [n for _, n in sorted(rows_of(postgres_url, closed))]
    assert counts == [50, 50]
    counted = dict(rows_of(postgres_url, "select reason, sum(n)::int from driftline.v_counts group by 1"))
    assert counted == {"prediction": 150}
