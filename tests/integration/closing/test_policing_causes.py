"""Does an episode name what moved and what broke, and nothing else, and say how much each part of it weighs?"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from driftline.store.connection import Connection
from retraining.words import cause_in_words
from streams.deciding.explaining import NOT_IN_REFERENCE
from tests.support.decisions import UNLABELLED, everything, labels_of, minute, told
from tests.support.pipelines import MINUTE, Event, lab, prediction, put_reference_in_force

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
    ("feature", "broken", "change"),
    [
        ("x", "unit", lambda x: x * 1000),
        ("x", "missing", lambda x: None if x < 0.95 else x),
        ("c", "unseen", lambda c: "B" if c == "b" else c),
    ],
)
async def test_a_broken_pipeline_is_named_and_comes_before_what_it_makes_drift(
    connection: Connection, feature: str, broken: str, change: Callable[[Any], Any]
) -> None:
    """The score, made of it, drifts as clearly as it does, and another feature drifts, too, as the world does."""
    made, other = await lab(connection, UNLABELLED), "c" if feature == "x" else "x"
    for number in range(4):
        events = minute(number, shift=0.02 if feature == "x" else 0.3)
        for row, event in enumerate(events):
            world = event["features"] | ({"c": "a" if row % 10 else "b"} if other == "c" else {})
            event["features"] = world | {feature: change(world[feature])}
            event["score"] = 0.1 * event["score"]
        await made.commit("predictions", *events)
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "drift"]
    first, *others = episode["causes"]
    assert (first["feature"], first["break"]) == (feature, broken)
    assert {cause["feature"] for cause in others} == {other, "@score"}
    assert {cause["feature"]: cause.get("break") for cause in others}[other] is None
    [verdict] = await made.drift(window_end=2 * MINUTE, feature=other, detector="psi")
    told = next(cause["bins"] for cause in others if cause["feature"] == other)
    shares = {of["bin"]: (of["reference_share"], of["current_share"]) for of in told}
    if other == "c":
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


@pytest.mark.parametrize("cause", ["inputs", "relation", "pipeline"])
async def test_of_twenty_features_the_one_that_costs_accuracy_is_named_and_told_from_other_answers(
    connection: Connection, cause: str
) -> None:
    """Where `f7` is above 0.8, four answers in ten are wrong; else one in twenty. The score knows nothing of it.

    From minute 9 on, `f7` is above 0.8 three times as often; or each answer is wrong more often, whatever the inputs;
    or every `f7` is missing, as was one in twenty before, of which half were wrong.
    """
    chance, names = random.Random(17), [f"f{number}" for number in range(20)]

    def events(number: int, n: int, changed: bool = False) -> tuple[list[Event], list[Event]]:
        made, labels = [], []
        for row in range(n):
            values: dict[str, float | None] = {name: round(chance.random(), 4) for name in names}
            if changed and cause == "inputs" and chance.random() < 0.5:
                values["f7"] = round(chance.uniform(0.8, 1.0), 4)
            if chance.random() < (1.0 if changed and cause == "pipeline" else 0.05):
                values["f7"] = None
            wrong = 0.5 if values["f7"] is None else 0.4 if values["f7"] > 0.8 else 0.05
            if changed and cause == "relation":
                wrong += 0.25
            at_ms, predicted = number * MINUTE + row * (MINUTE // n), row % 2
            made.append(prediction(f"{number}.{row}", at_ms, predicted, features=values, score=chance.random()))
            labels.append(made[-1] | {"label": predicted ^ (chance.random() < wrong)})
        return made, labels

    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.8}, "min_labelled": 100, "judge_after": "1m"}
    settings = {"drift": {"detectors": ["psi"]}, "features": [{"name": name, "type": "numeric"} for name in names]}
    made = await lab(connection, settings | {"performance": performance}, reference=events(0, 100)[0])
    reference, truth = events(0, 10_000)
    await put_reference_in_force(made, reference, truth=[str(int(of["label"])) for of in truth])
    for number in range(12):
        predictions, labels = events(number, 500, changed=number >= 9)
        await made.commit("predictions", *predictions)
        told = [
            labels_of([of], 0)[0] | {"label": int(label["label"])}
            for of, label in zip(predictions, labels, strict=True)
        ]
        await made.commit("labels", *told)
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "performance"]
    for broken in (of for of in episode["causes"] if of["segment"] == "*"):
        found = {of["by"]: of for of in broken["because"]}["features"]
        parts = {of["feature"]: of["inputs"] for of in found["parts"]}
        assert found["inputs"] + found["broken"] + found["relation"] == pytest.approx(broken["change"], abs=1e-12)
        assert len(parts) == 5
        words = cause_in_words(broken)
        if cause == "relation":
            assert found["relation"] == pytest.approx(broken["change"], rel=0.15)
            assert max(map(abs, parts.values())) < 0.02
            continue
        assert next(iter(parts)) == "f7"
        assert abs(found["relation"]) < 0.25 * abs(broken["change"])
        assert "f7 -0." in words
        # A cohort that is judged when the log has ended is of no slide whose features are known to be broken.
        assert broken.get("breaks", []) in ([], ["f7"] if cause == "pipeline" else [])
        assert found["broken" if "breaks" in broken else "inputs"] == pytest.approx(broken["change"], rel=0.3)
    assert any("breaks" in of for of in episode["causes"]) == (cause == "pipeline")


async def test_a_reference_without_labels_says_that_features_are_not_known(connection: Connection) -> None:
    performance = {"metrics": ["accuracy"], "floor": {"accuracy": 0.9}, "min_labelled": 100, "judge_after": "1m"}
    made = await lab(connection, {"drift": {"detectors": ["psi"]}, "performance": performance})
    for number in range(6):
        await made.commit("predictions", *minute(number))
        await made.commit("labels", *labels_of(minute(number), 0, wrong=number >= 4))
    await made.close()

    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "performance"]
    assert {of["features_unknown"] for of in episode["causes"]} == {NOT_IN_REFERENCE}
    assert {of["by"] for cause in episode["causes"] for of in cause["because"]} == {"score"}
