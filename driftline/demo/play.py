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
from driftline.demo.stage import Stage, say, stage
from driftline.demo.traffic import HOUR_MS, HOURS, MINUTE_MS, Message, messages, payments
from driftline.errors import StateError
from driftline.store.connection import Connection, connect

TICK_S = 0.2
LOOK_S = 0.5
TRAFFIC_S_MIN = 5.0
FIRST_MS = 10 * MINUTE_MS
"""What is sent before the clock starts, which it does when the worker has read some of it."""

DRAIN_S = 4.0
"""How much of the run is left for reading what was sent last, for its messages, and for stopping."""

STILL_S_MAX = 120.0
"""For so long a busy machine may keep us waiting without any progress."""


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
        sender.send_until(FIRST_MS)
        await _first_read(scene, connection)
        traffic_s = max(ends_s - DRAIN_S - time.monotonic(), TRAFFIC_S_MIN)
        pace = Pace(drawn.offset_ms[-1] / traffic_s, int(drawn.offset_ms[-1]))
        minutes = f"{pace.speed / MINUTE_MS:.0f} minutes of event time in each"
        say(console, f"playing   {HOURS} hours in {traffic_s:.0f} seconds, {minutes};")
        say(console, "          start and end take the rest. What is found bears the time that it is")
        say(console, "          about; it is told a few seconds later, and a few seconds are hours here")
        with stage(console, start_ms) as shown:
            return await _until_settled(scene, connection, sender, pace, start_ms, shown)
    finally:
        await connection.close()


async def _first_read(scene: Scene, connection: Connection) -> None:
    """Wait until the worker has joined its group and reads."""
    deadline_s = time.monotonic() + STILL_S_MAX
    while not (await look(connection, scene.model, ())).predictions:
        scene.require_running()
        if time.monotonic() > deadline_s:
            raise StateError(f"the worker has read nothing for {STILL_S_MAX:.0f} s", remedy="try it again")
        scene.producer.poll(TICK_S)
        await asyncio.sleep(TICK_S)


async def _until_settled(
    scene: Scene, connection: Connection, sender: _Sender, pace: Pace, start_ms: int, shown: Stage
) -> Seen:
    seen = await look(connection, scene.model, scene.receiver.received())
    then_s = moved_s = look_at_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        pace, then_s = pace.after(now_s - then_s, seen.judged_ms(start_ms)), now_s
        sender.send_until(pace.offset_ms)
        if now_s >= look_at_s:
            scene.require_running()
            before, seen = seen, await look(connection, scene.model, scene.receiver.received())
            moved_s = now_s if seen != before else moved_s
            left = _left(seen, sender.sent, start_ms)
            if sender.is_done and not left:
                shown.show(seen, pace.offset_ms)
                return seen
            if now_s - moved_s > STILL_S_MAX:
                raise StateError(
                    f"nothing has moved for {STILL_S_MAX:.0f} s, and there is still missing: {left}",
                    remedy="give this machine less to do, or see what the services say",
                )
            look_at_s = now_s + LOOK_S
        shown.show(seen, pace.offset_ms)
        await asyncio.sleep(TICK_S)


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
    left = {
        "predictions to read": sent["predictions"] - seen.predictions,
        "labels to join": sent["labels"] - seen.labels_joined,
        "windows to judge": HOURS - seen.judged_ms(start_ms) // HOUR_MS,
        "messages to publish": seen.unpublished,
        "messages for the webhook": sum(seen.events.values()) - seen.verified,
        "retrainings to finish": sum(of.finished_ms is None for of in seen.retrainings),
    }
    return ", ".join(f"{n} {what}" for what, n in left.items() if n > 0)
