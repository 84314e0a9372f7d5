"""What does each step of the path cost by itself, so that a regression has an address?

One process, one block of events the size of a fetch, everything warm: medians over several turns of wall-clock and of
this process's own processor time. `commit`, `join` and `evaluate` wait for Postgres, whose time is not in ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson
from rich.table import Table

from benchmarks.setting import traffic
from benchmarks.setting.model import model_settings
from detectors.reference.summaries import merge_vectors
from driftline.store.connection import Connection
from streams.committing.prepared import prepare
from streams.counting import summarise_predictions
from streams.decode.messages import Records
from streams.panes import PaneLayout
from tests.support import pipelines
from tests.support.pipelines import Lab, lab, migrated

EVENTS = 20_000
WINDOW_MS = 120_000
LATENESS_MS = 10_000
REFERENCE_EVENTS = 5_000
TURNS = 7
ARROW_EVENTS_A_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Timed:
    """One step, each turn of which dealt with so many events."""

    name: str
    what: str
    events: int
    seconds: float
    cpu_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Write it for programs."""
        return {
            "name": self.name,
            "what": self.what,
            "events": self.events,
            "events_per_s": round(self.events / self.seconds),
            "us_per_event": round(1e6 * self.seconds / self.events, 3),
            "cpu_us_per_event": round(1e6 * self.cpu_seconds / self.events, 3),
        }


class _Clock:
    """Collects the turns of each step."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, str], list[tuple[int, float, float]]] = {}

    async def time(self, name: str, what: str, events: int, do: Callable[[], Awaitable[object]]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        await do()
        took = (events, time.perf_counter() - wall, time.process_time() - cpu)
        self.turns.setdefault((name, what), []).append(took)

    def timed(self) -> list[Timed]:
        return [Timed(*step, *(median(column) for column in zip(*of, strict=True))) for step, of in self.turns.items()]


def measure_steps(url: str) -> list[Timed]:
    """Time every step against an empty database."""

    async def go() -> list[Timed]:
        async with migrated(url) as connection:
            return await _steps(connection)

    return asyncio.run(go())


async def _steps(connection: Connection) -> list[Timed]:
    clock = _Clock()
    reference = [
        orjson.loads(message.value)
        for message in traffic.json_predictions(traffic.make_traffic(REFERENCE_EVENTS, 7, moved_by=0.0), 1)
    ]
    made = await lab(connection, model_settings(Path("none"), labels=True), name=traffic.MODEL, reference=reference)
    events = traffic.make_traffic(TURNS * EVENTS, 1, events_a_second=EVENTS * 1000 / WINDOW_MS)
    predictions = [message.value for message in traffic.json_predictions(events, 1)]
    labels = [message.value for message in traffic.json_labels(events, 1)]
    block_of_label = events.labelled // EVENTS
    table = traffic.predictions_table(events)
    nowhere = np.zeros(EVENTS, np.int64)
    for turn in range(TURNS):
        block = slice(turn * EVENTS, (turn + 1) * EVENTS)
        await _pure_steps(clock, made, predictions[block])
        packed = traffic.arrow_messages(table.slice(block.start, EVENTS), nowhere, 1, ARROW_EVENTS_A_MESSAGE)
        header = (("content-type", b"application/vnd.apache.arrow.stream"),)
        await _decode(
            clock, made, "decode-arrow", "Arrow batches to columns", _records([m.value for m in packed], header)
        )
        truths = [labels[place] for place in np.flatnonzero(block_of_label == turn)]
        await _steps_in_store(clock, made, predictions[block], truths, (turn + 1) * WINDOW_MS)
    return clock.timed()


async def _pure_steps(clock: _Clock, made: Lab, values: list[bytes]) -> None:
    await _decode(clock, made, "decode", "JSON messages to columns", _records(values))
    [prepared] = await prepare(
        made.connection, made.pipeline.models, made.decoder.decode("predictions", 0, _records(values))
    )
    part = prepared.predictions
    assert part is not None
    layout, keyed = await _layout(made), part.keyed
    pane_ms = made.model.settings.windows.pane_ms
    vectors: list[bytes] = []

    async def summarise() -> None:
        vectors[:] = summarise_predictions(
            part.batch, keyed.version, keyed.segments, keyed.late, layout, pane_ms
        ).vectors

    async def merge() -> None:
        merge_vectors(vectors, layout.width)

    await clock.time("summarise", "columns to pane deltas", EVENTS, summarise)
    await clock.time("merge", "all pane deltas of a block into one", EVENTS, merge)


async def _layout(made: Lab) -> PaneLayout:
    in_force = await made.pipeline.profiles.in_force(made.connection, [made.model])
    return await made.pipeline.profiles.layout(made.connection, next(iter(in_force.values())))


async def _decode(clock: _Clock, made: Lab, name: str, what: str, records: Records) -> None:
    async def decode() -> None:
        decoded = made.decoder.decode("predictions", 0, records)
        assert len(decoded.predictions[traffic.MODEL]) == EVENTS

    await clock.time(name, what, EVENTS, decode)


async def _steps_in_store(clock: _Clock, made: Lab, values: list[bytes], labels: list[bytes], end_ms: int) -> None:
    start_ms = traffic.START_MS - pipelines.START_MS
    record_ms = traffic.START_MS + 10 * TURNS * WINDOW_MS

    async def commit(topic: str, events: list[bytes]) -> None:
        done = await made.commit(topic, *events, record_ms=record_ms)
        assert done is not None
        assert not done.dead
        if topic == "labels":
            assert done.counts[traffic.MODEL, "pair"] == len(events)

    await clock.time(
        "commit",
        "JSON predictions decoded, stored, summarised, committed",
        EVENTS,
        lambda: commit("predictions", values),
    )
    await clock.time("join", "JSON labels decoded, joined, committed", len(labels), lambda: commit("labels", labels))

    async def evaluate() -> None:
        assert await made.close(start_ms + end_ms + LATENESS_MS, restate="not now") >= 1

    await clock.time("evaluate", "closing a window: PSI, ADWIN, metrics, policy; per event in it", EVENTS, evaluate)


def _records(values: list[bytes], headers: tuple[tuple[str, bytes], ...] = ()) -> Records:
    numbers = np.arange(len(values), dtype=np.int64)
    return Records(values, [headers] * len(values), numbers + traffic.START_MS, numbers + 1)


HEADINGS = ("step", "what", "events/s", "µs an event", "of it our CPU")


def _cells(step: Timed) -> tuple[str, ...]:
    row = step.as_json()
    each = (f"{row[name]:.2f}" for name in ("us_per_event", "cpu_us_per_event"))
    return step.name, step.what, f"{row['events_per_s']:,}", *each


def steps_table(steps: Sequence[Timed]) -> Table:
    """Make the table for a terminal."""
    table = Table(*HEADINGS)
    for step in steps:
        table.add_row(*_cells(step))
    return table


def steps_page(steps: Sequence[Timed], date: str, command: str, machine: str) -> str:
    """Make the page that is committed, so that a regression has an address."""
    told = (
        "# Steps of the path, each by itself\n\n"
        f"One process, everything warm, medians of {TURNS} blocks of {EVENTS:,} events, each about a fetch. `commit`,\n"
        "`join` and `evaluate` wait for Postgres, whose processor time is not in ours. Compare a change with what was\n"
        f"before it on one machine, in turns. Measured on {machine}, on {date}:\n`{command}`\n"
    )
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(_cells, steps)]
    return told + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
