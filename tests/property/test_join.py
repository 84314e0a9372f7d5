"""Is what is found a function of the log alone: the same however it is cut, and whoever reads which part first?

Two partitions of predictions and served features, two of labels. One reader takes each partition whole and closes
everything at the end; the other takes pieces of any size in any order, and closes windows on the way.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from driftline.store.connection import Connection
from tests.support.pipelines import (
    END_MS,
    SECOND,
    START_MS,
    Event,
    Lab,
    Row,
    features,
    lab,
    label,
    migrated,
    prediction,
)

pytestmark = pytest.mark.postgres

OUT_OF_ORDERNESS_S, LATE_S_MAX = 5, 90
MODEL_NUMBER = count()


@dataclass(frozen=True)
class Step:
    """One event of the log: `after_s` behind the one before, and told `told_later_s` later than it happened."""

    kind: str
    name: int
    after_s: int
    told_later_s: int
    outcome: int
    version: int
    x: float


def steps(told_later_s_max: int) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        Step,
        st.sampled_from(["prediction", "prediction", "prediction", "label", "label", "features"]),
        st.integers(0, 7),
        st.integers(0, 20),
        st.integers(0, told_later_s_max),
        st.integers(0, 1),
        st.integers(1, 2),
        st.floats(0, 1),
    )
    return st.lists(step, min_size=5, max_size=60)


STATES = """
select v.name as version, coalesce(s.name, '*') as segment, d.judged_through as at, d.content
  from driftline.detector_state d
  join driftline.name v on v.model_id = d.model_id and v.kind = 'version' and v.code = d.version
  left join driftline.name s on s.model_id = d.model_id and s.kind = 'segment' and s.code = d.segment
 where d.model_id = %s
 order by 1, 2
"""

Log = dict[tuple[str, int], list[Event]]


def log_of(events: list[Step]) -> Log:
    """Put every event on the partition of its id."""
    log: Log = {(topic, partition): [] for topic in ("all", "labels") for partition in (0, 1)}
    now_s = 0
    for step in events:
        now_s += step.after_s
        at_ms, name = (now_s - step.told_later_s + LATE_S_MAX) * SECOND, f"id{step.name}"
        values = {"x": step.x, "c": "ab"[step.outcome]}
        if step.kind == "label":
            log["labels", step.name % 2].append(label(name, at_ms, step.outcome))
        elif step.kind == "features":
            log["all", step.name % 2].append(features(name, at_ms, **values))
        else:
            event = prediction(
                name, at_ms, step.outcome, score=step.x, features=values, version=f"v{step.version}", segment={"c": "a"}
            )
            log["all", step.name % 2].append(event)
    return log


async def read(made: Lab, log: Log, chance: Random | None) -> None:
    """Commit a log, whole partitions one after the other, or by chance."""
    for topic, partition in log:
        await made.position(topic, partition, 0)
    left = {at: list(events) for at, events in log.items() if events}
    newest = dict.fromkeys(left, -(10**9))
    while left:
        at = chance.choice(sorted(left)) if chance else min(left)
        n = chance.randint(1, len(left[at])) if chance else len(left[at])
        fetch, left[at] = left[at][:n], left[at][n:]
        assert await made.commit(at[0], *fetch, partition=at[1]) is not None
        newest[at] = max(newest[at], *(event["timestamp"] - START_MS for event in fetch))
        if not left[at]:
            del left[at], newest[at]
        if chance and left and chance.random() < 0.5:
            await made.close(
                min(newest.values()) - OUT_OF_ORDERNESS_S * SECOND, restate=chance.choice(["now", "not now"])
            )
    await made.close(END_MS - START_MS)


def without_revision(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in ("model", "revision")} for row in rows]


async def found_by(connection: Connection, model: dict[str, Any], log: Log, chance: Random | None) -> list[list[Row]]:
    made = await lab(connection, model, name=f"m{next(MODEL_NUMBER)}")
    await read(made, log, chance)
    states = await made.rows(STATES, made.model.model_id)
    return [*(without_revision(rows) for rows in (await made.drift(), await made.performance())), states]


def settings_of(on_correction: str, min_events: int) -> dict[str, Any]:
    windows = {"length": "1m", "slide": "30s", "pane": "5s", "min_events": min_events}
    return {
        "segments": ["c"],
        "labels": {"on_correction": on_correction, "dedupe_window": "20s"},
        "windows": windows | {"out_of_orderness": f"{OUT_OF_ORDERNESS_S}s"},
    }


async def check(url: str, on_correction: str, min_events: int, events: list[Step], chance: Random) -> None:
    model = settings_of(on_correction, min_events)
    async with migrated(url) as connection:
        log = log_of(events)
        whole = await found_by(connection, model, log, None)
        in_pieces = await found_by(connection, model, log, chance)
        if min_events > 1:
            assert in_pieces == whole
        else:  # late events judge no window, and restated windows are judged by what is known of swings by then
            assert unjudged(in_pieces[0]) == unjudged(whole[0])
            assert in_pieces[1] == whole[1]


def unjudged(rows: list[Row]) -> list[Row]:
    """Leave out how a score was judged."""
    return [{name: row[name] for name in row if name not in ("threshold", "p_value", "level")} for row in rows]


# Without shrinking: an example takes a third of a second, and shrinking would try thousands.
ON_POSTGRES = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("on_correction", ["ignore", "restate"])
@given(events=steps(OUT_OF_ORDERNESS_S), chance=st.randoms(use_true_random=False))
@ON_POSTGRES
def test_what_is_found_does_not_depend_on_how_the_log_is_read(
    postgres_url: str, on_correction: str, events: list[Step], chance: Random
) -> None:
    asyncio.run(check(postgres_url, on_correction, 3, events, chance))


async def read_partition(made: Lab, topic: str, partition: int, events: list[Event]) -> None:
    """Commit one partition in small pieces, and close nothing."""
    for start in range(0, len(events), 3):
        assert await made.commit(topic, *events[start : start + 3], partition=partition) is not None


async def read_at_once(url: str, model: dict[str, Any], log: Log) -> list[list[Row]]:
    """Commit every partition over a connection of its own, all at the same time, while windows are closed."""
    async with AsyncExitStack() as stack:
        name = f"m{next(MODEL_NUMBER)}"
        labs = {at: await lab(await stack.enter_async_context(migrated(url)), model, name=name) for at in log}
        for (topic, partition), made in labs.items():
            await made.position(topic, partition, 0)
        closing = await lab(await stack.enter_async_context(migrated(url)), model, name=name)
        running = [asyncio.create_task(read_partition(made, *at, log[at])) for at, made in labs.items()]
        while not all(task.done() for task in running):
            # Nothing is older than this, so it closes nothing; it takes the evaluator's locks between the writers'.
            await closing.close(0, restate="now")
        await asyncio.gather(*running)
        await closing.close(END_MS - START_MS)
        return [without_revision(rows) for rows in (await closing.drift(), await closing.performance())]


@pytest.mark.parametrize("on_correction", ["ignore", "restate"])
@given(events=steps(OUT_OF_ORDERNESS_S))
@ON_POSTGRES
def test_readers_of_all_partitions_at_once_find_the_same(
    postgres_url: str, on_correction: str, events: list[Step]
) -> None:
    async def check() -> None:
        async with migrated(postgres_url) as connection:
            await lab(connection)  # so that the reference is there before all of them want to put it there
            log, model = log_of(events), settings_of(on_correction, 1)
            expected = await found_by(connection, model, log, None)
            assert await read_at_once(postgres_url, model, log) == expected[:2]

    asyncio.run(check())


@pytest.mark.parametrize("on_correction", ["ignore", "restate"])
@given(events=steps(LATE_S_MAX), chance=st.randoms(use_true_random=False))
@ON_POSTGRES
def test_late_events_come_to_the_same_in_the_end(
    postgres_url: str, on_correction: str, events: list[Step], chance: Random
) -> None:
    # How far a window with few events reaches back is decided when it closes; late events can't change that any more.
    asyncio.run(check(postgres_url, on_correction, 1, events, chance))
