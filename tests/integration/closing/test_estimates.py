"""Is performance estimated when a window closes, before any label, and set beside what labels say later?"""

import numpy as np
import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import MINUTE, Lab, lab, label, prediction, put_reference_in_force, reference_events

pytestmark = pytest.mark.postgres

N = 100


async def made_of(connection: Connection, *, labelled: bool) -> Lab:
    """Watch a model whose answers of class 1 were right in three of four rows of its reference, those of 0 always."""
    made = await lab(connection, {"segments": ["c"]})
    events = reference_events()
    truth = [str(row % 2 and int(row % 8 != 1)) for row in range(len(events))]
    if labelled:
        await put_reference_in_force(made, events, truth=truth)
    return made


async def test_estimates_come_before_labels_and_are_set_beside_them(connection: Connection) -> None:
    made = await made_of(connection, labelled=True)
    sent = [
        prediction(str(n), n * 100, n % 2, score=(n + 0.5) / N, features={"x": 0.5, "c": "ab"[n // 50]})
        for n in range(N)
    ]
    await made.commit("predictions", *sent)
    await made.close()

    rows = await made.performance(basis="estimated", window_end=MINUTE)
    found = {(row["segment"], row["metric"]): row for row in rows}
    assert {segment for segment, _ in found} == {"*", "c=a", "c=b"}
    assert {(row["n_labelled"], row["coverage"], row["revision"]) for row in rows} == {(0, 0.0, 1)}
    assert [found[segment, "recall"]["n_predictions"] for segment in ("*", "c=a", "c=b")] == [100, 50, 50]
    # Among 20 neighbours with the same answer as many are right as among all of them, but for a row or two.
    for metric, expected in (("accuracy", 0.875), ("precision", 0.75), ("recall", 1.0)):
        row = found["*", metric]
        assert row["low"] < row["value"] <= row["high"]
        assert row["value"] == pytest.approx(expected, abs=0.03)

    await made.commit("labels", *(label(str(n), n * 100, int(n % 2 and n % 8 != 1)) for n in range(N)))
    await made.close()
    assert await made.performance(basis="estimated", window_end=MINUTE) == rows
    errors = await made.rows("select * from driftline.v_estimate_error where segment = '*' order by metric")
    realised = {row["metric"]: row["value"] for row in await made.performance(basis="cohort", segment="*")}
    assert [row["metric"] for row in errors] == sorted(realised)
    for row in errors:
        assert row["estimated"] == found["*", row["metric"]]["value"]
        assert row["realised"] == realised[row["metric"]]
        assert row["error"] == row["estimated"] - row["realised"]
        assert row["within"] == (row["low"] <= row["realised"] <= row["high"])


async def test_a_late_prediction_restates_the_estimate_of_its_window(connection: Connection) -> None:
    made = await made_of(connection, labelled=True)
    await made.commit("predictions", *(prediction(str(n), n * 100, 0, score=0.1) for n in range(N)))
    await made.commit("predictions", prediction("late", 2 * MINUTE), prediction("on", 3 * MINUTE))
    await made.close(2 * MINUTE)
    await made.commit("predictions", *(prediction(f"l{n}", n * 100, 1, score=0.9) for n in range(N)))
    await made.close(2 * MINUTE)

    [row] = await made.performance(basis="estimated", window_end=MINUTE, segment="*", metric="accuracy")
    assert (row["n_predictions"], row["revision"]) == (2 * N, 2)
    assert row["value"] == pytest.approx(0.875, abs=0.05)


async def test_a_reference_without_labels_gives_no_estimates(connection: Connection) -> None:
    made = await made_of(connection, labelled=False)
    await made.commit("predictions", *(prediction(str(n), n, n % 2, score=float(np.sqrt(n / N))) for n in range(N)))
    await made.close()
    assert await made.performance(basis="estimated") == []
    assert await made.performance(basis="cohort", segment="*") != []
