"""Endless traffic of the demo's fraud model: the last day and a half at once, then as time goes by.

Every other day the same three things go wrong: amounts grow, a feature goes missing, the relation to the label changes.
Which events there are depends only on when the first run began, and how far they are sent is kept in a file: started
again, this goes on where it was, and what is sent twice has the same ids.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import click
import orjson
from confluent_kafka import Producer

from driftline.demo.traffic import HOUR_MS, HOURS, messages, payments
from driftline.settings import load_settings

MODEL = "fraud"
PAST_HOURS = 34
"""So that the first look shows two things that went wrong and one that still does."""
SEED = 1
PAUSE_S = 1.0
FLUSH_S = 20
TOLD_MIN = 1_000
HEALTHY_S = 60

Event = tuple[int, str, bytes, bytes]
"""Time, kind, key and value."""


def events(began_ms: int, after_ms: int) -> Iterator[Event]:
    """Yield all events later than some time, in their order, for ever."""
    for cycle in count(max(after_ms - began_ms, 0) // (HOURS * HOUR_MS)):
        start_ms = began_ms + cycle * HOURS * HOUR_MS
        for message in messages(payments(SEED + cycle, HOURS), MODEL, start_ms):
            at_ms = start_ms + message.offset_ms
            if message.offset_ms >= HOURS * HOUR_MS:
                break
            if at_ms > after_ms:
                event = orjson.loads(message.value)
                event["prediction_id"] = f"{cycle}-{event['prediction_id']}"
                yield at_ms, message.kind, event["prediction_id"].encode(), orjson.dumps(event)


def send(producer: Producer, topics: dict[str, str], state: Path, stopping: threading.Event) -> None:
    """Send what is due, second by second, until told to stop."""
    now_ms = int(time.time() * 1000)
    known = json.loads(state.read_text()) if state.exists() else {}
    began_ms = known.get("began_ms", (now_ms // HOUR_MS - PAST_HOURS) * HOUR_MS)
    waiting = events(began_ms, known.get("through_ms", began_ms - 1))
    due = next(waiting)
    while not stopping.is_set():
        now_ms = int(time.time() * 1000)
        sent = 0
        while due[0] <= now_ms and not stopping.is_set():
            _, kind, key, value = due
            try:
                producer.produce(topics[kind], value, key)
            except BufferError:
                producer.poll(0.1)
                continue
            sent, due = sent + 1, next(waiting)
        if producer.flush(FLUSH_S):
            continue  # the broker is away; what waits is sent when it is back, and the file grows old meanwhile
        if sent >= TOLD_MIN:
            click.echo(f"sent {sent:,} events")
        unfinished = state.with_suffix(".new")
        unfinished.write_text(json.dumps({"began_ms": began_ms, "through_ms": due[0] - 1}))
        unfinished.replace(state)
        stopping.wait(PAUSE_S)


@click.command()
@click.option("--config", default="monitor.yaml", type=click.Path(path_type=Path), help="Where servers and topics are.")
@click.option("--state", required=True, type=click.Path(path_type=Path), help="File that says how far it is.")
@click.option("--healthy", is_flag=True, help="Only say whether another process still sends: for probes.")
def main(config: Path, state: Path, healthy: bool) -> None:
    """Send traffic until SIGINT or SIGTERM."""
    if healthy:
        sys.exit(not (state.exists() and time.time() - state.stat().st_mtime < HEALTHY_S))
    kafka = load_settings(config, os.environ).kafka
    assert kafka is not None, "the configuration beside this file has one"
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    topics = {"predictions": kafka.topics.predictions, "labels": kafka.topics.labels}
    options = {"bootstrap.servers": kafka.bootstrap_servers, "compression.type": "lz4", "log_level": 0}
    send(Producer(options), topics, state, stopping)


if __name__ == "__main__":
    main()
