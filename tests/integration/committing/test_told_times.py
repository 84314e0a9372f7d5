"""Does a label that tells when its prediction was made find it, whichever comes first, and look nowhere else?"""

from __future__ import annotations

from itertools import permutations

import pytest

from driftline.store import sql
from driftline.store.arrays import BEGINNING_MS, END_MS, pg_array
from driftline.store.connection import Connection
from tests.support.pipelines import DAY, HOUR, START_MS, Event, lab, label, prediction

pytestmark = pytest.mark.postgres

WINDOW = {"labels": {"dedupe_window": "1h", "horizon": "30d"}}


def told(name: str, at_ms: int, predicted_ms: int, truth: int = 1) -> Event:
    """Make a label that tells when its prediction was made."""
    return label(name, at_ms, truth) | {"prediction_timestamp": START_MS + predicted_ms}


@pytest.mark.parametrize("in_one_fetch", [True, False])
async def test_each_pair_meets_once_in_any_order(connection: Connection, in_one_fetch: bool) -> None:
    day = 20 * DAY
    events = [
        prediction("a", day, version="v1"),
        prediction("a", day + HOUR, version="shadow"),
        told("a", day + 2 * HOUR, day),
    ]
    for number, order in enumerate(permutations(events)):
        made = await lab(connection, WINDOW, name=f"m{number}")
        for fetch in [order] if in_one_fetch else [[event] for event in order]:
            await made.commit("all", *fetch)
        counts = await made.counts()
        assert (counts["pair"], counts.get("label_prediction_time_wrong")) == (2, None), order


@pytest.mark.parametrize("apart_ms", [HOUR + 1, 16 * DAY])
async def test_a_wrong_time_scores_nothing_and_is_counted_in_any_order(connection: Connection, apart_ms: int) -> None:
    day = 20 * DAY
    events = [prediction("a", day), told("a", day + HOUR, day - apart_ms), prediction("b", day), label("b", day + HOUR)]
    for number, order in enumerate(permutations(events)):
        made = await lab(connection, WINDOW, name=f"m{number}")
        for event in order:
            await made.commit("all", event)
        counts = await made.counts()
        assert (counts["pair"], counts["label_prediction_time_wrong"]) == (1, 1), order


async def test_a_label_that_comes_before_its_prediction_is_not_wrong(connection: Connection) -> None:
    made = await lab(connection, WINDOW)
    await made.commit("all", told("a", HOUR, 0))
    await made.commit("all", prediction("a", 0))
    assert {"pair": 1}.items() <= (await made.counts()).items()
    assert "label_prediction_time_wrong" not in await made.counts()


@pytest.mark.parametrize("corrected_first", [True, False])
async def test_a_correction_may_tell_the_right_time(connection: Connection, corrected_first: bool) -> None:
    """What the first label scored is taken back where it scored, and the correction scores where it belongs."""
    made = await lab(connection, {"labels": {"horizon": "30d", "on_correction": "restate"}})
    labels = [told("a", HOUR, 20 * DAY, 0), told("a", 2 * HOUR, 0, 1)]
    predicted = [prediction("a", 0, 1)]
    for event in [*labels, *predicted] if corrected_first else [*predicted, *labels]:
        await made.commit("all", event)
    await made.close()
    [accuracy] = await made.performance(metric="accuracy", basis="cohort")
    assert (accuracy["value"], accuracy["n_labelled"]) == (1.0, 1)


async def test_only_the_time_partitions_in_question_are_looked_into(connection: Connection) -> None:
    made = await lab(connection, {"labels": {"horizon": "30d"}})
    for day in (0, 16, 31):
        await made.commit("all", prediction(f"a{day}", day * DAY))
    told_ms = START_MS + 16 * DAY
    for earliest, latest, n_looked_into in ((told_ms - HOUR, told_ms + HOUR, 1), (BEGINNING_MS, END_MS, 3)):
        cursor = await connection.execute(
            "explain (analyze, costs off, timing off) " + sql("predictions_near"),
            {
                "row": pg_array("int4", [0]),
                "key": pg_array("uuid", made.decode("all", [prediction("a16", 0)]).predictions["m"].key),
                "earliest": pg_array("timestamptz", [earliest]),
                "latest": pg_array("timestamptz", [latest]),
                "horizons_s": made.model.horizons_s,
            },
        )
        scans = [line for (line,) in await cursor.fetchall() if "on prediction_2592000_" in line and "Scan" in line]
        looked_into = [line for line in scans if "never executed" not in line and "Bitmap Index" not in line]
        assert (len(scans) >= 3, len(looked_into)) == (True, n_looked_into), scans
