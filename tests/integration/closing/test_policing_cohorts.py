"""Is each cohort held to its floors once, in order, when it is due, and by the labels that came until then?"""

import random

import pytest

from driftline.store.connection import Connection
from streams.closing.measure import Measures
from streams.closing.results import MeasuredGroup
from streams.replay import END_OF_TIME_MS
from tests.support.decisions import everything, labels_of, minute, told
from tests.support.pipelines import MINUTE, SECOND, START_MS, lab

pytestmark = pytest.mark.postgres


async def test_a_broken_floor_makes_an_episode_of_its_own_by_arrival_and_by_cohort(connection: Connection) -> None:
    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 100, "judge_after": "2m"}
    made = await lab(connection, {"drift": {"detectors": ["psi"]}, "performance": performance})
    for number in range(14):
        events = minute(number)
        await made.commit("predictions", *events)
        await made.commit("labels", *labels_of(events, 90 * SECOND, wrong=4 <= number < 8))
    await made.close()

    # Half of the labels of minute 4 arrive in minute 5: .5 of those are wrong; the cohort of minute 4 is due at 7.
    assert await told(made) == [("performance.degraded", 7), ("retraining.requested", 7), ("performance.recovered", 12)]
    [episode] = (await everything(made))["v_episodes"]
    assert (episode["kind"], episode["severity"]) == ("performance", "critical")
    causes = {cause["basis"]: cause for cause in episode["causes"]}
    assert (causes["cohort"]["value"], causes["cohort"]["n_labelled"], causes["cohort"]["floor"]) == (0.0, 200, 0.8)
    assert causes["arrival"]["value"] == 0.0


async def test_a_cohort_is_judged_by_the_labels_that_arrived_in_time_whatever_is_in_the_store(
    connection: Connection,
) -> None:
    """Labels that arrive later in event time are read first; they would mend what is judged without them."""
    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 50, "judge_after": "1m"}
    made = await lab(connection, {"drift": {"detectors": ["psi"]}, "performance": performance})
    early, late = [], []
    for number in range(6):
        events = minute(number)
        early += labels_of(events[:80], MINUTE, wrong=True)
        late += labels_of(events[80:], 20 * MINUTE)
    await made.commit("labels", *early, *late)
    for number in range(6):
        await made.commit("predictions", *minute(number))
    await made.close(6 * MINUTE)

    assert await told(made, "performance") == [("performance.degraded", 3)]
    metrics = await made.performance(basis="cohort", window_end=MINUTE)
    assert metrics[0]["value"] == 0.6  # the view shows all labels that are here


async def test_auto_waits_for_nine_in_ten_labels_and_for_the_horizon_until_that_is_known(
    connection: Connection,
) -> None:
    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 100}
    settings = {"drift": {"detectors": ["psi"]}, "labels": {"horizon": "1d"}, "performance": performance}
    known = await lab(connection, settings, name="known")
    unknown = await lab(connection, settings, name="unknown")
    for number in range(20):
        events = minute(number)
        await known.commit("predictions", *events)
        await known.commit("labels", *labels_of(events, 5 * MINUTE, wrong=number >= 10))
        await unknown.commit("predictions", *events)
    await unknown.commit("labels", *labels_of(minute(0) + minute(1), 19 * MINUTE, wrong=True))
    await known.close(18 * MINUTE)
    await unknown.close(40 * MINUTE)

    # Minute 10 arrives in minute 15 and is mature at 16 (nine in ten labels are in 54 s after 15), minute 11 at 17.
    assert await told(known, "degraded") == [("performance.degraded", 17)]
    [episode] = (await everything(known))["v_episodes"]
    assert {(cause["basis"], cause["window_end"][14:16]) for cause in episode["causes"]} == {
        ("arrival", "17"), ("cohort", "12")
    }  # fmt: skip
    # 19 minutes are believed after twice as long, and twice a grain; what arrives until then may be fast labels only.
    assert await told(unknown, "degraded") == []
    await unknown.commit("predictions", *minute(44))
    await unknown.close(45 * MINUTE)
    assert await told(unknown, "degraded") == [("performance.degraded", 45)]


@pytest.mark.parametrize("slide", ["2m", "1m"])
async def test_every_cohort_window_is_judged_once_in_order(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, slide: str
) -> None:
    judged: list[tuple[float, float]] = []
    closed_cohort = Measures.closed_cohort

    async def noted(self: Measures, window: tuple[int, int], as_of_ms: int) -> list[MeasuredGroup]:
        judged.append(tuple((ms - START_MS) / MINUTE for ms in window))  # type: ignore[arg-type]
        return await closed_cohort(self, window, as_of_ms)

    monkeypatch.setattr(Measures, "closed_cohort", noted)
    made = await lab(
        connection,
        {
            "drift": {"detectors": ["psi"]},
            "windows": {"length": "2m", "slide": slide},
            "performance": {"metrics": ["accuracy"], "floor": {"accuracy": 0.1}, "min_labelled": 10},
        },
    )
    chance = random.Random(3)
    for number in (*range(8), *range(90, 95)):  # a pause between
        events = minute(number, n=30)
        await made.commit("predictions", *events)
        labels = [of for event in events for of in labels_of([event], int(chance.expovariate(1 / (4 * MINUTE))))]
        await made.commit("labels", *sorted(labels, key=lambda event: event["timestamp"]))
    await made.close(50 * MINUTE)
    assert judged
    await made.commit("predictions", *minute(1000))  # when the labels of all before are in
    await made.close(1002 * MINUTE)

    ends = range(2 if slide == "2m" else 1, 100, 2 if slide == "2m" else 1)
    ends_holding = [end for end in ends if end - 2 < 8 or 90 < end < 95 + 2]
    assert judged == [(end - 2, end) for end in ends_holding]


async def test_at_the_end_of_a_log_nobody_is_judged_by_labels_that_may_be_on_their_way(connection: Connection) -> None:
    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 120, "judge_after": "2h"}
    made = await lab(connection, {"drift": {"detectors": ["psi"]}, "performance": performance})
    for number in range(5):
        events = minute(number)
        await made.commit("predictions", *events)
        # A hundred labels a minute by arrival, too few; two hundred a cohort.
        halves = labels_of(events[::2], 10 * MINUTE, wrong=True) + labels_of(events[1::2], 40 * MINUTE, wrong=True)
        await made.commit("labels", *sorted(halves, key=lambda event: event["timestamp"]))
    await made.close(60 * MINUTE)
    assert await told(made) == []

    await made.close(END_OF_TIME_MS - START_MS)
    assert await told(made) == []
    [first, *_] = await made.performance(basis="cohort", metric="accuracy")
    assert (first["value"], first["n_labelled"]) == (0.0, 200)  # what is here can be seen
