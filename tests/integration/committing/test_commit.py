"""Does one fetch leave everything that follows from it in the store, exactly once, or nothing at all?"""

from dataclasses import replace
from typing import Any

import pytest

from driftline.store.connection import Connection
from streams.committing.commit import Committed
from tests.support.pipelines import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START_MS,
    Lab,
    Row,
    features,
    lab,
    label,
    migrated,
    prediction,
)

pytestmark = pytest.mark.postgres

WRITTEN = (
    "stream_offset", "event_count", "dead_letter", "prediction", "label", "served_features", "pane", "outcome",
    "warm_up",
)  # fmt: skip


async def sizes(made: Lab) -> dict[str, int]:
    return {table: await made.count(table) for table in WRITTEN}


async def panes(made: Lab, late: bool | None = None) -> dict[int, int]:
    """Return predictions by start of pane."""
    found = await made.rows("select pane_start, late, sum(n)::bigint as n from driftline.pane group by 1, 2 order by 1")
    return {row["pane_start"]: row["n"] for row in found if late in (None, row["late"])}


async def bins(made: Lab, feature: str = "x") -> dict[str, int]:
    """Close everything and return how often each bin of a feature was counted."""
    await made.close()
    found = await made.rows(
        "select label, sum(round(current_share * d.n_current))::bigint as n from driftline.v_distribution "
        "join driftline.v_drift d using (model, version, segment, feature, window_start) "
        "where feature = %s and detector = 'psi' group by 1",
        feature,
    )
    return {row["label"]: row["n"] for row in found if row["n"]}


def counted(done: Committed | None) -> dict[str, int]:
    assert done is not None, "fenced"
    return {reason: n for (_, reason), n in sorted(done.counts.items())}


async def test_a_fetch_from_elsewhere_writes_nothing(connection: Connection) -> None:
    made = await lab(connection)
    first = await made.position("all", 0, 2)
    assert await made.commit("all", prediction("a", 0), label("a", 1)) is not None
    before = await sizes(made)

    elsewhere = {
        "the same position again": first,
        "a position further on": replace(first, start=5, next=6),
        "another topic of this name": replace(first, start=2, next=4, topic_id="recreated"),
        "a partition that nobody registered": replace(first, partition=7),
    }
    for where, position in elsewhere.items():
        assert await made.commit("all", prediction("b", 0), label("b", 1), position=position) is None, where
        assert await sizes(made) == before, where
    assert counted(await made.commit("all", prediction("b", 0))) == {"prediction": 1}


async def test_whatever_breaks_before_the_end_leaves_nothing_and_the_next_try_all_of_it(connection: Connection) -> None:
    windows = {"out_of_orderness": "1s"}
    made = await lab(connection, {"labels": {"horizon": "1h"}, "windows": windows})
    await made.commit("all", prediction("a", 9 * HOUR), label("b", 9 * HOUR), features("c", 9 * HOUR, x=1))
    events = [
        prediction("b", 9 * HOUR),
        prediction("c", 9 * HOUR - MINUTE),
        label("a", 9 * HOUR),
        features("d", 9 * HOUR, x=2),
        prediction("old", 0),
        b"broken",
    ]
    before = await sizes(made)
    execute, steps = connection.execute, 0

    async def break_at(step: int) -> None:
        calls = 0

        async def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > step:
                raise ConnectionError("the power is gone")
            return await execute(*arguments, **options)

        connection.execute = counting
        try:
            await made.commit("all", *events)
        finally:
            connection.execute = execute

    while True:
        try:
            await break_at(steps)
        except ConnectionError:
            assert await sizes(made) == before, f"after {steps} statements"
            steps += 1
        else:
            break

    assert steps > 15
    after = await sizes(made)
    assert {table: after[table] - before[table] for table in ("prediction", "label", "served_features", "outcome")} == {
        "prediction": 2,
        "label": 1,
        "served_features": 1,
        "outcome": 2,
    }
    assert {row["reason"] for row in await made.rows("select reason from driftline.v_dead_letters")} == {
        "too_old",
        "not_json",
    }


async def test_late_events_restate_windows_and_never_reach_sequential_detectors(connection: Connection) -> None:
    windows = {"out_of_orderness": "5s"}
    punctual, late = [await lab(connection, {"windows": windows}, name=name) for name in ("punctual", "late")]
    stream = [
        prediction(f"{n}", n * SECOND, n % 2, score=n % 10 / 10, features={"x": n % 7 / 7, "c": "a"})
        for n in range(240)
    ]
    for made in (punctual, late):
        await made.commit("all", *stream, *(label(f"{n}", 240 * SECOND) for n in range(0, 240, 3)))
        await made.close(3 * MINUTE)
    behind = [prediction(f"late{n}", 30 * SECOND, features={"x": 0.999, "c": "b"}) for n in range(50)]
    behind += [label("late1", 31 * SECOND, 0), label("1", 31 * SECOND, 0)]
    assert counted(await late.commit("all", *behind)) == {
        "label": 2, "late_label": 2, "late_prediction": 50, "pair": 2, "prediction": 50,
    }  # fmt: skip
    for made in (punctual, late):
        await made.close()

    def without(rows: list[Row], *names: str) -> list[Row]:
        return [{name: value for name, value in row.items() if name not in names} for row in rows]

    sequential = [without(await made.drift(detector="adwin"), "model") for made in (punctual, late)]
    assert sequential[0] == sequential[1]
    assert {row["revision"] for row in sequential[1]} == {1}
    [first] = await late.drift(detector="psi", feature="x", window_start=0)
    assert (first["n_current"], first["revision"]) == (110, 2)
    others = [row for row in await late.drift(detector="psi") if row["window_start"]]
    assert {row["revision"] for row in others} == {1}
    assert without(others, "model") == without(
        [row for row in await punctual.drift(detector="psi") if row["window_start"]], "model"
    )
    [cohort] = await late.performance(metric="accuracy", basis="cohort", window_start=0)
    assert (cohort["n_predictions"], cohort["n_labelled"], cohort["revision"]) == (110, 22, 2)


async def test_a_correction_restates_windows_and_never_reaches_sequential_detectors(connection: Connection) -> None:
    # The same three events, read in one go, with windows closed in between, and with the prediction last.
    predicted, first, corrected = prediction("a", 0), label("a", SECOND, 1), label("a", 70 * SECOND, 0)
    readings = [
        [[predicted, first, corrected]],
        [[predicted, first], [corrected]],
        [[first], [predicted], [corrected]],
        [[first, corrected], [predicted]],
        [[first], [corrected], [predicted]],
    ]
    found = []
    for number, reading in enumerate(readings):
        windows = {"out_of_orderness": "2m"}
        made = await lab(connection, {"labels": {"on_correction": "restate"}, "windows": windows}, name=f"m{number}")
        for fetch in reading:
            await made.commit("all", *fetch)
            if any(event is predicted for event in fetch):
                await made.close(MINUTE)
        await made.close()
        states = await made.rows(
            "select content from driftline.detector_state where model_id = %s", made.model.model_id
        )
        rows = [*await made.drift(), *await made.performance()]
        found.append((states, [row | {"model": "", "revision": 0} for row in rows]))

    for states, rows in found[1:]:
        assert (states, rows) == found[0]
    arrived = [row for row in found[0][1] if row.get("basis") == "arrival" and row["metric"] == "accuracy"]
    assert [(row["window_start"], row["n_labelled"], row["value"]) for row in arrived] == [(MINUTE, 1, 0.0)]


async def test_impossible_times_are_dead_letters_with_their_reason_and_place(connection: Connection) -> None:
    made = await lab(
        connection, {"labels": {"horizon": "1h"}, "windows": {"out_of_orderness": "1m"}}, limits={"max_future": "10m"}
    )
    now_ms = START_MS + 9 * DAY
    done = await made.commit(
        "all",
        prediction("now", 9 * DAY),
        prediction("just old enough", 9 * DAY - HOUR - MINUTE),
        prediction("too old", 9 * DAY - HOUR - MINUTE - 1),
        label("too old", 8 * DAY),
        features("too old", 0, x=1),
        prediction("just not in the future", 9 * DAY + 10 * MINUTE),
        prediction("in the future", 9 * DAY + 10 * MINUTE + 1),
        label("the end of time", 253_402_300_799_999 - START_MS),
        features("the end of time", 253_402_300_799_999 - START_MS, x=1),
        prediction("the beginning of time", -62_135_596_800_000 - START_MS),
        record_ms=now_ms,
    )

    assert counted(done) == {
        "dead_in_the_future": 3, "dead_too_old": 4, "late_prediction": 1, "prediction": 3,
    }  # fmt: skip
    letters = await made.rows("select * from driftline.v_dead_letters order by record_offset")
    assert [(letter["record_offset"], letter["reason"]) for letter in letters] == [
        (2, "too_old"), (3, "too_old"), (4, "too_old"),
        (6, "in_the_future"), (7, "in_the_future"), (8, "in_the_future"), (9, "too_old"),
    ]  # fmt: skip
    for letter in letters:
        assert (letter["topic"], letter["partition"], letter["model"]) == ("m.all", 0, "m")
        assert letter["payload"] == b"payload"
    assert str(START_MS + 8 * DAY) in letters[1]["detail"]
    # They move no watermark and no partition is made for them.
    [offset] = await made.rows("select newest_event, next from driftline.stream_offset")
    assert offset == {"newest_event": now_ms + 10 * MINUTE, "next": 10}
    partitions = await made.rows(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent::regclass::text ~ '_3600$'"
    )
    assert len(partitions) <= 8


async def test_a_first_fetch_may_hold_events_of_any_times(connection: Connection) -> None:
    made = await lab(connection, {"labels": {"horizon": "1h"}})
    times = [-START_MS, -START_MS + 1, 0, DAY, 900 * DAY]
    done = await made.commit("all", *(prediction(str(at), at) for at in times), record_ms=START_MS + 900 * DAY)

    assert counted(done) == {"prediction": 5}
    assert sorted(await panes(made)) == [-START_MS, 0, DAY, 900 * DAY]
    assert await made.count("prediction") == 5


async def test_a_prediction_that_comes_twice_counts_once(connection: Connection) -> None:
    made = await lab(connection, {"labels": {"dedupe_window": "1m"}, "windows": {"out_of_orderness": "1h"}})
    within = [prediction("a", 10 * SECOND), prediction("b", 10 * SECOND), prediction("a", 10 * SECOND)]
    assert counted(await made.commit("all", *within)) == {"prediction": 3, "repeated_prediction": 1}
    again = [
        prediction("a", 10 * SECOND),
        prediction("a", 9 * SECOND),
        prediction("a", 70 * SECOND),
        prediction("a", 70 * SECOND + 1),
        prediction("a", 11 * SECOND, version="v2"),
        prediction("a", 11 * SECOND, variant="shadow"),
    ]
    assert counted(await made.commit("all", *again)) == {"prediction": 6, "repeated_prediction": 3}

    # What came first counts, at its own time.
    assert await panes(made) == {10 * SECOND: 2, 11 * SECOND: 2, 70 * SECOND: 1}
    assert await made.count("prediction") == 5


async def test_models_without_labels_store_nothing_and_notice_no_repeats(connection: Connection) -> None:
    made = await lab(connection, {"labels": None, "performance": None})
    done = await made.commit("all", prediction("a", 0), prediction("a", 0), label("a", 0))

    assert counted(done) == {"unwanted_label": 1, "prediction": 2}
    assert (await made.count("prediction"), await made.count("label"), await panes(made)) == (0, 0, {0: 2})


@pytest.mark.parametrize("in_one_fetch", [True, False])
@pytest.mark.parametrize("first", ["prediction", "feature event"])
async def test_the_first_source_of_an_ids_features_wins(connection: Connection, first: str, in_one_fetch: bool) -> None:
    made = await lab(connection)
    events = [prediction("a", SECOND, features={"x": 0.05}), features("a", SECOND, x=0.95)]
    if first == "feature event":
        events.reverse()
    # A second feature event and a prediction without features change nothing.
    events += [
        features("a", SECOND, x=0.55),
        {**prediction("b", SECOND), "features": None},
        features("b", SECOND, x=0.05),
    ]
    for fetch in [events] if in_one_fetch else [[event] for event in events]:
        await made.commit("all", *fetch)

    repeated = {"prediction": 2, "feature event": 1}[first]
    assert (await made.counts())["repeated_features"] == repeated
    lowest, highest = "(-inf, 0.09950000000000002]", "(0.8955, inf)"
    expected = {lowest: 2} if first == "prediction" else {highest: 1, lowest: 1}
    assert await bins(made) == expected
    [row] = await made.drift(feature="@prediction", detector="psi")
    assert row["n_current"] == 2


async def test_the_first_source_wins_though_others_of_the_id_were_counted_before(connection: Connection) -> None:
    # A shadow's own features count under its own version, whether a repeated feature event stands before it or not.
    events = [
        prediction("a", SECOND, features={"x": 0.05}),
        features("a", SECOND, x=0.95),
        prediction("a", SECOND, version="v2", features={"x": 0.05}),
    ]
    found = []
    for name, cuts in (("one", [events]), ("two", [events[:1], events[1:]]), ("three", [[event] for event in events])):
        made = await lab(connection, name=name)
        for fetch in cuts:
            await made.commit("all", *fetch)
        await made.close()
        found.append({row["version"]: row["n_current"] for row in await made.drift(feature="x", detector="psi")})
    assert found == [{"v1": 1, "v2": 1}] * 3


async def test_counters_say_what_became_of_every_event(connection: Connection) -> None:
    made = await lab(connection)
    await made.commit("all", prediction("a", 0), prediction("a", 0), label("a", 0), label("a", 0), b"broken", b"{}")
    await made.commit(
        "all", features("a", 0, x=1), features("b", 0, x=1), {"nonsense": 1}, prediction("c", 1), partition=1
    )

    assert await made.counts() == {
        "prediction": 3, "repeated_prediction": 1, "label": 2, "repeated_label": 1, "pair": 1,
        "feature_event": 2, "repeated_features": 1,
    } | {reason: n for reason, n in (await made.counts()).items() if reason.startswith("dead_")}  # fmt: skip
    [dead] = await made.rows("select count(*) as n from driftline.v_dead_letters")
    [total] = await made.rows("select sum(n)::bigint as n from driftline.v_counts where reason like 'dead_%%'")
    assert dead["n"] == total["n"] == 3


async def test_the_store_is_found_again_by_another_worker(connection: Connection, postgres_url: str) -> None:
    made = await lab(connection, {"segments": ["c"]})
    await made.commit("all", prediction("a", 0), label("b", 0, 0))
    async with migrated(postgres_url) as second:
        other = await lab(second, {"segments": ["c"]})
        other.next = made.next
        done = await other.commit("all", prediction("b", 0, features={"c": "new"}), label("a", 0))
        assert counted(done) == {"label": 1, "pair": 2, "prediction": 1}
        made.next = other.next
        await made.commit("all", label("c", 0), prediction("c", 0, 0, version="v9"))
        await made.close()

    found = await made.performance(metric="accuracy", basis="cohort")
    assert {(row["version"], row["segment"]): (row["n_labelled"], row["value"]) for row in found} == {
        ("v1", "*"): (2, 0.5), ("v1", "c=a"): (1, 1.0), ("v1", "c=new"): (1, 0.0),
        ("v9", "*"): (1, 0.0), ("v9", "c=a"): (1, 0.0),
    }  # fmt: skip
