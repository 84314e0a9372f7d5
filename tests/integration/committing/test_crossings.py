"""Do two transactions of one model leave what they leave one after the other, however their statements cross?

Every pair of what workers and people do: predictions and labels that come, with repeats, corrections and late ones;
windows that are closed and restated; a reference that is frozen or accepted. Each pair is driven through interleavings
of its statements: the first one stops before its i-th, the second one goes to its end or to its j-th, then the first
one goes on. Whoever waits for a lock is left waiting. A model of its own for each.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations_with_replacement, count, product
from typing import Any

import pytest
from psycopg.errors import UniqueViolation

from driftline.errors import DriftlineError
from driftline.store.connection import SERVICE_TROUBLE, Connection
from streams.closing.evaluate import evaluate
from streams.committing.commit import Pipeline
from streams.monitored import Profiles, register_models
from streams.references.accept import Stretch, accept_stretch, find_model
from streams.references.freeze import freeze_references
from tests.simulation.stage import Actor, SimConnection, Stage, connect
from tests.support.pipelines import MINUTE, SECOND, START_MS, Lab, lab, label, migrated, prediction, settings_of

pytestmark = pytest.mark.postgres

SWITCHES = int(os.environ.get("DRIFTLINE_TEST_SWITCHES", "0"))
"""With 1, the first one stops before each of its statements in turn, and the second one goes to its end; with 0, before
every third of them, which ones hangs on the pair; with 2, the second one stops before each of its own, too."""

MODEL: dict[str, Any] = {
    "windows": {"length": "1m", "out_of_orderness": "0s", "restate_after": "0s"},
    "labels": {"horizon": "1h", "on_correction": "restate"},
    "performance": {"metrics": ["accuracy"], "floor": {"accuracy": 0.9}, "min_labelled": 1, "judge_after": "1m"},
    "retraining": {"consecutive": 1},
    # So large that none is simulated, which is what would take most of the time.
    "drift": {"psi": {"effect": 50}},
}
COLLECTING = MODEL | {"reference": {"first_events": 6}}

Left = dict[str, list[str]]
Action = Callable[[Lab, int], Awaitable[object]]
"""Done on a lab, by the first or the second of two; which says the partition that it reads."""


async def predict(made: Lab, who: int) -> None:
    """Commit new predictions, a repeat, and a late one."""
    new = [prediction(f"n{row}", MINUTE + row * SECOND, row % 2) for row in range(3)]
    late = prediction("late", 30 * SECOND, 1)
    await made.commit("predictions", *new, prediction("a1", 1 * SECOND, 1), late, partition=who)


async def tell(made: Lab, who: int) -> None:
    """Commit labels of what was predicted before and of what is predicted meanwhile, a repeat and a correction."""
    truths = [label(name, MINUTE + 30 * SECOND, 1) for name in ("a2", "n0", "n1", "late", "a2")]
    await made.commit("labels", *truths, label("a0", MINUTE + 40 * SECOND, 0), partition=who)


async def close(made: Lab, _: int) -> None:
    """Close the second minute, and restate the first if something late came."""
    await evaluate(made.connection, made.pipeline.profiles, made.model, START_MS + 2 * MINUTE, restate="now")


async def freeze(made: Lab, _: int) -> None:
    """Let the first events become the reference."""
    at_ms = START_MS + 2 * MINUTE
    await freeze_references(made.connection, made.pipeline.profiles, made.model, at_ms, categories_max=50)


async def accept(made: Lab, _: int) -> None:
    """Let the first minute become the reference."""
    model = await find_model(made.connection, made.model.name, made.model.settings)
    await accept_stretch(made.connection, model, Stretch(None, START_MS, START_MS + MINUTE), "ann", "")


LEFT = {
    "drift": "select * from driftline.v_drift where model = %s",
    "performance": "select * from driftline.v_performance where model = %s",
    "counts": "select reason, sum(n)::bigint as n from driftline.v_counts where model = %s group by 1",
    "episodes": "select version, kind, opened_at, closed_at from driftline.v_episodes where model = %s",
    "predictions": """select count(*)::int as n, count(distinct key)::int as ids from driftline.prediction
                       where model_id = (select model_id from driftline.model where name = %s)""",
    "labels": """select count(*)::int as n from driftline.label
                  where model_id = (select model_id from driftline.model where name = %s)""",
}


@dataclass
class Crossing:
    """Two connections, on which actors take turns, and one to prepare and to look with."""

    connection: Connection
    stage: Stage
    sides: tuple[SimConnection, SimConnection]
    settings: dict[str, Any]
    number: Any

    async def run(self, actions: tuple[Action, Action], switches: tuple[int, int]) -> tuple[Left, tuple[int, int]]:
        """Cross two actions on a new model; return what is left, and before how many statements each stopped."""
        name = f"m{next(self.number)}"
        made = await lab(self.connection, self.settings, name=name)
        before = [prediction(f"a{row}", row * SECOND, 1) for row in range(6)]
        await made.commit("predictions", *before, partition=2)
        await made.commit("labels", label("a0", 20 * SECOND, 1), label("a1", 20 * SECOND, 0), partition=2)
        await evaluate(self.connection, made.pipeline.profiles, made.model, START_MS + MINUTE, restate="now")
        labs = [await self._beside(made, side) for side in self.sides]
        steps, states = [0, 0], ["begun"] * 2

        async def play(actor: Actor, who: int) -> None:
            actor.connection = self.sides[who]
            self.sides[who].actor = actor
            try:
                while states[who] != "done":
                    try:
                        await actions[who](labs[who], who)
                        states[who] = "done"
                    except (*SERVICE_TROUBLE, UniqueViolation):  # a worker tries again, and finds what is there
                        if self.sides[who].closed:
                            raise
                    except DriftlineError as error:
                        if "run this again" not in str(error):  # which people then do
                            raise
            finally:
                self.sides[who].actor = actor.connection = None

        actors = [self._enter(f"{who}", lambda actor, who=who: play(actor, who)) for who in (0, 1)]
        while stopped := await self.stage.settle():
            who = _next(steps, switches, [actor.has_ended for actor in actors])
            chosen = actors[who] if actors[who] in stopped else next(actor for actor in actors if actor in stopped)
            steps[actors.index(chosen)] += 1
            chosen.go()
        assert self.stage.deadlocks == []
        await made.close()
        assert states == ["done", "done"]
        return await self._left(name), (steps[0], steps[1])

    async def _beside(self, made: Lab, side: SimConnection) -> Lab:
        """Give the same model to another process, which remembers nothing of it yet."""
        models = await register_models(side, settings_of(made.model.name, self.settings))
        pipeline = Pipeline(models, Profiles(), made.pipeline.future_ms_max)
        return Lab(side, pipeline, made.decoder, models[made.model.name])

    def _enter(self, name: str, play: Callable[[Actor], Any]) -> Actor:
        return self.stage.enter(name, name, play)

    async def _left(self, name: str) -> Left:
        found = {}
        for what, query in LEFT.items():
            rows = await (await self.connection.execute(query.encode(), [name])).fetchall()
            items = [
                {key: value for key, value in row._asdict().items() if key not in ("model", "revision")} for row in rows
            ]
            found[what] = sorted(map(str, items))
        return found


def _next(steps: list[int], switches: tuple[int, int], ended: list[bool]) -> int:
    """Say whose turn it is: the first one's up to its switch, then the second one's up to its own, then to the ends."""
    first_stops, second_stops = switches
    if not ended[0] and steps[0] < first_stops:
        return 0
    if not ended[1] and steps[1] < second_stops:
        return 1
    return 1 if ended[0] else 0


@asynccontextmanager
async def crossing(url: str, settings: dict[str, Any]) -> AsyncIterator[Crossing]:
    async with migrated(url) as connection:
        sides = await connect(url), await connect(url)
        try:
            yield Crossing(connection, Stage(connection), sides, settings, count())
        finally:
            for side in sides:
                await side.close()


ALL = 10**9
PAIRS = [
    *((MODEL, *pair) for pair in combinations_with_replacement((predict, tell, close, accept), 2)),
    *((COLLECTING, action, freeze) for action in (predict, tell, close, freeze)),
]


async def both_orders(crossed: Crossing, actions: tuple[Action, Action]) -> tuple[list[Left], tuple[int, int]]:
    """Return what is left by the one after the other and the other way round, and how many statements each takes."""
    one, steps = await crossed.run(actions, (ALL, ALL))
    other, _ = await crossed.run(actions, (0, ALL))
    return [one, other], steps


@pytest.mark.parametrize("pair", range(len(PAIRS)), ids=[f"{one.__name__}-{two.__name__}" for _, one, two in PAIRS])
async def test_what_crosses_leaves_what_is_left_one_after_the_other(pair: int, postgres_url: str) -> None:
    settings, *actions = PAIRS[pair]
    both = actions[0], actions[1]
    async with crossing(postgres_url, settings) as crossed:
        orders, steps = await both_orders(crossed, both)
        first_stops = range(1, steps[0]) if SWITCHES else range(1 + pair % 3, steps[0], 3)
        second_stops = (*range(1, steps[1]), ALL) if SWITCHES > 1 else (ALL,)
        for switches in product(first_stops, second_stops):
            left, _ = await crossed.run(both, switches)
            assert left in orders, (switches, differences(left, orders))


async def test_without_the_lock_of_the_join_what_is_left_is_something_else(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_lock(*_: object) -> None:
        """Lock nothing."""

    monkeypatch.setattr("streams.committing.commit._lock_joins", no_lock)
    async with crossing(postgres_url, MODEL) as crossed:
        orders, steps = await both_orders(crossed, (predict, tell))
        # One looked for the other's side before that was committed: late in its transaction, near the end.
        found = [await crossed.run((predict, tell), (stop, ALL)) for stop in range(steps[0] // 2, steps[0], 2)]

    assert [left for left, _ in found if left not in orders] != []


def differences(left: Left, orders: list[Left]) -> list[str]:
    return [f"{what}: {sorted(set(left[what]) ^ set(order[what]))}" for order in orders for what in LEFT]
