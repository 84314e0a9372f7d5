"""Are metrics corrected for labels that are late in an informative way, the same however slides are closed?"""

from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from labels_join.correction import NOT_BY_CLASS
from tests.support.pipelines import (
    MINUTE,
    SECOND,
    START_MS,
    Lab,
    Row,
    beside,
    lab,
    label,
    prediction,
    put_reference_in_force,
    reference_events,
)

pytestmark = pytest.mark.postgres

MINUTES, A_MINUTE, HORIZON = 60, 60, 20
SETTINGS = {
    "drift": {"detectors": []},
    "labels": {"horizon": f"{HORIZON}m", "dedupe_window": "1m"},
    "performance": {"metrics": ["precision", "accuracy", "roc_auc", "brier", "reward_mean"]},
}


def events(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Draw predictions of which half are positive, and whose positives are told five minutes late, the rest at once.

    Scores are nearer to the truth of positives: their squared errors are 0.06 in the mean, those of negatives 0.35.
    """
    chance = np.random.default_rng(seed)
    n = MINUTES * A_MINUTE
    made_ms = np.sort(chance.integers(0, MINUTES * MINUTE, n))
    truth = (chance.random(n) < 0.5).astype(int)
    predicted = np.where(chance.random(n) < 0.8, truth, 1 - truth)
    delay_ms = np.minimum(chance.exponential(np.where(truth == 1, 5 * MINUTE, SECOND)), (HORIZON - 1) * MINUTE)
    told = [(int(made_ms[row] + delay_ms[row]), row) for row in range(n)]
    return (
        [
            prediction(str(row), int(made_ms[row]), int(of), score=0.9 if of else 0.49)
            for row, of in enumerate(predicted)
        ],
        [label(str(row), at_ms, int(truth[row])) | {"reward": 1.0} for at_ms, row in sorted(told)],
    )


def until(given: list[dict[str, Any]], low: int, high: int) -> list[dict[str, Any]]:
    first = given[0]["timestamp"] // MINUTE * MINUTE
    return [event for event in given if low * MINUTE <= event["timestamp"] - first < high * MINUTE]


async def watched(connection: Connection, steps: list[int]) -> list[Row]:
    """Send what comes by each step and close what may be; return the rows of cohorts without their revisions."""
    made: Lab = await lab(connection, SETTINGS, name=f"m{len(steps)}", reference=reference_events())
    predictions, labels = events(1)
    for low, high in zip([0, *steps], steps, strict=False):
        await made.commit("predictions", *until(predictions, low, high))
        await made.commit("labels", *until(labels, low, high))
        await made.close(high * MINUTE)
    rows = await made.performance(basis="cohort")
    return [{name: value for name, value in row.items() if name not in ("model", "revision")} for row in rows]


@pytest.mark.parametrize(("metric", "truth", "naive_off"), [("precision", 0.8, -0.04), ("brier", 0.207, 0.012)])
async def test_metrics_are_corrected_for_positives_that_are_late(
    connection: Connection, metric: str, truth: float, naive_off: float
) -> None:
    rows = await watched(connection, [50])
    young = [row for row in rows if 40 * MINUTE < row["window_end"] <= 48 * MINUTE and row["metric"] == metric]
    assert len(young) == 8
    naive = np.mean([row["value"] for row in young])
    assert (naive - truth) / naive_off > 1
    assert abs(np.mean([row["corrected"] for row in young]) - truth) < abs(naive - truth) / 2
    for row in young:
        assert row["corrected_low"] < row["corrected"] < row["corrected_high"]
        assert 0 < row["n_effective"] <= row["n_labelled"]
        assert row["coverage"] - 0.2 < row["expected_coverage"] < min(1, row["coverage"] + 0.2)
        assert MINUTE < row["mature_at"] - START_MS - row["window_end"] <= HORIZON * MINUTE
        assert row["reason"] is None
    old = [row for row in rows if row["window_end"] <= HORIZON * MINUTE and row["metric"] == metric]
    assert old[0]["corrected"] is None or old[0]["corrected"] == pytest.approx(old[0]["value"], abs=0.05)


async def test_what_is_not_corrected_says_so_beside_its_value(connection: Connection) -> None:
    rows = await watched(connection, [50])
    young = [row for row in rows if 40 * MINUTE < row["window_end"] <= 48 * MINUTE]
    rewards = [row for row in young if row["metric"] == "reward_mean"]
    assert {(row["value"], row["corrected"], row["n_effective"]) for row in rewards} == {(1.0, None, None)}
    assert {row["reason"] for row in rewards} == {f"not corrected for late labels: {NOT_BY_CLASS}"}
    assert all(row["mature_at"] is not None for row in rewards)
    assert all(row["corrected"] is not None for row in young if row["metric"] == "roc_auc")


async def test_before_any_cohort_is_as_old_as_the_horizon_it_says_that_it_can_not_know(connection: Connection) -> None:
    rows = await watched(connection, [HORIZON])
    assert {row["corrected"] for row in rows} == {row["mature_at"] for row in rows} == {None}
    told = {row["reason"] for row in rows if row["value"] is not None}
    assert told == {
        "not corrected for late labels: no cohort is as old as the horizon yet: "
        "nobody can know how many labels are still to come"
    }


async def test_corrections_are_the_same_however_slides_are_closed(connection: Connection) -> None:
    at_once = await watched(connection, [MINUTES])
    async with beside(connection) as other:
        one_by_one = await watched(other, list(range(1, MINUTES + 1)))
    assert one_by_one == at_once
    assert any(row["corrected"] is not None for row in at_once)


async def blocks(made: Lab, minute: int) -> list[int]:
    """Label a prediction of a minute, close it, and return of which minutes' cohorts delays are kept."""
    await made.commit("predictions", prediction(str(minute), minute * MINUTE))
    await made.commit("labels", label(str(minute), minute * MINUTE + SECOND))
    await made.close((minute + 1) * MINUTE)
    found = await made.rows("select block_start as at from driftline.label_delay order by 1")
    return [row["at"] // MINUTE for row in found]


async def test_delays_begin_anew_under_another_reference_or_positive_class(connection: Connection) -> None:
    made = await lab(connection, SETTINGS)
    assert [await blocks(made, minute) for minute in (0, 1)] == [[0], [0, 1]]

    await put_reference_in_force(made, reference_events(300))
    assert [await blocks(made, minute) for minute in (2, 3)] == [[2], [2, 3]]

    turned = await lab(connection, SETTINGS | {"positive_class": "0"}, reference=reference_events(300))
    turned.next = made.next
    assert await blocks(turned, 4) == [4]
