"""Does one drift become one episode, one message, one alert and one retraining, whoever is killed on the way?"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from driftline.store.connection import connect
from tests.support.kafka import Broker
from tests.support.live import wait_for
from tests.support.monitors import Monitor, Sent, as_json, create_topics, label, make_monitor, prediction, send_all
from tests.support.outbox import SECRET, Receiver, listening, make_due
from tests.support.retraining import COMMAND

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

ROLES = ("predictions", "labels", "dead_letters", "drift", "retraining", "retraining_status")
WINDOW_MS = 10_000
EVENTS_A_WINDOW = 120
MODEL: dict[str, Any] = {
    "labels": {"horizon": "1d"},
    "drift": {"detectors": ["psi"]},
    "performance": {"floor": {"recall": 0.7}, "min_labelled": 20, "judge_after": "0s"},
    "retraining": {"consecutive": 2, "cooldown": "0s"},
}

CALM, SHIFTED, WRONG = "calm", "shifted", "wrong"
BEFORE = [CALM] * 5 + [SHIFTED] * 3
AFTER = [SHIFTED] * 2 + [CALM] * 5 + [WRONG] * 4 + [CALM] * 6

DRIFT = ["driftline.drift.detected", "driftline.retraining.requested", "driftline.drift.recovered"]
PERFORMANCE = ["driftline.performance.degraded", "driftline.retraining.requested", "driftline.performance.recovered"]


def window(number: int, state: str) -> tuple[list[Sent], list[Sent]]:
    """Make a window's predictions and, a second after each, their labels."""
    chance = np.random.default_rng(number)
    predictions, labels = [], []
    for place in range(EVENTS_A_WINDOW):
        name, at_ms = f"{number}-{place}", number * WINDOW_MS + place * WINDOW_MS // EVENTS_A_WINDOW
        truth = int(chance.random() < 0.5)
        is_missed = truth == 1 and chance.random() < (0.7 if state == WRONG else 0.05)
        x = float(chance.random()) + (2.0 if state == SHIFTED else 0.0)
        # Of all predictions half are 1, as in the reference, whatever is missed.
        said = 0 if is_missed else 1 if truth or (state == WRONG and chance.random() < 0.7) else 0
        event = prediction(
            name, at_ms, prediction=said, score=float(chance.random()), features={"x": x, "c": "ab"[place % 2]}
        )
        predictions.append(Sent(as_json(event)))
        labels.append(Sent(as_json(label(name, at_ms + 1_000, label=truth))))
    return predictions, labels


class Crew:
    """The processes of one run, each of which may be killed and replaced."""

    def __init__(self, monitor: Monitor, folder: Path) -> None:
        script = folder / "command.py"
        script.write_text(COMMAND)
        self._folder = folder
        self._modules = {
            "worker": ["driftline.cli", "run", "--no-relay"],
            "relay": ["driftline.cli", "relay"],
            "consumer": ["retraining.consumer", "--state", "runs", "--run", f"{sys.executable} {script} {folder}"],
        }
        self._config = ["--config", str(monitor.config)]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start processes, or what replaces them."""
        for name in names:
            module, *arguments = self._modules[name]
            command = [sys.executable, "-m", module, *arguments, *self._config]
            with (self._folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)

    def replace(self, name: str) -> None:
        """Kill a process without a word, and start another."""
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()
        self.start(name)

    def end(self) -> None:
        """Leave nobody."""
        for process in self.running.values():
            process.kill()
            process.wait()


def in_topic(monitor: Monitor, role: str) -> list[dict[str, Any]]:
    """Read all messages of a topic that has one partition."""
    consumer = Consumer({"bootstrap.servers": monitor.address, "group.id": "g", "auto.offset.reset": "earliest"})
    try:
        partition = TopicPartition(monitor.topic(role), 0, 0)
        consumer.assign([partition])
        _, end = consumer.get_watermark_offsets(partition, timeout=30)
        return [json.loads(message.value() or b"") for message in consumer.consume(end, timeout=30)] if end else []
    finally:
        consumer.close()


def first_of_each(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events, without those that were sent again."""
    return [event["type"] for event in {event["id"]: event for event in reversed(events)}.values()][::-1]


async def test_a_drift_and_a_broken_floor_are_told_and_carried_out_once_each_whoever_is_killed(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path, free_port: int
) -> None:
    topics = {role: topic_name(role) for role in ROLES}
    create_topics(broker.bootstrap_servers, topics.values())
    webhook = {"url": f"http://127.0.0.1:{free_port}/hook", "secret": SECRET}
    monitor = await asyncio.to_thread(
        make_monitor,
        tmp_path,
        broker.bootstrap_servers,
        postgres_url,
        topics,
        {"m": MODEL},
        alerts={"webhooks": {"chat": webhook}},
    )
    hold = tmp_path / "hold"
    hold.touch()
    crew, receiver = Crew(monitor, tmp_path), Receiver()
    crew.start("worker", "relay", "consumer")
    try:
        await asyncio.to_thread(_first_half, monitor, crew, hold)
        async with listening(receiver, port=free_port), await connect(postgres_url) as connection:
            await make_due(connection)
            await asyncio.to_thread(_second_half, monitor)
            await make_due(connection)
            await asyncio.to_thread(_wait_until_all_is_told, monitor)
    finally:
        crew.end()

    episodes = monitor.rows("select kind, closed_at is not null, episode_id::text from driftline.v_episodes order by 1")
    assert [row[:2] for row in episodes] == [("drift", True), ("performance", True)]
    [drift, performance] = [row[2] for row in episodes]
    told = in_topic(monitor, "drift")
    asked = in_topic(monitor, "retraining")
    assert first_of_each(told) == [DRIFT[0], DRIFT[2], PERFORMANCE[0], PERFORMANCE[2]]
    assert first_of_each(asked) == [DRIFT[1], PERFORMANCE[1]]
    assert {event["data"]["episode_id"] for event in asked} == {drift, performance}
    received = receiver.verified()
    by_episode = {
        episode: [e for e in received if e["data"]["episode_id"] == episode] for episode in (drift, performance)
    }
    assert {episode: first_of_each(events) for episode, events in by_episode.items()} == {
        drift: DRIFT,
        performance: PERFORMANCE,
    }
    runs = Counter((tmp_path / "runs.txt").read_text().split())
    assert runs == Counter({event["id"] for event in asked})
    assert monitor.rows("select state, count(*)::int from driftline.v_retraining group by 1") == [("succeeded", 2)]


def _send(monitor: Monitor, first: int, states: list[str]) -> None:
    for number, state in enumerate(states, first):
        predictions, labels = window(number, state)
        send_all(monitor.address, monitor.topic("predictions"), predictions)
        send_all(monitor.address, monitor.topic("labels"), labels)


def _first_half(monitor: Monitor, crew: Crew, hold: Path) -> None:
    """Let the drift begin, and kill everyone in the middle of what it makes them do; nobody receives alerts."""
    _send(monitor, 0, BEFORE)
    wait_for(lambda: monitor.rows("select from driftline.v_episodes"), "the episode")
    crew.replace("relay")
    crew.replace("worker")
    wait_for(lambda: hold.with_name("runs.txt").exists(), "the command")
    crew.replace("consumer")
    tried = "select from driftline.v_deliveries where channel = 'webhook' and attempts > 0"
    wait_for(lambda: monitor.rows(tried), "an alert that nobody takes")
    hold.unlink()


def _second_half(monitor: Monitor) -> None:
    """Let the drift end, and the floor break and hold again."""
    _send(monitor, len(BEFORE), AFTER)
    closed = "select from driftline.v_episodes where closed_at is not null"
    wait_for(lambda: len(monitor.rows(closed)) == 2, "both episodes to end")


def _wait_until_all_is_told(monitor: Monitor) -> None:
    waiting = "select from driftline.v_deliveries where state <> 'delivered'"
    wait_for(lambda: not monitor.rows(waiting), "everything to be delivered")
    done = "select from driftline.v_retraining where state = 'succeeded'"
    wait_for(lambda: len(monitor.rows(done)) == 2, "both retrainings to be done")
