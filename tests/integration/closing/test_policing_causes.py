"""Does an episode name what moved and what broke, and nothing else, and say how much each part of it weighs?"""

import random
from collections.abc import Callable

import pytest

from driftline.store.connection import Connection
from tests.support.decisions import UNLABELLED, everything, labels_of, minute, told
from tests.support.pipelines import MINUTE, Event, lab, prediction

pytestmark = pytest.mark.postgres


async def test_one_of_a_hundred_features_is_found_and_the_others_say_nothing(connection: Connection) -> None:
    """Each feature is judged alone: an average over all of them would move by a hundredth of what this one does."""
    chance, names = random.Random(7), [f"f{number}" for number in range(100)]

    def events(number: int, n: int, moved: float = 0.0) -> list[Event]:
        values = ({name: round(chance.random(), 4) for name in names} for _ in range(n))
        return [
            prediction(f"{number}.{row}", number * MINUTE + row, row % 2, features=of | {"f42": of["f42"] + moved})
            for row, of in enumerate(values)
        ]

    features = [{"name": name, "type": "numeric"} for name in names]
    made = await lab(connection, UNLABELLED | {"features": features}, reference=events(0, 2000))
    for number in range(14):
        await made.commit("predictions", *events(number, 500, moved=0.5 if number >= 10 else 0.0))
    await made.close()

    assert await told(made) == [("drift.detected", 12), ("retraining.requested", 12)]
    [episode] = (await everything(made))["v_episodes"]
    assert [cause["feature"] for cause in episode["causes"]] == ["f42"]


@pytest.mark.parametrize(
    ("broken", "change"), [("unit", lambda x: x * 1000), ("missing", lambda x: None if x < 0.95 else x)]
)
async def test_a_broken_pipeline_is_named_and_comes_before_what_it_makes_drift(
    connection: Connection, broken: str, change: Callable[[float], float | None]
) -> None:
    """The score, made of `x`, drifts as clearly as `x` does, and another feature drifts, too, as the world does."""
    made = await lab(connection, UNLABELLED)
    for number in range(4):
        events = minute(number, shift=0.02)
        for row, event in enumerate(events):
            event["features"] = {"x": change(event["features"]["x"]), "c": "a" if row % 10 else "b"}
            event["score"] = 0.1 * event["score"]
        await made.commit("predictions", *events)
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "drift"]
    first, *others = episode["causes"]
    assert (first["feature"], first["break"]) == ("x", broken)
    assert {cause["feature"] for cause in others} == {"c", "@score"}
    assert {cause["feature"]: cause.get("break") for cause in others}["c"] is None
    [verdict] = await made.drift(window_end=2 * MINUTE, feature="c", detector="psi")
    told = next(cause["bins"] for cause in others if cause["feature"] == "c")
    shares = {of["bin"]: (of["reference_share"], of["current_share"]) for of in told}
    assert shares == {"a": (0.5, 0.9), "b": (0.5, 0.1), "missing": (0.0, 0.0)}
    assert sum(of["contribution"] for of in told) == pytest.approx(verdict["score"], abs=1e-3)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        *(("binary", metric) for metric in ("accuracy", "recall", "precision", "f1")),
        *(("multiclass", metric) for metric in ("accuracy", "recall.1")),
    ],
)
async def test_a_broken_floor_is_explained_by_segments_and_scores_and_the_parts_add_up(
    connection: Connection, task: str, metric: str
) -> None:
    """From minute 6 on, a third of those of plan b is answered wrongly, and `x` comes in another unit."""
    performance = {"metrics": [metric], "floor": {metric: 0.9}, "min_labelled": 100, "judge_after": "1m"}
    drift = {"detectors": ["psi"]}
    made = await lab(connection, {"task": task, "drift": drift, "performance": performance, "segments": ["plan"]})
    for number in range(9):
        events = minute(number)
        labels = labels_of(events, 0)
        for row, event in enumerate(events):
            event["segment"] = {"plan": "ab"[row // 2 % 2]}
            if number >= 6:
                event["features"]["x"] *= 1000
                labels[row]["label"] ^= row // 2 % 2 == 1 and row % 3 == 0
        await made.commit("predictions", *events)
        await made.commit("labels", *labels)
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "performance"]
    for cause in (of for of in episode["causes"] if of["segment"] == "*"):
        assert cause["baseline"] == 1.0
        assert cause["change"] == pytest.approx(cause["value"] - 1.0, abs=1e-12)
        by = {of["by"]: of for of in cause["because"]}
        assert set(by) == {"score", "plan"}
        assert all(of["inputs"] + of["relation"] == pytest.approx(cause["change"], abs=1e-12) for of in by.values())
        parts = {of["segment"]: of for of in by["plan"]["parts"]}
        assert sum(of["inputs"] + of["relation"] for of in parts.values()) == pytest.approx(cause["change"], abs=1e-12)
        # Those of plan a are answered as before, so all of it lies with plan b, and none with what comes.
        assert parts["plan=b"]["relation"] == pytest.approx(cause["change"], rel=0.2)
        assert parts["plan=a"]["relation"] == 0.0
        assert cause["breaks"] == ["x"]


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias"])
async def test_an_error_beyond_its_floor_is_explained_by_segments_and_the_parts_add_up(
    connection: Connection, metric: str
) -> None:
    """From minute 6 on, numbers for those of plan b are 0.3 too high, and have been 0.1 too high all along."""
    performance = {"metrics": [metric], "floor": {metric: 0.12}, "min_labelled": 100, "judge_after": "1m"}
    settings = {"task": "regression", "drift": {"detectors": ["psi"]}, "segments": ["plan"]}
    made = await lab(connection, settings | {"performance": performance})
    for number in range(9):
        events = minute(number)
        for row, event in enumerate(events):
            is_b = row // 2 % 2
            event |= {"segment": {"plan": "ab"[is_b]}, "prediction": row / 200 + is_b * (0.3 if number >= 6 else 0.1)}
        await made.commit("predictions", *events)
        await made.commit("labels", *(of | {"label": row / 200} for row, of in enumerate(labels_of(minute(number), 0))))
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "performance"]
    [cause] = [of for of in episode["causes"] if of["segment"] == "*" and of["basis"] == "arrival"]
    share = 0.5 if metric != "rmse" else 0.5**0.5
    assert cause["baseline"] == pytest.approx(0.1 * share, rel=1e-6)
    assert cause["change"] == pytest.approx(0.2 * share, rel=1e-6)
    [by_plan] = cause["because"]
    assert (by_plan["by"], by_plan["inputs"]) == ("plan", 0.0)
    assert by_plan["relation"] == pytest.approx(cause["change"], rel=1e-9)
    assert by_plan["parts"][0] == {"segment": "plan=b", "inputs": 0.0, "relation": by_plan["relation"]}
