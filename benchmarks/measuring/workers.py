"""How fast are one and two workers on many partitions, and what does it cost when one joins or leaves?

Workers drain topics of 32 partitions with labels. How far each partition is read is looked at many times a second, so
it is known for how long nothing was committed, and for how long one partition waited while others moved. Invariants:
whatever workers come and go, every event counts once and results are those of a replay; no worker may have started its
consumer anew.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psycopg

from benchmarks.measuring.drain import DRAIN_S_MAX, POLL_S, READING, Running, positions, worker
from benchmarks.measuring.noting import NOTE
from benchmarks.measuring.usage import Meter
from benchmarks.report.results import Measured
from benchmarks.setting.checks import check_answer
from benchmarks.setting.model import model_settings
from benchmarks.setting.stage import Stage, Topics, WrongAnswerError, ends
from benchmarks.setting.traffic import MODEL

PARTITIONS = 32
SHARED_S_MAX = 30
JOINS_AT, LEAVES_AT = 0.2, 0.6
"""Shares of the log that are read when a second worker comes, and when it goes."""

SETTLED_S = 2.0
"""What follows a rebalance so soon belongs to it."""

ANEW = b"starting the consumer anew"
NOTING = ("-m", "benchmarks.measuring.noting")

Place = tuple[str, int]
Look = tuple[float, Mapping[Place, int]]


@dataclass
class Watch:
    """How far each partition was read, look by look."""

    goal: Mapping[Place, int]
    looks: list[Look] = field(default_factory=list)

    def run(self, url: str, done: threading.Event) -> None:
        """Look until told to stop."""
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.wait(POLL_S):
                self.looks.append((time.perf_counter(), positions(connection)))

    @property
    def read(self) -> int:
        """How many records are read."""
        return sum(self.looks[-1][1].values()) if self.looks else 0

    @property
    def share(self) -> float:
        """How much of the log is read."""
        return self.read / sum(self.goal.values())


@contextmanager
def watching(url: str, goal: Mapping[Place, int]) -> Iterator[Watch]:
    """Look again and again, beside whatever else happens."""
    watch, done = Watch(goal), threading.Event()
    thread = threading.Thread(target=watch.run, args=(url, done), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


def longest_pause_s(looks: Sequence[Look], start_s: float, end_s: float) -> float:
    """Return the longest time between two looks at which something more was read, as far as it touches a stretch."""
    moved = [looks[0][0]]
    for (_, before), (at, after) in pairwise(looks):
        if after != before:
            moved.append(at)
    pauses = [b - a for a, b in pairwise(moved) if b >= start_s and a <= end_s]
    return max(pauses, default=0.0)


def longest_wait_s(looks: Sequence[Look], goal: Mapping[Place, int]) -> float:
    """Return the longest time for which a partition stood still with records left to read."""
    longest = 0.0
    for place, end in goal.items():
        since_s, at = looks[0][0], looks[0][1].get(place, 0)
        for moment_s, found in looks:
            if at < end and found.get(place, 0) > at:
                longest = max(longest, moment_s - since_s)
                since_s, at = moment_s, found[place]
    return longest


def partitions_of(log: bytes) -> int:
    """Tell from its log how many partitions a worker reads."""
    last = log.rpartition(READING)[2].partition(b"\n")[0]
    return sum(int(n) for n in re.findall(rb"(\d+) of ", last))


def decoded_of(logs: Iterable[str]) -> int:
    """Count the records that workers noted to have decoded."""
    lines = (line.split() for log in logs for line in log.splitlines())
    return sum(int(words[-1]) for words in lines if words[:1] == [NOTE])


@dataclass(frozen=True)
class Scene:
    """What workers drain, and where its log ends."""

    stage: Stage
    model: Mapping[str, Any]
    topics: Topics
    goal: Mapping[Place, int]

    def wait_until_shared(self, running: Sequence[Running]) -> None:
        """Wait until workers have all partitions, each of them some."""

        def shared() -> bool:
            found = [partitions_of(each.log.read_bytes()) for each in running]
            return min(found) > 0 and sum(found) == len(self.goal)

        running[0].wait(shared, "the workers to share the partitions", SHARED_S_MAX)

    def check(self, running: Running, logs: Iterable[bytes]) -> None:
        """Check the results, and that no consumer stood still."""
        if any(ANEW in log for log in logs):
            raise WrongAnswerError("a worker took its consumer for stuck")
        with psycopg.connect(running.url, autocommit=True) as connection:
            check_answer(connection, self.stage.traffic, self.stage.replayed(dict(self.model)), running)


def _scene(stage: Stage) -> Scene:
    topics = stage.topics("json", PARTITIONS)
    goal = ends(stage.bootstrap_servers, [topics.predictions, topics.labels])
    return Scene(stage, model_settings(stage.reference, labels=True), topics, goal)


def measure_workers(stage: Stage, n: int) -> Measured:
    """Drain with so many workers, from when they share the partitions."""
    scene = _scene(stage)
    with worker(stage, {MODEL: scene.model}, scene.topics) as start:
        running = [start() for _ in range(n)]
        scene.wait_until_shared(running)
        others = {f"worker {number}": each.process for number, each in enumerate(running[1:], 2)}
        with watching(running[0].url, scene.goal) as watch:
            running[0].wait(lambda: bool(watch.looks), "the first look", SHARED_S_MAX)
            before = _predictions(watch, scene)
            meter = Meter(running[0].process, others | dict(stage.services.processes))
            meter.start()
            running[0].wait(lambda: watch.share == 1, "the end of the log", DRAIN_S_MAX)
            usage = meter.stop()
        events = len(stage.traffic) - before
        scene.check(running[0], [each.log.read_bytes() for each in running])
    waited_s = longest_wait_s(watch.looks, _of(scene.topics.predictions, scene.goal))
    return Measured.of(events, usage, partition_waited_ms_max=1000 * waited_s)


def _predictions(watch: Watch, scene: Scene) -> int:
    return sum(_of(scene.topics.predictions, watch.looks[-1][1]).values())


def _of(topic: str, of: Mapping[Place, int]) -> dict[Place, int]:
    return {place: n for place, n in of.items() if place[0] == topic}


def measure_rebalance(stage: Stage) -> Measured:
    """Let a second worker come and go while the first one drains."""
    scene = _scene(stage)
    with worker(stage, {MODEL: scene.model}, scene.topics, program=NOTING) as start:
        first = start()
        with watching(first.url, scene.goal) as watch:
            first.wait(lambda: watch.share >= JOINS_AT, "some of the log", DRAIN_S_MAX)
            meter = Meter(first.process, stage.services.processes)
            meter.start()
            comes_s = time.perf_counter()
            second = start()
            scene.wait_until_shared([first, second])
            shared_s = time.perf_counter()
            first.wait(lambda: watch.share >= LEAVES_AT, "more of the log", DRAIN_S_MAX)
            if watch.share > (1 + LEAVES_AT) / 2:
                raise RuntimeError("there are too few events: most were read before the second worker could leave")
            goes_s = time.perf_counter()
            second.process.terminate()
            scene.wait_until_shared([first])
            alone_s = time.perf_counter()
            first.wait(lambda: watch.share == 1, "the end of the log", DRAIN_S_MAX)
            usage = meter.stop()
        logs = [each.log.read_bytes() for each in (first, second)]
        scene.check(first, logs)
    looks = watch.looks
    undisturbed = ((looks[0][0] + SETTLED_S, comes_s), (alone_s + SETTLED_S, looks[-1][0]))
    figures = {
        "pause_when_one_joins_ms": 1000 * longest_pause_s(looks, comes_s, shared_s + SETTLED_S),
        "pause_when_one_leaves_ms": 1000 * longest_pause_s(looks, goes_s, alone_s + SETTLED_S),
        "pause_else_ms": 1000 * max(longest_pause_s(looks, *stretch) for stretch in undisturbed),
        "decoded_twice": decoded_of(log.decode() for log in logs) - sum(scene.goal.values()),
    }
    return Measured(figures, usage.cpu_s, usage.peak_mib, 0)
