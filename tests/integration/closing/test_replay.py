"""Does a replay find what the live path finds, in the same bytes every time?"""

from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from driftline.store.migrate import migrate
from streams import replay as replaying
from streams.replay import ReplayResult, replay
from tests.support.pipelines import DAY, MINUTE, SECOND, START_MS, Event, Lab, beside, lab, label, prediction

pytestmark = pytest.mark.postgres


def stream(n: int, step_ms: int = SECOND) -> tuple[list[Event], list[Event]]:
    """Make predictions and, each up to a minute later, labels for two of three."""
    chance = np.random.default_rng(5)
    events = [
        prediction(
            f"p{row}",
            row * step_ms,
            int(chance.random() < 0.5),
            score=round(float(chance.random()), 3),
            features={"x": round(float(chance.normal(0.5, 0.3)), 3), "c": str(chance.choice(["a", "b"]))},
        )
        for row in range(n)
    ]
    labels = [label(f"p{row}", row * step_ms + int(chance.integers(0, MINUTE)), row % 2) for row in range(0, n, 3)]
    return events, labels


async def replayed(made: Lab, events: list[Event], labels: list[Event]) -> ReplayResult:
    await made.connection.execute("delete from driftline.stream_offset")
    name = made.model.name
    predictions, truths = (
        made.decode("predictions", events).predictions[name],
        made.decode("labels", labels).labels.get(name),
    )
    async with beside(made.connection) as evaluator:
        return await replay(
            made.connection, evaluator, made.pipeline, made.model, predictions, truths, categories_max=50
        )


async def rows_of(made: Lab) -> list[dict[str, Any]]:
    return [row | {"model": ""} for row in (*await made.drift(), *await made.performance())]


async def test_revisions_do_not_depend_on_the_clock_on_the_wall(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "ROWS_A_FETCH", 40)
    events, labels = stream(400)
    found = []
    for name, restate_after in (("at once", "0s"), ("never", "365d")):
        made = await lab(
            connection, {"windows": {"restate_after": restate_after, "slide": "20s", "pane": "5s"}}, name=name
        )
        await replayed(made, events, labels)
        found.append(await rows_of(made))

    assert found[0] == found[1]
    assert {row["revision"] for row in found[0]} >= {1, 2}


async def test_a_replay_finds_what_the_live_path_finds_in_other_pieces(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, labels = stream(300)
    live = await lab(connection, {"windows": {"out_of_orderness": "2m"}}, name="live")
    for start in range(0, 300, 70):
        await live.commit("predictions", *events[start : start + 70])
    await live.commit("labels", *labels)
    await live.close()
    monkeypatch.setattr(replaying, "ROWS_A_FETCH", 33)
    again = await lab(connection, name="again")
    shuffled = [events[row] for row in np.random.default_rng(6).permutation(len(events))]
    result = await replayed(again, shuffled, labels[::-1])

    assert [row | {"revision": 0} for row in await rows_of(again)] == [
        row | {"revision": 0} for row in await rows_of(live)
    ]
    assert (result.counts["prediction"], result.counts["label"], result.counts["pair"]) == (300, 100, 100)


async def test_repeats_and_new_features_are_told_alike_live_in_other_pieces_and_in_a_replay(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From minute 12 on every third prediction comes twice, and all carry `age`, which the reference does not know."""
    monkeypatch.setattr(replaying, "ROWS_A_FETCH", 777)
    usual, _ = stream(15 * 600, 100)
    first = 12 * 600
    odd = [event | {"features": event["features"] | {"age": 3}} for event in usual[first:]]
    events = usual[:first] + [again for row, event in enumerate(odd) for again in [event] * (1 + (row % 3 == 0))]
    found = []
    for is_live in (True, False):
        await connection.execute("drop schema driftline cascade")
        await migrate(connection)
        made = await lab(connection, {"traffic": {"history": "10m"}, "drift": {"detectors": []}})
        if is_live:
            for start in range(0, len(events), 1_300):
                await made.commit("predictions", *events[start : start + 1_300])
                await made.close(events[min(start + 1_299, len(events) - 1)]["timestamp"] - START_MS)
            await made.close()
        else:
            await replayed(made, events, [])
        found.append([row for row in await made.drift() if row["detector"].startswith("traffic.")])

    assert found[0] == found[1]
    alarms = {(row["detector"], row["feature"]) for row in found[0] if row["level"] == "drift"}
    assert alarms >= {("traffic.duplicates", "@traffic"), ("traffic.new_features", "age")}


async def test_data_of_decades_with_a_short_horizon_is_replayed_whole(connection: Connection) -> None:
    made = await lab(connection, {"labels": {"horizon": "1d"}})
    moments = [month * 30 * DAY for month in range(-90, 10)]
    events = [prediction(f"p{at}", at) for at in moments]
    result = await replayed(made, events, [label(f"p{at}", at + MINUTE, 1) for at in moments])

    assert result.dead == []
    assert (result.counts["prediction"], result.counts["pair"]) == (100, 100)
    found = await made.performance(metric="accuracy", basis="cohort")
    assert [(row["n_predictions"], row["n_labelled"]) for row in found] == [(1, 1)] * 100


async def test_times_that_stand_for_never_are_dead_letters_and_not_forgotten(connection: Connection) -> None:
    made = await lab(connection)
    never, zero = 253_402_300_799_999, -62_135_596_800_000
    events = [
        prediction("a", 0),
        *({**prediction(str(at), 0), "timestamp": at} for at in (never, never - 60_000, zero)),
    ]
    result = await replayed(made, events, [label("a", 1), {**label("b", 1), "timestamp": never}])

    assert sorted((letter.reason, letter.topic) for letter in result.dead) == [
        ("in_the_future", "replay.labels"),
        ("in_the_future", "replay.predictions"),
        ("in_the_future", "replay.predictions"),
        ("too_old", "replay.predictions"),
    ]
    assert (result.counts["prediction"], result.counts["pair"], result.windows) == (1, 1, 1)
