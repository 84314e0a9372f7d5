"""Does a benchmark notice when what it measures computes the wrong thing?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.measuring import micro, workers
from benchmarks.measuring.drain import drain
from benchmarks.measuring.workers import PARTITIONS, Scene, decoded_of, measure_rebalance, measure_workers
from benchmarks.setting.services import Services
from benchmarks.setting.stage import SEED, Size, Stage, Topics, WrongAnswerError, send
from benchmarks.setting.traffic import json_labels, json_predictions, make_traffic
from tests.support.kafka import Broker

EVENTS = 10_000

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]


def test_a_row_is_measured_if_its_answer_is_that_of_a_replay_and_fails_if_it_is_not(
    broker: Broker, postgres_server_url: str, tmp_path: Path
) -> None:
    stage = Stage(Services(broker, postgres_server_url, {}), Size(EVENTS, 1), tmp_path, tmp_path / "no peers")
    stage.made["events"] = make_traffic(EVENTS, SEED, events_a_second=50)

    measured = drain(stage, "arrow", labels=True)

    assert measured.events == EVENTS
    assert measured.figures["events_per_s"] > 0
    assert measured.cpu_s["worker"] > 0
    assert measured.peak_mib["worker"] > 0

    on_many_partitions = measure_workers(stage, 1)
    assert on_many_partitions.figures["partition_waited_ms_max"] >= 0
    assert on_many_partitions.cpu_s["worker"] > 0

    verdict = next(row for row in stage.made["replay with labels"]["drift"] if row["feature"] == "balance")
    verdict["score"] = str(float(verdict["score"]) * (1 + 1e-12))
    with pytest.raises(WrongAnswerError, match="v_drift differs from a replay in 2 rows"):
        drain(stage, "arrow", labels=True)


def test_a_second_worker_that_comes_and_goes_does_its_share_and_the_answer_is_that_of_a_replay(
    broker: Broker, postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(Services(broker, postgres_server_url, {}), Size(EVENTS, 1), tmp_path, tmp_path / "no peers")
    events = stage.made["events"] = make_traffic(EVENTS, SEED, events_a_second=25)
    topics = Topics(stage.new_topic("predictions", PARTITIONS), stage.new_topic("labels", PARTITIONS))
    stage.made[f"json topics of {PARTITIONS} partitions"] = topics
    messages = {
        topics.predictions: list(json_predictions(events, PARTITIONS)),
        topics.labels: list(json_labels(events, PARTITIONS)),
    }
    parts = iter(((0.0, 0.4), (0.4, 0.7), (0.7, 1.0)))
    shared = Scene.wait_until_shared

    def send_more() -> None:
        """Send what comes before the second worker, while there are two, and when it has gone."""
        start, end = next(parts)
        for topic, of in messages.items():
            send(stage.bootstrap_servers, topic, of[round(start * len(of)) : round(end * len(of))])

    def share_then_send(scene: Scene, running: Sequence[Any]) -> None:
        shared(scene, running)
        send_more()

    goal = Counter((topic, message.partition) for topic, of in messages.items() for message in of)
    monkeypatch.setattr(workers, "ends", lambda *_: goal)
    monkeypatch.setattr(Scene, "wait_until_shared", share_then_send)
    send_more()

    measured = measure_rebalance(stage)

    assert next(parts, None) is None
    decoded = [decoded_of([log.read_text("utf-8")]) for log in sorted(tmp_path.glob("*/worker-*.log"))]
    n_sent = sum(goal.values())
    assert len(decoded) == 2
    assert min(decoded) > 0.05 * n_sent  # about half of three tenths were sent while there were two
    assert measured.figures["decoded_twice"] == sum(decoded) - n_sent >= 0


def test_single_steps_are_timed_written_to_a_page_and_the_last_line_is_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(micro, "EVENTS", 2_000)
    monkeypatch.setattr(micro, "TURNS", 2)

    done = CliRunner().invoke(main, ["--micro", "--json", "--out", str(tmp_path)])

    assert done.exit_code == 0, done.output
    steps = {step["name"]: step for step in json.loads(done.stdout.splitlines()[-1])["steps"]}
    assert {"decode", "decode-arrow", "summarise", "merge", "commit", "join", "evaluate"} == steps.keys()
    assert steps["decode"]["events"] == 2_000
    assert all(step["us_per_event"] > 0 for step in steps.values())
    page = (tmp_path / "micro.md").read_text("utf-8").splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in page if line.startswith("| ")] == ["step", "---", *steps]
