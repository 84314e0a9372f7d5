"""How does the demo go on, and what is a person told meanwhile?

Event time runs evenly through the traffic, so many times faster that all of it fits between start-up and the end of the
run. Everything that is told was read from Postgres, as a dashboard would read it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from driftline.demo.findings import MATURE_MS, Drift, Recall, Sight, false_alarms, first_sight
from driftline.demo.scene import Scene
from driftline.demo.traffic import HOUR_MS, HOURS, INCIDENTS, Incident, Message, messages, payments
from driftline.errors import StateError
from driftline.store.connection import Connection, connect, rows, the_row, timestamp

TICK_S = 0.1
LOOK_S = 0.5
TELL_S = 3.0
TRAFFIC_S_MIN = 5.0
DRAIN_S = 3.0
"""How much of the run is left for reading what was sent last, and for stopping."""

DRAIN_S_MAX = 60.0
"""How long a busy machine may take for it."""

FEATURES_TOLD_MAX = 3

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Clock:
    """How the run's seconds become event time.

    Parameters
    ----------
    start_ms
        Event time of the beginning, a midnight in milliseconds since 1970 UTC.
    began_s
        The same moment by `time.monotonic`.
    speed
        Milliseconds of event time in a second.
    last_ms
        Event time of the last prediction, counted from the beginning; there the clock stops.
    """

    start_ms: int
    began_s: float
    speed: float
    last_ms: int

    def offset_ms(self) -> int:
        """Return how much event time has passed."""
        return min(int((time.monotonic() - self.began_s) * self.speed), self.last_ms)

    def seconds_since(self, offset_ms: int) -> float:
        """Return how many of our seconds ago some event time was."""
        return time.monotonic() - self.began_s - offset_ms / self.speed


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store says at one moment.

    Parameters
    ----------
    closed_through_ms
        End of the last closed window; None before the first.
    worst
        (feature, score, threshold) of the last closed window, the most striking first.
    performance
        Recall and precision of mature windows by the windows' predictions, in the order of time.
    """

    predictions: int
    labels_joined: int
    windows: int
    closed_through_ms: int | None
    drifts: list[Drift]
    worst: list[tuple[str, float, float]]
    performance: list[Any]

    @property
    def recalls(self) -> list[Recall]:
        """Recall of the mature windows, in the order of time."""
        return [
            Recall(of.window_start, of.window_end, of.low, of.high) for of in self.performance if of.metric == "recall"
        ]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run ended: what the store held then, and what was found when."""

    seen: Seen
    sights: dict[str, Sight]
    alarms: list[Drift]

    def summary(self) -> dict[str, object]:
        """Return what the last line of the demo holds."""
        return {
            "predictions": self.seen.predictions,
            "labels_joined": self.seen.labels_joined,
            "windows": self.seen.windows,
            "detected": [incident.name for incident in INCIDENTS if incident.name in self.sights],
            "missed": [incident.name for incident in INCIDENTS if incident.name not in self.sights],
            "false_alarms": len(self.alarms),
        }


async def play(scene: Scene, seed: int, start_ms: int, ends_s: float, tell: Tell) -> Ending:
    """Send the traffic, and tell what is seen of it until all of it is read.

    Parameters
    ----------
    start_ms
        Event time of the beginning, a midnight in milliseconds since 1970 UTC.
    ends_s
        When this should be over, by `time.monotonic`.

    Raises
    ------
    StateError
        If the worker ends, or does not read what was sent.
    ServiceUnavailableError
        If the database can't be reached.
    """
    drawn = payments(seed, HOURS)
    sender = _Sender(scene, messages(drawn, scene.model, start_ms))
    connection = await connect(scene.url, application_name="driftline demo")
    try:
        began_s = time.monotonic()
        traffic_s = max(ends_s - DRAIN_S - began_s, TRAFFIC_S_MIN)
        last_ms = int(drawn.offset_ms[-1])
        clock = Clock(start_ms, began_s, last_ms / traffic_s, last_ms)
        tell(f"{HOURS} hours in {traffic_s:.0f} seconds, {clock.speed / 60_000:.0f} minutes of event time in each")
        to_come, sights = list(INCIDENTS), dict[str, Sight]()
        look_at, tell_at = began_s, began_s + TELL_S
        while True:
            offset_ms = clock.offset_ms()
            sender.send_until(offset_ms)
            while to_come and to_come[0].start_hour * HOUR_MS <= offset_ms:
                tell(f"<<< {_time(to_come[0].start_hour * HOUR_MS)}: {to_come.pop(0).told}")
            if time.monotonic() >= look_at:
                scene.worker.require_running()
                seen = await look(connection, scene.model)
                _tell_sights(seen, sights, clock, tell)
                if sender.is_done and _is_settled(seen, sender.sent, start_ms):
                    return Ending(seen, sights, false_alarms(start_ms, seen.drifts))
                if clock.seconds_since(last_ms) > DRAIN_S_MAX:
                    raise StateError(
                        f"{DRAIN_S_MAX:.0f} s after the last event the worker has read {seen.predictions:,} "
                        f"predictions and joined {seen.labels_joined:,} labels of {dict(sender.sent)}",
                        remedy="give it more --seconds, or this machine less to do",
                    )
                look_at = time.monotonic() + LOOK_S
                if time.monotonic() >= tell_at:
                    tell(_lines(seen, clock))
                    tell_at += TELL_S
            await asyncio.sleep(TICK_S)
    finally:
        await connection.close()


class _Sender:
    """Sends messages as their time comes."""

    def __init__(self, scene: Scene, of: Iterator[Message]) -> None:
        self._producer, self._topics = scene.producer, scene.topics
        self._messages = of
        self._next = next(of, None)
        self.sent: Counter[str] = Counter()
        """By kind."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be sent."""
        return self._next is None

    def send_until(self, offset_ms: int) -> None:
        """Send everything up to an event time."""
        while (message := self._next) is not None and message.offset_ms <= offset_ms:
            try:
                self._producer.produce(self._topics[message.kind], message.value, message.key)
            except BufferError:  # the broker is slower than we are
                self._producer.poll(TICK_S)
                continue
            self.sent[message.kind] += 1
            self._next = next(self._messages, None)
        self._producer.poll(0)


async def look(connection: Connection, model: str) -> Seen:
    """Read from the store what there is to be told."""
    counts = {of.reason: of.n for of in await rows(connection, "demo_counts", model=model)}
    closed = await the_row(connection, "demo_windows", model=model)
    drifts = [Drift(*of) for of in await rows(connection, "demo_drifts", model=model)]
    worst, performance = [], []
    if closed.closed_through is not None:
        until = timestamp(closed.closed_through)
        worst = await rows(connection, "demo_worst", model=model, window_end=until, features_max=FEATURES_TOLD_MAX)
        mature = timestamp(closed.closed_through - MATURE_MS)
        performance = await rows(connection, "demo_performance", model=model, until=mature)
    return Seen(
        counts.get("prediction", 0) - counts.get("repeated_prediction", 0),
        counts.get("pair", 0),
        closed.n,
        closed.closed_through,
        drifts,
        [(of.feature, of.score, of.threshold) for of in worst],
        performance,
    )


def _is_settled(seen: Seen, sent: Counter[str], start_ms: int) -> bool:
    """Tell whether everything that was sent is counted and judged."""
    is_read = seen.predictions == sent["predictions"] and seen.labels_joined == sent["labels"]
    return is_read and seen.closed_through_ms is not None and seen.closed_through_ms >= start_ms + HOURS * HOUR_MS


def _tell_sights(seen: Seen, sights: dict[str, Sight], clock: Clock, tell: Tell) -> None:
    """Tell of each incident that is seen for the first time."""
    for incident in INCIDENTS:
        if incident.name in sights:
            continue
        sight = first_sight(incident, clock.start_ms, seen.drifts, seen.recalls)
        if sight is not None:
            sights[incident.name] = sight
            seconds = clock.seconds_since(incident.start_hour * HOUR_MS)
            tell(f">>> found: {found(incident, sight, clock.start_ms)}, {seconds:.1f} s by this clock")


def found(incident: Incident, sight: Sight, start_ms: int) -> str:
    """Write what showed an incident, and how much event time after it began."""
    hours = (sight.end_ms - start_ms) / HOUR_MS - incident.start_hour
    return f"{incident.name}: {sight.told}; {hours:.0f} h after it began"


def _lines(seen: Seen, clock: Clock) -> str:
    """Write what a person wants to see: how much came, what is nearest to drift, and how good the model is."""
    lines = [f"{_time(clock.offset_ms())}  {seen.predictions:,} predictions, {seen.labels_joined:,} labels joined"]
    if seen.worst:
        lines[0] += "; nearest to drift: " + ", ".join(
            f"{feature} {score:.2f} {'>=' if score >= threshold else '<'} {threshold:.2f}"
            for feature, score, threshold in seen.worst
        )
    newest = {of.metric: of for of in seen.performance}  # the last of each stays
    if newest:
        (one, *_) = newest.values()
        told = ", ".join(f"{name} {_interval(of)}" for name, of in newest.items())
        hour = _time(one.window_start - clock.start_ms)
        lines.append(f"{' ' * 13}payments from {hour} on: {told}, {one.coverage:.1%} of labels in")
    return "\n".join(lines)


def _time(offset_ms: int) -> str:
    """Write event time: the day, counted from 1, and the time of day."""
    minutes = offset_ms // 60_000
    return f"day {minutes // 1440 + 1} {minutes // 60 % 24:02}:{minutes % 60:02}"


def _interval(metric: Any) -> str:
    if metric.value is None:
        return "unknown"
    return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"
