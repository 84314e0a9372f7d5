"""Are windows closed, judged and restated as a brute-force look at the events says they must be?"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    precision_score,
    recall_score,
    root_mean_squared_error,
)

from driftline.store.connection import Connection, timestamp
from tests.support.pipelines import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START_MS,
    Event,
    Lab,
    Row,
    lab,
    label,
    migrated,
    prediction,
    put_reference_in_force,
    reference_events,
)

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture
async def store(postgres_url: str) -> AsyncIterator[Connection]:
    async with migrated(postgres_url) as connection:
        yield connection


def stream(seed: int, n: int, span_ms: int) -> list[Event]:
    """Make predictions at random times, in order, of two versions and some segments, with scores and both classes."""
    chance = np.random.default_rng(seed)
    times = np.sort(chance.integers(0, span_ms, n)).tolist()
    return [
        prediction(
            f"s{seed}-{row}",
            at_ms,
            int(chance.random() < 0.4),
            score=round(float(chance.random()), 3),
            version=f"v{chance.integers(1, 3)}",
            features={"x": round(float(chance.normal(0.6, 0.4)), 3), "c": str(chance.choice(["a", "b", "new"]))},
        )
        for row, at_ms in enumerate(times)
    ]


def labels_of(events: Iterable[Event], seed: int, delay_ms_max: int, share: float = 0.7) -> list[Event]:
    """Make labels for some of the predictions, in order of time, four of five as predicted."""
    chance = np.random.default_rng(seed)
    made = []
    for event in events:
        if chance.random() < share:
            at_ms = event["timestamp"] - START_MS + int(chance.integers(0, delay_ms_max))
            truth = event["prediction"] if chance.random() < 0.8 else 1 - event["prediction"]
            made.append(label(event["prediction_id"], at_ms, truth))
    return sorted(made, key=lambda event: event["timestamp"])


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
async def test_windows_hold_what_a_loop_over_the_events_puts_there(store: Connection, length: str, slide: str) -> None:
    made = await lab(store, {"segments": ["c"], "windows": {"length": length, "slide": slide, "pane": "10s"}})
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


async def test_pauses_cost_nothing_though_they_be_decades(store: Connection) -> None:
    made = await lab(store, {"labels": {}})
    moments = (-START_MS, -START_MS + 400 * DAY, 0, 30 * DAY)
    await made.commit("all", *(prediction(str(at), at) for at in moments), *(label(str(at), at) for at in moments))
    execute, statements = store.execute, 0

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal statements
        statements += 1
        return await execute(*arguments, **options)

    store.execute = counting
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
async def test_windows_with_few_events_reach_back_and_judge_no_event_twice(store: Connection, length: int) -> None:
    chance = np.random.default_rng(length)
    counts = chance.choice([0, 0, 1, 2, 3, 5, 9, 14], 60).tolist()
    windows = {"length": f"{length}m", "slide": "1m", "min_events": 10, "lookback_max": "8m"}
    made = await lab(store, {"windows": windows, "labels": None})
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


async def test_a_late_event_is_counted_wherever_a_window_reached_back_over_it(store: Connection) -> None:
    made = await lab(store, {"windows": {"min_events": 10, "lookback_max": "5m"}, "labels": None})
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


async def test_revisions_rise_only_where_something_changed(store: Connection) -> None:
    made = await lab(store, {"segments": ["c"], "windows": {"restate_after": "1h"}})
    events = stream(4, 300, 3 * MINUTE)
    await made.commit("predictions", *events)
    await made.commit("labels", *labels_of(events, 5, 10 * SECOND))
    await made.close(3 * MINUTE + 10 * SECOND)
    before = await made.drift(), await made.performance()
    for _ in range(3):
        await made.close(3 * MINUTE + 10 * SECOND)
    assert (await made.drift(), await made.performance()) == before

    # Not before its time, unless told to.
    await made.commit("predictions", prediction("late", 70 * SECOND, 0, version="v1", features={"x": 0.1, "c": "b"}))
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
    }  # fmt: skip
    assert changed(before[1], await made.performance(), "basis", "version", "window_start", "segment") == {
        (basis, "v1", MINUTE, segment) for basis in ("cohort", "arrival") for segment in ("*", "c=b")
    }


async def test_cohorts_mature_while_their_labels_arrive(store: Connection) -> None:
    made = await lab(store, {"windows": {"restate_after": "0s"}})
    await made.commit("predictions", *(prediction(str(n), n * SECOND) for n in range(4)), prediction("x", HOUR))
    coverage = []
    for n in range(4):
        await made.commit("labels", label(str(n), (10 + n) * MINUTE))
        await made.close((10 + n) * MINUTE)
        [row] = await made.performance(metric="accuracy", basis="cohort", window_end=MINUTE)
        coverage.append((row["n_labelled"], row["coverage"], row["revision"]))

    assert coverage == [(1, 0.25, 1), (2, 0.5, 2), (3, 0.75, 3), (4, 1.0, 4)]


async def test_another_reference_starts_sequential_detectors_anew_and_keeps_metrics(store: Connection) -> None:
    made = await lab(store, {"labels": {}})
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


async def test_a_late_event_under_another_reference_leaves_old_verdicts_as_they_are(store: Connection) -> None:
    made = await lab(store, {"labels": None})
    await made.commit("predictions", *(prediction(f"a{n}", n * SECOND) for n in range(60)), prediction("b", HOUR))
    await made.close(MINUTE)
    before = await made.drift(window_end=MINUTE)
    await put_reference_in_force(made, [event | {"features": {"x": 9.0, "c": "z"}} for event in reference_events()])
    await made.commit("predictions", prediction("late", 5 * SECOND))
    await made.close(2 * MINUTE)

    assert await made.drift(window_end=MINUTE) == before
    [traffic] = await made.rows("select n_predictions from driftline.v_traffic where window_start = %s", _at(0))
    assert traffic["n_predictions"] == 61


async def test_looking_whether_there_is_anything_to_do_holds_up_no_writer(store: Connection, postgres_url: str) -> None:
    made = await lab(store, {"windows": {"restate_after": "1h"}})
    await made.commit("all", prediction("a", 0), prediction("b", 70 * SECOND))
    async with migrated(postgres_url) as other:
        async with other.transaction():
            # As a writer does, from the beginning to the end of its transaction.
            await other.execute("select pg_advisory_xact_lock_shared(2, %s)", [made.model.bucket])
            await store.execute("set lock_timeout = '100ms'")
            assert await made.close(MINUTE - 1, restate="when due") == 0
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await made.close(MINUTE, restate="when due")
        assert await made.close(MINUTE, restate="when due") == 1
        async with other.transaction():
            await other.execute("select pg_advisory_xact_lock_shared(2, %s)", [made.model.bucket])
            assert await made.close(2 * MINUTE - 1, restate="when due") == 0


def _at(ms: int) -> object:
    return timestamp(START_MS + ms)


async def test_another_sensitivity_starts_sequential_detectors_anew(store: Connection) -> None:
    sizes = []
    for delta in (0.002, 0.002, 0.01):
        made = await lab(store, {"labels": None, "drift": {"adwin": {"delta": delta}}})
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


async def test_regression_metrics_are_scikit_learns(store: Connection) -> None:
    chance = np.random.default_rng(8)
    reference = [prediction(f"r{n}", n, float(chance.normal(10, 3))) for n in range(200)]
    settings = {"task": "regression", "labels": {"on_correction": "restate"}}
    made = await lab(store, settings, reference=reference)
    predicted, truth = chance.normal(10, 3, 200), chance.normal(10, 4, 200)
    await made.commit(
        "predictions", *(prediction(str(n), n * 500, value) for n, value in enumerate(predicted.tolist()))
    )
    await made.commit("labels", *(label(str(n), n * 500, 1e9) for n in range(0, 200, 10)))
    await made.commit("labels", *(label(str(n), n * 500 + 1, value) for n, value in enumerate(truth.tolist())))
    await made.close()

    assert (await made.drift(feature="@prediction", detector="psi"))[0]["n_reference"] == 200
    assert {row["feature"] for row in await made.drift(detector="adwin")} == {"x", "c", "@prediction", "@error"}
    for minute in range(2):
        of = slice(minute * 120, minute * 120 + 120)
        for basis in ("cohort", "arrival"):
            rows = await made.performance(basis=basis, window_start=minute * MINUTE)
            found = {row["metric"]: row["value"] for row in rows}
            assert found == {
                "mae": pytest.approx(mean_absolute_error(truth[of], predicted[of]), abs=1e-7),
                "rmse": pytest.approx(root_mean_squared_error(truth[of], predicted[of]), abs=1e-7),
            }
            assert {row["n_labelled"] for row in rows} == {len(truth[of])}


async def test_multiclass_metrics_are_scikit_learns(store: Connection) -> None:
    chance = np.random.default_rng(9)
    names = np.array(["ant", "bee", "cat", "dog"])
    reference = [prediction(f"r{n}", n, str(names[n % 4])) for n in range(200)]
    made = await lab(store, {"task": "multiclass", "segments": ["c"]}, reference=reference)
    truth = names[chance.integers(0, 4, 300)]
    predicted = np.where(chance.random(300) < 0.7, truth, names[chance.integers(0, 3, 300)])
    segment = np.array(["a", "b"])[chance.integers(0, 2, 300)]
    await made.commit(
        "all",
        *(prediction(str(n), n, str(predicted[n]), features={"x": 1, "c": str(segment[n])}) for n in range(300)),
        *(label(str(n), n, str(truth[n])) for n in range(300)),
    )
    await made.close()

    for name, of in (("*", np.full(300, True)), ("c=a", segment == "a"), ("c=b", segment == "b")):
        rows = await made.performance(basis="cohort", segment=name)
        macro = {"average": "macro", "zero_division": 0}
        assert {row["metric"]: row["value"] for row in rows} == {
            "accuracy": pytest.approx(accuracy_score(truth[of], predicted[of]), abs=1e-12),
            "macro_precision": pytest.approx(precision_score(truth[of], predicted[of], **macro), abs=1e-12),
            "macro_recall": pytest.approx(recall_score(truth[of], predicted[of], **macro), abs=1e-12),
            "macro_f1": pytest.approx(f1_score(truth[of], predicted[of], **macro), abs=1e-12),
        }
    assert {row["feature"] for row in await made.drift(detector="adwin")} >= {f"@error.{name}" for name in names}


async def test_in_a_binary_task_every_other_label_is_negative(store: Connection) -> None:
    # Also where the reference knows one class only, because nothing else was predicted there.
    made = await lab(store, reference=[event | {"prediction": 1} for event in reference_events()])
    await made.commit("all", prediction("a", 0, 1), prediction("b", 1, 1), prediction("c", 2, 0))
    await made.commit("all", label("a", 0, 1), label("b", 1, 0), label("c", 2, 0))
    await made.close()

    found = {row["metric"]: row["value"] for row in await made.performance(basis="cohort")}
    assert (found["accuracy"], found["precision"], found["recall"]) == (pytest.approx(2 / 3), 0.5, 1.0)


async def test_a_label_of_a_third_class_is_no_success(store: Connection) -> None:
    made = await lab(store)
    await made.commit("all", prediction("a", 0, 1), prediction("b", 1, 1), prediction("c", 2, 0))
    await made.commit("all", label("a", 0, 1), label("b", 1, "unknown"))
    await made.close()

    found = {row["metric"]: row["value"] for row in await made.performance(basis="cohort")}
    assert (found["accuracy"], found["precision"], found["recall"]) == (0.5, 0.5, 1.0)


async def test_only_one_evaluates_a_model_at_a_time(store: Connection, postgres_url: str) -> None:
    made = await lab(store)
    await made.commit("predictions", prediction("a", 0))
    async with migrated(postgres_url) as other:
        second: Lab = await lab(other)
        async with store.transaction():
            await store.execute("select pg_try_advisory_xact_lock(5, %s)", [made.model.model_id])
            assert await second.close() == 0
        assert await second.close() == 1
