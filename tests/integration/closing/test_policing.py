"""Do closed windows become the episodes, messages and requests that a careful reader of the log would make?"""

import itertools
import random

import pytest

from driftline.store.connection import Connection
from driftline.store.migrate import migrate
from tests.support.decisions import UNLABELLED, everything, labels_of, minute, told
from tests.support.pipelines import (
    MINUTE,
    START_MS,
    Event,
    Lab,
    lab,
    migrated,
    put_reference_in_force,
    reference_events,
)

pytestmark = pytest.mark.postgres


async def test_a_planted_drift_makes_one_episode_one_event_and_one_request_and_recovers(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | {"retraining": {"registry_uri": "models:/m/1", "data_version": "7"}})
    for number in range(12):
        await made.commit("predictions", *minute(number, shift=0.5 if 3 <= number < 8 else 0.0))
    await made.close()

    assert await told(made) == [("drift.detected", 5), ("retraining.requested", 5), ("drift.recovered", 10)]
    found = await everything(made)
    [episode], [request] = found["v_episodes"], found["v_retraining"]
    assert (episode["opened_at"] - START_MS, episode["closed_at"] - START_MS) == (5 * MINUTE, 10 * MINUTE)
    assert (episode["kind"], [cause["feature"] for cause in episode["causes"]]) == ("drift", ["x"])
    [verdict] = await made.drift(window_end=5 * MINUTE, feature="x", detector="psi")
    [cause] = episode["causes"]
    assert {name: cause[name] for name in ("detector", "score", "threshold", "n_current")} == {
        name: verdict[name] for name in ("detector", "score", "threshold", "n_current")
    }
    assert cause["p_value"] == round(verdict["p_value"], 12)
    assert (request["state"], request["episode_id"]) == ("requested", episode["episode_id"])
    assert request["lineage"]["recommended_window"] == {
        "from": "2024-01-01T00:03:00.000Z",
        "to": "2024-01-01T00:05:00.000Z",
    }
    assert request["lineage"].items() >= {"registry_uri": "models:/m/1", "data_version": "7"}.items()


async def test_what_was_spent_of_the_budget_is_told_beside_what_came_of_it(connection: Connection) -> None:
    """40 windows of two features, the prediction and the score; half of them drift. One window is not ready.

    PSI looks at each of the four; checks of quality look at four for missing values and for types, at two for values
    never seen, and at one for its range.
    """
    alarms = {"budget": 0.5, "per": "20m"}
    made = await lab(connection, UNLABELLED | {"alarms": alarms, "windows": {"min_events": 100, "lookback_max": "1m"}})
    for number in range(40):
        await made.commit("predictions", *minute(number, shift=0.5 * (number % 20 < 10), n=50 if number == 33 else 200))
        await made.close((number + 1) * MINUTE)

    found = await made.rows("select * from driftline.v_alarms order by period_start")

    assert [(row["looks"], row["episodes"], row["budget"]) for row in found] == [(300, 1, 0.5), (285, 1, 0.5)]
    # Four causes are allowed an eighth each in twenty windows, which would be more than one window in a hundred.
    significances = [row["p_value"] <= 0.01 for row in await made.drift(feature="x", detector="psi", level="drift")]
    assert len(significances) == 20
    assert all(0 < row["expected"] < 0.5 for row in found)
    assert found[1]["expected"] / found[0]["expected"] == pytest.approx(76 / 80, rel=1e-6)


async def test_a_new_reference_supersedes_open_episodes(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED)
    for number in range(4):
        await made.commit("predictions", *minute(number, shift=0.5))
    await made.close(4 * MINUTE)
    moved = [
        event | {"features": {**event["features"], "x": event["features"]["x"] + 0.5}} for event in reference_events()
    ]
    digest = await put_reference_in_force(made, moved)
    for number in range(4, 8):
        await made.commit("predictions", *minute(number, shift=0.5))
    await made.close()

    assert await told(made) == [("drift.detected", 2), ("retraining.requested", 2), ("drift.recovered", 5)]
    *_, last = (await everything(made))["v_events"]
    assert last["payload"]["data"]["closed_as"] == "superseded"
    [request] = (await everything(made))["v_retraining"]
    assert request["lineage"]["reference_digest"] != digest


async def test_settings_may_change_while_episodes_are_open(connection: Connection) -> None:
    """Floors may come, and go with all that was remembered for them."""
    floors = {
        "performance": {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 50, "judge_after": "1m"}
    }
    read: dict[tuple[str, int], int] = {}
    for settings, minutes in (({}, range(3)), (floors, range(3, 7)), (UNLABELLED, range(7, 9))):
        made = await lab(connection, {"drift": {"detectors": ["psi"]}} | settings)
        made.next = read
        for number in minutes:
            await made.commit("predictions", *minute(number))
            if made.model.settings.has_labels:
                await made.commit("labels", *labels_of(minute(number), 0, wrong=True))
        await made.close(minutes.stop * MINUTE, restate="not now")

    assert await told(made, "performance") == [("performance.degraded", 5), ("performance.recovered", 8)]


async def test_errors_that_only_adwin_watches_open_at_its_cut_and_not_when_they_become_fewer(
    connection: Connection,
) -> None:
    made = await lab(connection, {"performance": {"metrics": ["accuracy"]}, "retraining": {"cooldown": "0s"}})
    for number in range(16):
        events = minute(number, n=400)
        await made.commit("predictions", *events)
        await made.commit("labels", *labels_of(events, 0, wrong=6 <= number < 10))
    await made.close()

    cuts = [row["window_end"] / MINUTE for row in await made.drift(feature="@error.1", level="drift")]
    assert cuts[:2] == [7, 11]
    assert await told(made) == [("drift.detected", 7), ("retraining.requested", 7), ("drift.recovered", 9)]
    [episode] = (await everything(made))["v_episodes"]
    assert {cause["feature"] for cause in episode["causes"]} == {"@error.0", "@error.1"}
    changed = {cause["changed_at"] for cause in episode["causes"]}
    assert all("2024-01-01T00:05:30" < at < "2024-01-01T00:06:30" for at in changed)  # one of ADWIN's buckets


def story() -> tuple[list[Event], list[Event]]:
    """Two versions, one with a drift and a bad stretch, the other with neither; labels of many delays."""
    chance = random.Random(5)
    predictions: list[Event] = []
    labels: list[Event] = []
    for number, version in itertools.product(range(20), ("v1", "v2")):
        bad = version == "v1" and 5 <= number < 11
        events = [
            event | {"prediction_id": f"{version}-{event['prediction_id']}"}
            for event in minute(
                number, 0.4 if bad else 0.0, n=100, version=version, segment={"plan": chance.choice("ab")}
            )
        ]
        predictions += events
        for event in events:
            delay_ms = int(chance.expovariate(1 / (2 * MINUTE)))
            labels += labels_of([event], delay_ms, wrong=bad and chance.random() < 0.6)
    return tuple(sorted(of, key=lambda event: event["timestamp"]) for of in (predictions, labels))  # type: ignore[return-value]


async def test_decisions_do_not_depend_on_fetches_steps_or_which_topic_is_read_first(postgres_url: str) -> None:
    predictions, labels = story()
    settings = {
        "segments": ["plan"],
        "windows": {"length": "2m", "slide": "1m", "pane": "10s"},
        "performance": {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 60},
        "retraining": {"cooldown": "5m"},
    }
    found = []
    async with migrated(postgres_url) as connection:
        for fetch, labels_lead_ms, steps in ((300, 0, 1), (1000, 10 * MINUTE, 3), (10**6, 10**9, 100)):
            await connection.execute("drop schema driftline cascade")
            await migrate(connection)
            made = await lab(connection, settings)
            await feed(made, predictions, labels, fetch, labels_lead_ms, steps)
            found.append(await everything(made))
            found[-1]["order"] = [
                {"id": row["event_id"]} for row in await made.rows("select * from driftline.outbox order by sequence")
            ]
    assert found[0] == found[1] == found[2]
    assert {row["type"].removeprefix("driftline.") for row in found[0]["v_events"]} == {
        "drift.detected", "drift.recovered", "performance.degraded", "performance.recovered", "retraining.requested"
    }  # fmt: skip
    assert {row["version"] for row in found[0]["v_episodes"]} == {"v1"}


async def feed(
    made: Lab, predictions: list[Event], labels: list[Event], fetch: int, labels_lead_ms: int, steps: int
) -> None:
    """Commit both topics piece by piece, labels ahead by some event time, and close after every few pieces."""
    read = {"predictions": 0, "labels": 0}
    events = {"predictions": predictions, "labels": labels}
    lead_ms = {"predictions": 0, "labels": labels_lead_ms}
    for step in itertools.count(1):
        left = [topic for topic in read if read[topic] < len(events[topic])]
        if not left:
            break
        topic = min(left, key=lambda topic: events[topic][read[topic]]["timestamp"] - lead_ms[topic])
        await made.commit(topic, *events[topic][read[topic] : read[topic] + fetch])
        read[topic] += fetch
        if step % steps == 0 and all(0 < read[topic] < len(events[topic]) for topic in read):
            watermark_ms = min(events[topic][read[topic] - 1]["timestamp"] for topic in read)
            await made.close(watermark_ms - START_MS, restate="not now")
    await made.close(60 * MINUTE)
