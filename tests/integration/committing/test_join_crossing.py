"""Does each prediction meet each of its labels exactly once, however their transactions cross?

Two connections, one transaction each. Gates stand before the join lock, before the look for the other side, and before
the end; a schedule says which transaction goes to its next gate, so every interleaving is driven on purpose. A
transaction that waits for a lock of the other is left waiting until the other goes on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import combinations, permutations
from typing import Any

import psycopg
import pytest

from driftline.store import sql
from driftline.store.connection import Connection, connect
from tests.support.pipelines import MINUTE, SECOND, Event, Lab, lab, label, migrated, prediction

pytestmark = pytest.mark.postgres

LOCKS = ("lock_join_shared", "lock_join_alone")
GATES = {
    "predictions": ("lock_join_shared", "labels_of_keys", "advance_offset"),
    "labels": ("lock_join_alone", "predictions_of_keys", "advance_offset"),
}
SCHEDULES = [
    tuple("PL"[turn not in of_predictions] for turn in range(6)) for of_predictions in combinations(range(6), 3)
]
"""Every way in which three steps of the predictions and three of the labels can follow one another."""


class Gated:
    """One connection that stops before certain statements until it is told to go on."""

    def __init__(self, connection: Connection, topic: str, *, locked: bool) -> None:
        self.connection = connection
        self._gates = {sql(name) for name in GATES[topic]}
        self._removed = set() if locked else {sql(name) for name in LOCKS}
        self._may_go = asyncio.Event()
        self.stopped = asyncio.Event()
        self._execute = connection.execute
        connection.execute = self.execute

    async def execute(self, query: Any, *parameters: Any, **options: Any) -> Any:
        if query in self._gates:
            self.stopped.set()
            await self._may_go.wait()
            self._may_go.clear()
        if query in self._removed:
            return await self._execute("select", **options)
        return await self._execute(query, *parameters, **options)

    def go_on(self) -> None:
        self.stopped.clear()
        self._may_go.set()

    async def waits_for_a_lock(self, watcher: Connection) -> bool:
        pid = self.connection.info.backend_pid
        found = await watcher.execute("select 1 from pg_locks where pid = %s and not granted", [pid])
        return await found.fetchone() is not None


class Crossing:
    """Two transactions of one model, driven step by step."""

    def __init__(self, made: Lab, predictions: Connection, labels: Connection, *, locked: bool = True) -> None:
        self.lab = made
        self._gated = {
            "P": Gated(predictions, "predictions", locked=locked),
            "L": Gated(labels, "labels", locked=locked),
        }

    async def cross(self, schedule: tuple[str, ...], predictions: list[Event], labels: list[Event]) -> None:
        tasks = {
            side: asyncio.create_task(self.lab.commit(topic, *events, connection=self._gated[side].connection))
            for side, topic, events in (("P", "predictions", predictions), ("L", "labels", labels))
        }
        for side in "PL":
            await self._until_it_stops(side, tasks[side])
        for side in schedule:
            gated = self._gated[side]
            if gated.stopped.is_set():
                gated.go_on()
                await self._until_it_stops(side, tasks[side])
        while pending := [side for side, task in tasks.items() if not task.done()]:
            for side in pending:
                if self._gated[side].stopped.is_set():
                    self._gated[side].go_on()
                await self._until_it_stops(side, tasks[side])
        for task in tasks.values():
            assert await task is not None, "fenced"

    async def _until_it_stops(self, side: str, task: "asyncio.Task[Any]") -> None:
        """Wait until a transaction stands at a gate, waits for a lock, or is done."""
        gated = self._gated[side]
        while not (task.done() or gated.stopped.is_set() or await gated.waits_for_a_lock(self.lab.connection)):
            with suppress(TimeoutError):
                await asyncio.wait_for(gated.stopped.wait(), 0.001)


@asynccontextmanager
async def crossing(url: str, on_correction: str = "ignore", *, locked: bool = True) -> AsyncIterator[Crossing]:
    async with migrated(url) as connection:
        predictions, labels = await connect(url), await connect(url)
        windows = {"length": "1m", "out_of_orderness": "1d"}
        made = await lab(connection, {"labels": {"on_correction": on_correction}, "windows": windows})
        # Names get their codes before, so that transactions do nothing but cross.
        await made.commit("predictions", prediction("first", 0, 0), prediction("first", 0, 1, version="v2"))
        try:
            yield Crossing(made, predictions, labels, locked=locked)
        finally:
            await predictions.close()
            await labels.close()


def at(minute: int, second: int) -> int:
    return minute * MINUTE + second * SECOND


def pair(name: str, minute: int) -> tuple[Event, Event]:
    """Make a champion's and its shadow's prediction of one id: the one says 1, the other 0."""
    champion = prediction(name, at(minute, 1), 1)
    return champion, prediction(name, at(minute, 2), 0, version="v2", variant="shadow")


async def accuracy(made: Lab, basis: str = "cohort") -> dict[int, dict[str, tuple[int, float]]]:
    """Close everything; by minute and version, return the number of labels and the accuracy."""
    await made.close()
    found: dict[int, dict[str, tuple[int, float]]] = {}
    for row in await made.performance(metric="accuracy", segment="*", basis=basis):
        if row["window_start"] >= MINUTE:
            found.setdefault(row["window_start"] // MINUTE, {})[row["version"]] = (row["n_labelled"], row["value"])
    return found


async def test_a_prediction_and_its_label_meet_once_in_every_interleaving(postgres_url: str) -> None:
    async with crossing(postgres_url) as both:
        for minute, schedule in enumerate(SCHEDULES, start=1):
            await both.cross(schedule, [prediction(str(minute), at(minute, 1))], [label(str(minute), at(minute, 9))])

        met = await accuracy(both.lab)

    assert met == {minute: {"v1": (1, 1.0)} for minute in range(1, len(SCHEDULES) + 1)}


async def test_without_the_lock_a_pair_is_lost(postgres_url: str) -> None:
    async with crossing(postgres_url, locked=False) as both:
        for minute, schedule in enumerate(SCHEDULES, start=1):
            await both.cross(schedule, [prediction(str(minute), at(minute, 1))], [label(str(minute), at(minute, 9))])

        met = await accuracy(both.lab)

    labelled = [met[minute]["v1"][0] for minute in range(1, len(SCHEDULES) + 1)]
    # Each looked before the other had committed: this is what the lock is there for.
    assert 0 in labelled
    # A crossing without the lock can only lose: whoever comes second sees the other or does not.
    assert set(labelled) <= {0, 1}


async def test_a_shadow_that_crosses_the_label_of_its_champion_is_scored_too(postgres_url: str) -> None:
    async with crossing(postgres_url) as both:
        for minute, schedule in enumerate(SCHEDULES, start=1):
            champion, shadow = pair(str(minute), minute)
            await both.lab.commit("predictions", champion)
            await both.cross(schedule, [shadow], [label(str(minute), at(minute, 9))])

        met = await accuracy(both.lab)

    assert met == {minute: {"v1": (1, 1.0), "v2": (1, 0.0)} for minute in range(1, len(SCHEDULES) + 1)}


async def test_a_shadow_that_comes_after_the_label_is_scored_under_its_own_version(postgres_url: str) -> None:
    async with crossing(postgres_url) as both:
        champion, shadow = pair("a", 1)
        await both.cross(SCHEDULES[0], [champion], [label("a", at(1, 9))])
        await both.cross(SCHEDULES[0], [shadow], [label("b", at(1, 9))])

        assert await accuracy(both.lab) == {1: {"v1": (1, 1.0), "v2": (1, 0.0)}}


@pytest.mark.parametrize(("on_correction", "right"), [("ignore", 1.0), ("restate", 0.0)])
async def test_predictions_that_cross_a_second_label_count_once(
    postgres_url: str, on_correction: str, right: float
) -> None:
    async with crossing(postgres_url, on_correction) as both:
        for minute, schedule in enumerate(SCHEDULES, start=1):
            champion, shadow = pair(str(minute), minute)
            await both.lab.commit("labels", label(str(minute), at(minute, 9), 1))
            correction = label(str(minute), at(minute, 19), 0)
            await both.cross(schedule, [champion, shadow, champion], [correction, correction])

        met = await accuracy(both.lab)
        arrived = await accuracy(both.lab, "arrival")

    expected = {"v1": (1, right), "v2": (1, 1.0 - right)}
    assert met == arrived == dict.fromkeys(range(1, len(SCHEDULES) + 1), expected)


EVENTS = {
    "champion": lambda name, minute: pair(name, minute)[0],
    "shadow": lambda name, minute: pair(name, minute)[1],
    "label": lambda name, minute: label(name, at(minute, 9), 1),
    "repeated label": lambda name, minute: label(name, at(minute, 9), 1),
    "corrected label": lambda name, minute: label(name, at(minute, 19), 0),
}


@pytest.mark.parametrize(("on_correction", "left_out"), [("restate", ()), ("ignore", ("corrected label",))])
async def test_events_of_one_id_give_the_same_metrics_in_any_order(
    postgres_url: str, on_correction: str, left_out: tuple[str, ...]
) -> None:
    # With `ignore` the first of two different labels holds, so which one that is must depend on the order.
    orders = list(permutations(name for name in EVENTS if name not in left_out))
    async with crossing(postgres_url, on_correction) as both:
        for step in range(len(orders[0])):
            events = [EVENTS[order[step]](str(minute), minute) for minute, order in enumerate(orders, start=1)]
            await both.lab.commit("all", *events)
        met, arrived = await accuracy(both.lab), await accuracy(both.lab, "arrival")

    right = 0.0 if on_correction == "restate" else 1.0
    expected = {"v1": (1, right), "v2": (1, 1.0 - right)}
    assert met == arrived == dict.fromkeys(range(1, len(orders) + 1), expected)


async def test_two_workers_with_predictions_do_not_wait_for_one_another(postgres_url: str) -> None:
    async with crossing(postgres_url) as both:
        other = await connect(postgres_url)
        async with both.lab.connection.transaction(), other.transaction():
            for connection in (both.lab.connection, other):
                await connection.execute("set local lock_timeout = '50ms'")
                await connection.execute(sql("lock_join_shared"), {"buckets": [1]})
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await other.execute(sql("lock_join_alone"), {"buckets": [1]})
            raise psycopg.Rollback
        await other.close()
