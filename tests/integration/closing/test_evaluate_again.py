"""Does what was judged change exactly where later events, labels or another reference change it?"""

from typing import Any

import pytest

from driftline.store.connection import Connection, timestamp
from tests.support.pipelines import (
    HOUR,
    MINUTE,
    SECOND,
    START_MS,
    Row,
    lab,
    label,
    prediction,
    put_reference_in_force,
    reference_events,
)
from tests.support.streams import labels_of, stream

pytestmark = pytest.mark.postgres


async def test_revisions_rise_only_where_something_changed(connection: Connection) -> None:
    made = await lab(connection, {"segments": ["c"], "windows": {"restate_after": "1h"}})
    events = stream(4, 300, 3 * MINUTE)
    await made.commit("predictions", *events)
    await made.commit("labels", *labels_of(events, 5, 10 * SECOND))
    await made.close(3 * MINUTE + 10 * SECOND)
    before = await made.drift(), await made.performance()
    for _ in range(3):
        await made.close(3 * MINUTE + 10 * SECOND)
    assert (await made.drift(), await made.performance()) == before

    # Not before its time, unless told to.
    late = prediction("late", 70 * SECOND, 0, score=0.5, features={"x": 0.1, "c": "b"})
    await made.commit("predictions", late)
    await made.close(3 * MINUTE + 20 * SECOND, restate="when due")
    assert await made.drift() == before[0]
    await made.close(3 * MINUTE + 20 * SECOND)

    def changed(old: list[Row], new: list[Row], *names: str) -> set[tuple[Any, ...]]:
        assert len(old) == len(new)
        pairs = [(one, two) for one, two in zip(old, new, strict=True) if one != two]
        assert all(two["revision"] == one["revision"] + 1 for one, two in pairs)
        return {tuple(two[name] for name in names) for _, two in pairs}

    names = ("detector", "version", "window_start", "segment")
    assert changed(before[0], await made.drift(), *names) == {
        ("psi", "v1", MINUTE, "*"), ("psi", "v1", MINUTE, "c=b"),
        # Of more events as many are odd as before.
        ("quality.range", "v1", MINUTE, "*"), ("quality.range", "v1", MINUTE, "c=b"),
        ("quality.unseen", "v1", MINUTE, "*"),
    }  # fmt: skip
    assert changed(before[1], await made.performance(), "basis", "version", "window_start", "segment") == {
        (basis, "v1", MINUTE, segment) for basis in ("cohort", "arrival") for segment in ("*", "c=b")
    }


async def test_cohorts_mature_while_their_labels_arrive(connection: Connection) -> None:
    made = await lab(connection, {"windows": {"restate_after": "0s"}})
    await made.commit("predictions", *(prediction(str(n), n * SECOND) for n in range(4)), prediction("x", HOUR))
    coverage = []
    for n in range(4):
        await made.commit("labels", label(str(n), (10 + n) * MINUTE))
        await made.close((10 + n) * MINUTE)
        [row] = await made.performance(metric="accuracy", basis="cohort", window_end=MINUTE)
        coverage.append((row["n_labelled"], row["coverage"], row["revision"]))

    assert coverage == [(1, 0.25, 1), (2, 0.5, 2), (3, 0.75, 3), (4, 1.0, 4)]


async def test_another_reference_starts_sequential_detectors_anew_and_keeps_metrics(connection: Connection) -> None:
    made = await lab(connection, {"labels": {}})
    first = [prediction(f"a{n}", n * SECOND, features={"x": 0.2, "c": "a"}) for n in range(120)]
    await made.commit("predictions", *first)
    await made.commit("labels", *(label(f"a{n}", n * SECOND, n % 2) for n in range(50)))
    await made.close(2 * MINUTE)
    [before] = await made.performance(metric="accuracy", basis="cohort", window_end=MINUTE)
    assert (before["n_predictions"], before["n_labelled"], before["value"]) == (60, 50, 0.5)
    [last] = await made.drift(feature="x", detector="adwin", window_end=2 * MINUTE)
    assert last["n_reference"] + last["n_current"] > 60

    other = [event | {"features": {"x": 5 + n / 100, "c": "b"}} for n, event in enumerate(reference_events())]
    await put_reference_in_force(made, other)
    await made.commit(
        "predictions", *(prediction(f"b{n}", 2 * MINUTE + n * SECOND, features={"x": 5.2, "c": "a"}) for n in range(60))
    )
    # Labels for the time before, and one for the time after.
    await made.commit("labels", label("a55", 2 * MINUTE, 1), label("a61", 2 * MINUTE + 1, 1))
    await made.commit("labels", label("b1", 2 * MINUTE + 2 * SECOND, 1))
    await made.close(3 * MINUTE)

    [anew] = await made.drift(feature="x", detector="adwin", window_end=3 * MINUTE)
    assert anew["n_reference"] + anew["n_current"] <= 60
    assert anew["level"] != "drift"
    [judged] = await made.drift(feature="x", detector="psi", window_end=3 * MINUTE)
    assert judged["n_current"] == 60
    found = await made.performance(metric="accuracy", basis="cohort")
    assert [(row["window_end"], row["n_predictions"], row["n_labelled"], row["value"]) for row in found] == [
        (MINUTE, 60, 51, pytest.approx(26 / 51)), (2 * MINUTE, 60, 1, 1.0), (3 * MINUTE, 60, 1, 1.0),
    ]  # fmt: skip


async def test_a_late_event_under_another_reference_leaves_old_verdicts_as_they_are(connection: Connection) -> None:
    made = await lab(connection, {"labels": None})
    await made.commit("predictions", *(prediction(f"a{n}", n * SECOND) for n in range(60)), prediction("b", HOUR))
    await made.close(MINUTE)
    before = await made.drift(window_end=MINUTE)
    await put_reference_in_force(made, [event | {"features": {"x": 9.0, "c": "z"}} for event in reference_events()])
    await made.commit("predictions", prediction("late", 5 * SECOND))
    await made.close(2 * MINUTE)

    assert await made.drift(window_end=MINUTE) == before
    [traffic] = await made.rows("select n_predictions from driftline.v_traffic where window_start = %s", _at(0))
    assert traffic["n_predictions"] == 61


def _at(ms: int) -> object:
    return timestamp(START_MS + ms)


async def test_another_sensitivity_starts_sequential_detectors_anew(connection: Connection) -> None:
    sizes = []
    for delta in (0.002, 0.002, 0.01):
        made = await lab(connection, {"labels": None, "drift": {"adwin": {"delta": delta}}})
        run = len(sizes)
        await made.position("predictions", 0, 0)
        made.next["m.predictions", 0] = run * 60
        await made.commit(
            "predictions", *(prediction(f"{run}.{n}", (run * 60 + n) * SECOND, features={"x": 0.2}) for n in range(60))
        )
        await made.close((run + 1) * MINUTE)
        [row] = await made.drift(feature="x", detector="adwin", window_end=(run + 1) * MINUTE)
        sizes.append(row["n_reference"] + row["n_current"] > 60)

    assert sizes == [False, True, False]
