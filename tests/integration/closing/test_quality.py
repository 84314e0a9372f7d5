"""Is a fault of the data told as what it is: by its name, in the first windows after it, and as nothing else?"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from driftline.store.connection import Connection
from retraining.words import cause_in_words
from tests.support.decisions import UNLABELLED, everything, told
from tests.support.pipelines import MINUTE, Event, lab, prediction

pytestmark = pytest.mark.postgres

ADWIN_ONLY = UNLABELLED | {"drift": {"detectors": ["adwin"]}}


def events(number: int, n: int = 400, fault: Callable[[Event], Any] | None = None) -> list[Event]:
    """A minute of predictions, of which a third has the fault; one in fifty has no `x` all along."""
    chance = random.Random(number)
    made = []
    for row in range(n):
        values: Event = {
            "x": None if chance.random() < 0.02 else chance.random(),
            "y": chance.gauss(0, 1),
            "c": chance.choice("ab"),
        }
        if fault is not None and row % 3 == 0:
            fault(values)
        at_ms = number * MINUTE + row * (MINUTE // n)
        made.append(prediction(f"q{number}.{row}", at_ms, row % 2, features=values, score=chance.random()))
    return made


FEATURES = {
    "features": [
        {"name": "x", "type": "numeric"},
        {"name": "y", "type": "numeric"},
        {"name": "c", "type": "categorical"},
    ]
}
FAULTS: dict[str, tuple[str, Callable[[Event], Any], str]] = {
    "missing": ("x", lambda of: of.update(x=None), "missing, reference 1.7%"),
    "vanished": ("x", lambda of: of.pop("x"), "missing, reference 1.7%"),
    "unseen": ("c", lambda of: of.update(c="brand new"), "never seen before, reference 0.0%"),
    "range": ("y", lambda of: of.update(y=of["y"] + 20), "outside of the range, reference 0.0%"),
    "type": ("y", lambda of: of.update(y="1,5"), "of a wrong type, reference 0.0%"),
    "type of a category": ("c", lambda of: of.update(c=["a"]), "of a wrong type, reference 0.0%"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_named_in_the_first_windows_after_it_and_nothing_else_is(
    connection: Connection, fault: str
) -> None:
    feature, change, words = FAULTS[fault]
    check = {"vanished": "missing", "type of a category": "type"}.get(fault, fault)
    made = await lab(connection, ADWIN_ONLY | FEATURES, reference=events(99, 1_000))
    for number in range(10):
        await made.commit("predictions", *events(number, fault=change if 4 <= number < 7 else None))
    await made.close()

    verdicts = await made.drift(level="drift")
    of_quality = [row for row in verdicts if row["detector"].startswith("quality.")]
    assert {(row["feature"], row["detector"]) for row in of_quality} == {(feature, f"quality.{check}")}
    assert [row["window_end"] / MINUTE for row in of_quality] == [5, 6, 7]
    assert all(row["score"] >= row["threshold"] and row["p_value"] < 1e-5 for row in of_quality)
    assert await told(made, "quality") == [("quality.detected", 6), ("quality.recovered", 9)]
    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "quality"]
    [cause] = episode["causes"]
    assert words in cause_in_words(cause)
    assert cause["current_share"] == pytest.approx(1 / 3, abs=0.03)


async def test_a_feature_that_no_event_carries_any_more_is_told_as_vanished(connection: Connection) -> None:
    made = await lab(connection, ADWIN_ONLY | FEATURES, reference=events(99, 1_000))
    for number in range(6):
        sent = events(number)
        for event in sent if number >= 3 else ():
            del event["features"]["x"]
        await made.commit("predictions", *sent)
    await made.close()

    assert await told(made, "quality") == [("quality.detected", 5)]
    [episode] = [of for of in (await everything(made))["v_episodes"] if of["kind"] == "quality"]
    [cause] = episode["causes"]
    assert cause_in_words(cause) == "x: vanished, 100.0% missing, reference 1.7%"


async def test_where_no_event_carries_any_feature_the_reason_is_that_there_are_no_values(
    connection: Connection,
) -> None:
    made = await lab(connection, UNLABELLED | FEATURES, reference=events(99, 1_000))
    await made.commit("predictions", *(event | {"features": None} for event in events(0)))
    await made.close()

    rows = [row for row in await made.drift(detector="psi") if row["feature"][0] != "@"]
    assert {row["feature"] for row in rows} == {"x", "y", "c"}
    assert {(row["level"], row["reason"]) for row in rows} == {("not_ready", "no_values")}


async def test_data_that_are_as_ever_are_told_of_by_nobody(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | FEATURES | {"segments": ["c"]}, reference=events(99, 1_000))
    for number in range(20):
        await made.commit("predictions", *events(number))
    await made.close()

    assert [row for row in await made.drift(level="drift") if row["detector"].startswith("quality.")] == []
    assert await told(made) == []
    rows = [row for row in await made.drift(segment="*") if row["detector"].startswith("quality.")]
    # What had nothing odd says nothing; `x` is missing now and then, and both now and then beyond the reference.
    assert {(row["feature"], row["detector"].removeprefix("quality.")) for row in rows} == {
        ("x", "missing"), ("x", "range"), ("y", "range"),
    }  # fmt: skip


async def test_nothing_asks_for_a_retraining_while_data_are_broken(connection: Connection) -> None:
    """From minute 4 to 7 every third `x` is missing, and `y` has moved for good: only when `x` is back it is asked."""

    def moved(of: Event) -> None:
        of["y"] += 2.0

    def broken(of: Event) -> None:
        moved(of)
        of["x"] = None

    made = await lab(connection, UNLABELLED | FEATURES, reference=events(99, 1_000))
    for number in range(12):
        await made.commit("predictions", *events(number, fault=None if number < 4 else broken if number < 8 else moved))
    await made.close()

    assert await told(made) == [
        ("quality.detected", 6),
        ("drift.detected", 6),
        ("quality.recovered", 10),
        ("retraining.requested", 10),
    ]
    [request] = (await everything(made))["v_retraining"]
    assert "y" in request["lineage"]["features"]


async def test_a_new_category_that_a_window_detector_calls_drift_is_told_once(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | FEATURES, reference=events(99, 1_000))
    for number in range(6):
        change = (lambda of: of.update(c="brand new")) if number >= 2 else None
        await made.commit("predictions", *events(number, fault=change))
    await made.close()

    assert await told(made) == [("drift.detected", 4), ("retraining.requested", 4)]
    assert {row["detector"] for row in await made.drift(level="drift", feature="c")} == {"psi", "quality.unseen"}


async def test_checks_that_are_not_asked_for_are_not_made(connection: Connection) -> None:
    made = await lab(connection, UNLABELLED | FEATURES | {"quality": {"checks": ["type"]}}, reference=events(99, 1_000))
    for number in range(3):
        await made.commit("predictions", *events(number, fault=lambda of: of.update(x=None, y="1,5")))
    await made.close()

    assert {row["detector"] for row in await made.drift()} == {"psi", "quality.type"}
