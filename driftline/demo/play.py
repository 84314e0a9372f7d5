"""How does the demo go on, from the first event to the last message?

Event time runs evenly through the traffic, so many times faster that all of it fits between start-up and the end of the
run. Everything that is shown was read from Postgres, as a dashboard would read it, or came to the webhook.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console

from driftline.demo.pace import Pace
from driftline.demo.scene import Scene
from driftline.demo.seen import Seen, look
from driftline.demo.stage import say, stage
from driftline.demo.traffic import HOUR_MS, HOURS, Message, messages, payments
from driftline.errors import StateError
from driftline.store.connection import connect

TICK_S = 0.1
LOOK_S = 0.5
TRAFFIC_S_MIN = 5.0
DRAIN_S = 4.0
"""How much of the run is left for reading what was sent last, for its messages, and for stopping."""

DRAIN_S_MAX = 60.0
"""How long a busy machine may take for it."""


async def play(scene: Scene, seed: int, start_ms: int, ends_s: float, console: Console) -> Seen:
    """Send the traffic, and show what is seen of it until all of it is read, judged and told.

    Parameters
    ----------
    start_ms
        Event time of the beginning, a midnight in milliseconds since 1970 UTC.
    ends_s
        When this should be over, by `time.monotonic`.
    console
        A terminal is shown a screen, anything else is told lines.

    Returns
    -------
    What was seen last.

    Raises
    ------
    StateError
        If a process of the scene ends, or the worker does not read what was sent.
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
        pace = Pace(start_ms, began_s, last_ms / traffic_s, last_ms)
        minutes = f"{pace.speed / 60_000:.0f} minutes of event time in each"
        say(console, f"playing   {HOURS} hours in {traffic_s:.0f} seconds, {minutes}")
        look_at_s = began_s
        with stage(console, pace) as shown:
            while True:
                sender.send_until(pace.offset_ms())
                if time.monotonic() >= look_at_s:
                    scene.require_running()
                    seen = await look(connection, scene.model, scene.receiver.received())
                    shown.looked(seen)
                    if sender.is_done and not (left := _left(seen, sender.sent, start_ms)):
                        return seen
                    if pace.seconds_over() > DRAIN_S_MAX:
                        raise StateError(
                            f"{DRAIN_S_MAX:.0f} s after the last event there is still missing: {left}",
                            remedy="give it more --seconds, or this machine less to do",
                        )
                    look_at_s = time.monotonic() + LOOK_S
                shown.refresh()
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


def _left(seen: Seen, sent: Counter[str], start_ms: int) -> str:
    """Say what of all that was sent is not counted, judged, told and answered yet."""
    hours = 0 if seen.closed_through_ms is None else (seen.closed_through_ms - start_ms) // HOUR_MS
    left = {
        "predictions to read": sent["predictions"] - seen.predictions,
        "labels to join": sent["labels"] - seen.labels_joined,
        "windows to judge": HOURS - hours,
        "messages to publish": seen.unpublished,
        "messages for the webhook": sum(seen.events.values()) - seen.verified,
        "retrainings to finish": sum(of.finished_ms is None for of in seen.retrainings),
    }
    return ", ".join(f"{n} {what}" for what, n in left.items() if n > 0)
