"""In what does a store that faults went over differ from what `driftline replay` makes of the same events?"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg.rows import dict_row

from streams.reading.losses import LOST
from tests.chaos.traffic import INPUTS, WINDOW_MS
from tests.chaos.world import PATIENCE_S, World, fresh_store
from tests.simulation.left import TOLD
from tests.support.live import run_driftline, wait_for
from tests.support.monitors import Monitor

COMPARED = ("drift", "performance", "episodes", "messages", "predictions", "labels")
REPLAY_S_MAX = 3_600
"""No bound of anything that is tried: on a machine that others use, too, the events of a soak take their time."""

REQUESTS = "select episode_id from driftline.outbox where type = 'driftline.retraining.requested'"
RESTATED_S_MAX = 30

Row = tuple[tuple[str, str], ...]
Rows = Counter[Row]


@dataclass(frozen=True)
class Difference:
    """What was found.

    Parameters
    ----------
    lost, doubled
        Rows, messages, requests and events that are missing, and that are there too often.
    by_nature
        Records that the log itself no longer had.
    sent_again
        Messages that left more than once, each time with the same id.
    compared
        How many rows of each kind are equal.
    """

    lost: int
    doubled: int
    by_nature: int
    sent_again: int
    compared: Mapping[str, int]
    problems: Sequence[str] = field(default_factory=list)


def rows_by_kind(url: str, kinds: Sequence[str] = COMPARED) -> dict[str, list[Row]]:
    """Read all that is compared, at one moment."""
    found = {}
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("set timezone to 'UTC'")
        for kind in kinds:
            told = connection.execute(TOLD[kind].encode()).fetchall()
            found[kind] = [tuple((name, str(of)) for name, of in row.items() if name != "revision") for row in told]
    return found


def through(rows: Mapping[str, Sequence[Row]], end_ms: int) -> dict[str, Rows]:
    """Leave out what was found of windows that end later; the farewell's own are closed by a replay only."""
    kept: dict[str, Rows] = {}
    for kind in rows:
        if kind in ("drift", "performance"):
            told = [row for row in rows[kind] if _ms(dict(row)["window_end"]) <= end_ms]
        elif kind == "episodes":
            told = [_not_closed_after(row, end_ms) for row in rows[kind] if _ms(dict(row)["opened_at"]) <= end_ms]
        elif kind == "messages":
            told = [row for row in rows[kind] if dict(row)["type"] != LOST and _time_of(row) <= end_ms]
        else:
            told = list(rows[kind])
        kept[kind] = Counter(told)
    return kept


def _not_closed_after(row: Row, end_ms: int) -> tuple[Any, ...]:
    closed = dict(row)["closed_at"]
    if closed == "None" or _ms(closed) <= end_ms:
        return row
    return tuple((name, "None" if name in ("closed_at", "closed_as") else value) for name, value in row)


def _time_of(row: Row) -> int:
    return _ms(json.loads(dict(row)["payload"])["time"])


def _ms(told: str) -> int:
    return round(datetime.fromisoformat(told).timestamp() * 1000)


def replayed(world: World, kinds: Sequence[str]) -> dict[str, list[Row]]:
    """Replay what could be read, into a store of its own."""
    files = world.traffic.write(world.folder)
    with fresh_store(world.services.postgres.url) as url:
        done = run_driftline(
            "replay", "--config", str(world.monitor.config), "--predictions", str(files["predictions"]),
            "--labels", str(files["labels"]), "--out", str(world.folder / "out"), "--no-pictures", "--database", url,
            timeout_s=REPLAY_S_MAX,
        )  # fmt: skip
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, "driftline replay", done.stdout, done.stderr)
        return rows_by_kind(url, kinds)


def settle(world: World) -> int:
    """End the stream, wait until all of it is read, closed and sent, and return up to when windows are closed."""
    world.traffic.finish()
    world.wait_until_read()
    last_ms = max(event["timestamp"] for event in world.traffic.readable("predictions")) - 2 * WINDOW_MS
    closed = "select max(extract(epoch from closed_through) * 1000)::bigint from driftline.evaluation"
    wait_for(lambda: (world.monitor.rows(closed)[0][0] or 0) >= last_ms, "windows to close", PATIENCE_S)
    unsent = "select count(*) from driftline.outbox where published_at is null"
    wait_for(lambda: world.monitor.rows(unsent) == [(0,)], "messages to be sent", PATIENCE_S)
    return int(world.monitor.rows(closed)[0][0])


def compare(world: World, kinds: Sequence[str] = COMPARED, seen: Seen | None = None) -> Difference:
    """Compare a world that has come to its end with a replay.

    Parameters
    ----------
    seen
        What was found before it expired.
    """
    closed_ms = settle(world)
    expected = through(replayed(world, kinds), closed_ms)
    for _ in range(RESTATED_S_MAX):  # windows that labels came for are judged again a little later
        rows = rows_by_kind(world.monitor.url, kinds)
        found = through(seen.with_expired(rows) if seen else rows, closed_ms)
        if all(found[kind] == expected[kind] for kind in kinds):
            break
        time.sleep(1)
    return judge(world, expected, found, kinds)


def judge(world: World, expected: Mapping[str, Rows], found: Mapping[str, Rows], kinds: Sequence[str]) -> Difference:
    """Count what is missing and what is too much."""
    problems, lost, doubled = [], 0, 0
    for kind in kinds:
        missing, surplus = expected[kind] - found[kind], found[kind] - expected[kind]
        lost, doubled = lost + missing.total(), doubled + surplus.total()
        problems += [f"{kind}: missing: {dict(row)}" for row in list(missing)[:2]]
        problems += [f"{kind}: too much: {dict(row)}" for row in list(surplus)[:2]]
    counted, by_nature = world.monitor.counts(), 0
    for role, reason in zip(INPUTS, ("prediction", "label"), strict=True):
        ids = Counter(event["prediction_id"] for event in world.traffic.readable(role))
        by_nature += world.traffic.lost[role].total()
        for name, n in ((reason, ids.total()), (f"repeated_{reason}", ids.total() - len(ids))):
            difference = counted["m", name] - n
            lost, doubled = lost + max(0, -difference), doubled + max(0, difference)
            problems += [f"counted {counted['m', name]} of {name}, {n} were sent"] if difference else []
    told = _messages_of(world)
    problems += told.problems
    lost += told.lost
    requests = Counter(episode for (episode,) in world.monitor.rows(REQUESTS))
    twice = requests.total() - len(requests)
    problems += [f"{twice} episodes have more than one request"] if twice else []
    compared = {kind: expected[kind].total() for kind in kinds} | {"requests": len(requests)}
    return Difference(lost, doubled + twice, by_nature, told.sent_again, compared, problems)


class Seen:
    """Results that were final when they were seen, so that they can be compared when they have expired.

    Parameters
    ----------
    kept_ms
        For how long they are kept by event time.
    """

    def __init__(self, kept_ms: int) -> None:
        self._kept_ms = kept_ms
        self._windows: dict[str, dict[int, list[Row]]] = {"drift": {}, "performance": {}}
        self._episodes: dict[str, Row] = {}

    def look(self, url: str) -> None:
        """Remember what is there; what is still judged again is seen again later."""
        self._remember(rows_by_kind(url, ("drift", "performance", "episodes")))

    def _remember(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for kind, windows in self._windows.items():
            by_end: dict[int, list[Row]] = defaultdict(list)
            for row in rows[kind]:
                by_end[_ms(dict(row)["window_end"])].append(row)
            # The oldest may be half gone already.
            oldest_ms = max(by_end, default=0) - self._kept_ms * 3 // 4
            windows |= {end_ms: own for end_ms, own in by_end.items() if end_ms > oldest_ms}
        self._episodes |= {dict(row)["episode_id"]: row for row in rows["episodes"]}

    def with_expired(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
        """Return what is there and what was there."""
        self._remember(rows)
        windows = {kind: [row for rows in ends.values() for row in rows] for kind, ends in self._windows.items()}
        return {**{kind: list(own) for kind, own in rows.items()}, **windows, "episodes": [*self._episodes.values()]}


@dataclass(frozen=True)
class Told:
    """What left."""

    lost: int
    sent_again: int
    problems: list[str]


def _messages_of(world: World) -> Told:
    """Compare what arrived with the outbox: all of it as it stands there, and of each episode in order."""
    outbox = world.monitor.rows("select event_id, topic, episode_id, payload from driftline.outbox order by sequence")
    topics = sorted({world.monitor.topic("drift"), world.monitor.topic("retraining")})
    return judge_messages(outbox, {topic: _in_topic(world.monitor, topic) for topic in topics})


def judge_messages(outbox: Sequence[tuple[Any, ...]], arrived_in: Mapping[str, Sequence[Mapping[str, Any]]]) -> Told:
    """Count what never arrived, and say what arrived otherwise than it was to be sent.

    Parameters
    ----------
    outbox
        (id, topic, episode, payload), in the order in which they are to leave.
    arrived_in
        By topic, in the order in which they came.
    """
    lost, again, problems = 0, 0, []
    for topic, arrived in arrived_in.items():
        ids = [message["id"] for message in arrived]
        wanted = {event_id: (episode, payload) for event_id, of, episode, payload in outbox if of == topic}
        again += len(ids) - len(set(ids))
        lost += len(wanted.keys() - set(ids))
        problems += [f"{topic}: {event_id} never arrived" for event_id in list(wanted.keys() - set(ids))[:2]]
        unlike = [m["id"] for m in arrived if wanted.get(m["id"], (None, None))[1] != m]
        problems += [f"{topic}: {event_id} is not what was to be sent" for event_id in unlike[:2]]
        first = list(dict.fromkeys(event_id for event_id in ids if event_id in wanted))
        for episode in {of for of, _ in wanted.values()}:
            own = [event_id for event_id, (of, _) in wanted.items() if of == episode]
            if [event_id for event_id in first if wanted[event_id][0] == episode] != own:
                problems.append(f"{topic}: messages of episode {episode} arrived in another order")
    return Told(lost, again, problems)


def _in_topic(monitor: Monitor, topic: str) -> list[dict[str, Any]]:
    """Read a topic of one partition to its end."""
    consumer = Consumer(
        {"bootstrap.servers": monitor.address, "group.id": "chaos", "auto.offset.reset": "earliest", "log_level": 0}
    )
    try:
        place = TopicPartition(topic, 0, 0)
        consumer.assign([place])
        _, end = consumer.get_watermark_offsets(place, timeout=60)
        found: list[dict[str, Any]] = []
        while len(found) < end:
            found += [json.loads(message.value() or b"") for message in consumer.consume(end - len(found), timeout=30)]
        return found
    finally:
        consumer.close()
