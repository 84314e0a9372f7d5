"""Does every window hold what a brute-force look at the events puts there, whatever way they came?"""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import (
    DAY,
    MINUTE,
    SECOND,
    START_MS,
    Event,
    Row,
    lab,
    label,
    prediction,
    reference_events,
)
from tests.support.streams import labels_of, stream

pytestmark = pytest.mark.postgres


def groups_of(event: Event) -> list[tuple[str, str]]:
    return [(event["version"], "*"), (event["version"], f"c={event['features']['c']}")]


def windows_of(at_ms: int, length_ms: int, slide_ms: int) -> list[tuple[int, int]]:
    """Every window that holds a time, straight from the definition."""
    last = at_ms - at_ms % slide_ms
    starts = range(last - (length_ms - 1) // slide_ms * slide_ms, last + 1, slide_ms)
    return [(start, start + length_ms) for start in starts if start <= at_ms < start + length_ms]


SEGMENTS = ("*", "c=a", "c=b", "c=new")


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    k = len(reference)
    p, q = (reference + 0.5) / (reference.sum() + 0.5 * k), (current + 0.5) / (current.sum() + 0.5 * k)
    return float(((q - p) * np.log(q / p)).sum())


def expected_drift(events: list[Event], length_ms: int, slide_ms: int) -> dict[tuple[Any, ...], tuple[float, int]]:
    """By (version, segment, feature, window): PSI against the segment's rows of the reference, and size."""
    reference = [event["features"] for event in reference_events()]
    edges = np.unique(np.quantile([of["x"] for of in reference], np.linspace(0, 1, 11)[1:-1]))

    def counts(features: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        x = np.searchsorted(edges, [of["x"] for of in features], "left").astype(int)
        c = [[of["c"] for of in features].count(name) for name in ("a", "b", "missing", "new")]
        return np.bincount(x, minlength=12), np.array(c)

    known = {segment: counts([of for of in reference if segment in ("*", f"c={of['c']}")]) for segment in SEGMENTS}
    values: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for event in events:
        for window in windows_of(event["timestamp"] - START_MS, length_ms, slide_ms):
            for group in groups_of(event):
                values[(*group, *window)].append(event)
    found = {}
    for (version, segment, *window), inside in values.items():
        for feature, before, now in zip(
            "xc", known[segment], counts([event["features"] for event in inside]), strict=True
        ):
            score = psi(before, now) if before.any() else 0.0  # nothing to compare with
            found[version, segment, feature, *window] = score, len(inside)
    return found


def drift_found(rows: list[Row]) -> dict[tuple[Any, ...], tuple[float, int]]:
    return {
        (row["version"], row["segment"], row["feature"], row["window_start"], row["window_end"]): (
            pytest.approx(row["score"], abs=1e-12),
            row["n_current"],
        )
        for row in rows
        if row["detector"] == "psi" and row["feature"] in ("x", "c")
    }


def expected_accuracy(
    events: list[Event], labels: list[Event], length_ms: int, slide_ms: int
) -> dict[tuple[Any, ...], tuple[float | None, int, int]]:
    """By (version, segment, basis, window): accuracy, predictions, labels."""
    predictions: dict[tuple[Any, ...], int] = defaultdict(int)
    right: dict[tuple[Any, ...], list[bool]] = defaultdict(list)
    truths = {event["prediction_id"]: event for event in labels}
    for event in events:
        made_ms = event["timestamp"] - START_MS
        truth = truths.get(event["prediction_id"])
        for group in groups_of(event):
            for window in windows_of(made_ms, length_ms, slide_ms):
                predictions[(*group, *window)] += 1
            if truth is not None:
                arrived_ms = max(made_ms, truth["timestamp"] - START_MS)
                for basis, at_ms in (("cohort", made_ms), ("arrival", arrived_ms)):
                    for window in windows_of(at_ms, length_ms, slide_ms):
                        right[(*group, basis, *window)].append(truth["label"] == event["prediction"])
    keys = {*right, *((version, segment, "cohort", *window) for version, segment, *window in predictions)}
    return {
        key: (
            float(np.mean(right[key])) if right[key] else None,
            predictions[key[0], key[1], *key[3:]],
            len(right[key]),
        )
        for key in keys
    }


def accuracy_found(rows: list[Row]) -> dict[tuple[Any, ...], tuple[Any, int, int]]:
    return {
        (row["version"], row["segment"], row["basis"], row["window_start"], row["window_end"]): (
            row["value"] if row["value"] is None else pytest.approx(row["value"], abs=1e-12),
            row["n_predictions"],
            row["n_labelled"],
        )
        for row in rows
        if row["metric"] == "accuracy"
    }


@pytest.mark.parametrize(
    ("length", "slide"), [("1m", "1m"), ("1m", "20s"), ("50s", "20s")], ids=["tumbling", "hopping", "hopping unevenly"]
)
async def test_windows_hold_what_a_loop_over_the_events_puts_there(
    connection: Connection, length: str, slide: str
) -> None:
    made = await lab(connection, {"segments": ["c"], "windows": {"length": length, "slide": slide, "pane": "10s"}})
    # A pause of 10 minutes in the middle; labels up to 3 minutes late.
    events = stream(1, 150, 5 * MINUTE)
    events += [event | {"timestamp": event["timestamp"] + 15 * MINUTE} for event in stream(2, 150, 5 * MINUTE)]
    labels = labels_of(events, 3, 3 * MINUTE)
    for topic, log in (("predictions", events), ("labels", labels)):
        for start in range(0, len(log), 100):
            await made.commit(topic, *log[start : start + 100])
            await made.close(min(event["timestamp"] for event in events) - START_MS)
    n_windows = await made.close()

    length_ms, slide_ms = (
        int(text.removesuffix("m").removesuffix("s")) * (MINUTE if "m" in text else SECOND) for text in (length, slide)
    )
    expected = expected_drift(events, length_ms, slide_ms)
    assert drift_found(await made.drift()) == expected
    metrics = expected_accuracy(events, labels, length_ms, slide_ms)
    assert accuracy_found(await made.performance()) == metrics
    assert n_windows == len({key[3:] for key in expected} | {key[3:] for key in metrics if key[2] == "arrival"})


async def test_what_happens_on_an_edge_lies_in_the_later_window(connection: Connection) -> None:
    made = await lab(connection, {"segments": ["c"], "windows": {"length": "1m", "slide": "20s", "pane": "10s"}})
    near = [edge + by for edge in range(0, 3 * MINUTE, 10 * SECOND) for by in (-1, 0, 1)]
    events = [prediction(f"e{at}", at, at % 2, features={"x": 0.5, "c": "a"}) for at in near]
    # Labels of a prediction come with it, or on and beside a later edge.
    labels = [
        label(f"e{at}", at + late, 1) for at, late in zip(near, [0, 10 * SECOND, 59_999, MINUTE] * 14, strict=False)
    ]
    await made.commit("labels", *labels[::2])
    await made.commit("predictions", *events)
    await made.commit("labels", *labels[1::2])
    await made.close()

    expected = expected_drift(events, MINUTE, 20 * SECOND)
    assert drift_found(await made.drift()) == expected
    assert accuracy_found(await made.performance()) == expected_accuracy(events, labels, MINUTE, 20 * SECOND)


async def test_events_of_one_moment_count_all_in_whatever_fetches_they_come(connection: Connection) -> None:
    made = await lab(connection)
    for fetch in range(6):
        events = [prediction(f"{fetch}.{n}", SECOND) for n in range(3)]
        await made.commit("all", *events, label(f"{fetch}.0", SECOND), partition=fetch % 2)
    await made.close()

    assert await made.count("prediction") == 18
    assert {row["n_current"] for row in await made.drift(detector="psi")} == {18}
    for basis in ("cohort", "arrival"):
        [row] = await made.performance(metric="accuracy", basis=basis)
        assert (row["n_predictions"], row["n_labelled"]) == (18, 6)


async def test_a_feature_that_hardly_comes_takes_no_row_from_the_others(connection: Connection) -> None:
    kinds = {"x": "numeric", "c": "categorical", "y": "numeric", "z": "numeric"}
    made = await lab(
        connection,
        {"features": [{"name": name, "type": kind} for name, kind in kinds.items()]},
        reference=[event | {"features": event["features"] | {"y": 1.0, "z": 2.0}} for event in reference_events()],
    )
    events = []
    for event in reference_events():
        row = event["timestamp"] - START_MS
        # Of 200 rows y has a number in one, nothing in half of the others and NaN in the rest; z is never there.
        rare = {"y": 1.0} if row == 0 else {"y": float("nan")} if row % 2 else {}
        events.append(event | {"features": event["features"] | rare})
    await made.commit("all", *events, *(label(event["prediction_id"], 0, event["prediction"]) for event in events))
    await made.close()

    found = {row["feature"]: row for row in await made.drift(detector="psi")}
    assert {name: (row["n_current"], row["level"]) for name, row in found.items()} == {
        "x": (200, "ok"), "c": (200, "ok"), "@prediction": (200, "ok"), "@score": (200, "ok"),
        "y": (200, "drift"), "z": (200, "drift"),
    }  # fmt: skip
    assert {found[name]["score"] for name in ("x", "c", "@prediction", "@score")} == {0.0}
    [accuracy] = await made.performance(metric="accuracy", basis="cohort")
    assert (accuracy["n_predictions"], accuracy["n_labelled"], accuracy["value"]) == (200, 200, 1.0)


async def test_pauses_cost_nothing_though_they_be_decades(connection: Connection) -> None:
    made = await lab(connection, {"labels": {}})
    moments = (-START_MS, -START_MS + 400 * DAY, 0, 30 * DAY)
    await made.commit("all", *(prediction(str(at), at) for at in moments), *(label(str(at), at) for at in moments))
    execute, statements = connection.execute, 0

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal statements
        statements += 1
        return await execute(*arguments, **options)

    connection.execute = counting
    assert await made.close(10 * 365 * DAY) == 4
    assert statements < 150
    found = await made.drift(detector="psi", feature="x")
    assert [row["window_start"] for row in found] == [at - at % MINUTE for at in moments]
    statements = 0
    assert await made.close(20 * 365 * DAY) == 0
    assert statements < 30


def judged_by_hand(counts: list[int], length: int, min_events: int, lookback: int) -> list[tuple[int, int, int, bool]]:
    """Per closed window with events, in slides: (start, end, events, whether it is judged)."""
    found, through = [], -(10**9)
    for end in range(1, len(counts) + length):
        window = range(max(0, end - length), min(end, len(counts)))
        own = sum(counts[slide] for slide in window)
        if not own:
            continue
        start, n = end - length, own
        if n < min_events and start >= max(through, end - lookback):
            while n < min_events and start - 1 >= max(through, end - lookback):
                start -= 1
                n += counts[start] if 0 <= start < len(counts) else 0
        if n >= min_events:
            found.append((start, end, n, True))
            through = end
        else:
            found.append((end - length, end, own, False))
    return found


@pytest.mark.parametrize("length", [1, 3])
async def test_windows_with_few_events_reach_back_and_judge_no_event_twice(connection: Connection, length: int) -> None:
    chance = np.random.default_rng(length)
    counts = chance.choice([0, 0, 1, 2, 3, 5, 9, 14], 60).tolist()
    windows = {"length": f"{length}m", "slide": "1m", "min_events": 10, "lookback_max": "8m"}
    made = await lab(connection, {"windows": windows, "labels": None})
    events = [
        prediction(f"{slide}.{n}", slide * MINUTE + n * SECOND)
        for slide, count in enumerate(counts)
        for n in range(count)
    ]
    for start in range(0, len(events), 50):
        await made.commit("predictions", *events[start : start + 50])
        await made.close(events[min(start + 49, len(events) - 1)]["timestamp"] - START_MS - 5 * SECOND)
    await made.close()

    found = [
        (row["window_start"] // MINUTE, row["window_end"] // MINUTE, row["n_current"], row["level"] != "not_ready")
        for row in await made.drift(detector="psi", feature="x")
    ]
    assert found == judged_by_hand(counts, length, 10, 8)
    assert {row["reason"] for row in await made.drift(level="not_ready", detector="psi")} == {"few_events"}


async def test_a_late_event_is_counted_wherever_a_window_reached_back_over_it(connection: Connection) -> None:
    made = await lab(connection, {"windows": {"min_events": 10, "lookback_max": "5m"}, "labels": None})
    await made.commit(
        "predictions", *(prediction(f"{minute}.{n}", minute * MINUTE + n) for minute in range(4) for n in range(3))
    )
    await made.close(4 * MINUTE)
    # Three windows are too small; the fourth reaches back over all of them.
    assert [(row["window_start"], row["n_current"]) for row in await made.drift(detector="psi", feature="x")] == [
        (0, 3), (MINUTE, 3), (2 * MINUTE, 3), (0, 12),
    ]  # fmt: skip
    await made.commit("predictions", prediction("late", MINUTE + 30 * SECOND))
    await made.close(4 * MINUTE)

    found = await made.drift(detector="psi", feature="x")
    assert [(row["window_start"], row["n_current"], row["revision"]) for row in found] == [
        (0, 3, 1), (MINUTE, 4, 2), (2 * MINUTE, 3, 1), (0, 13, 2),
    ]  # fmt: skip
