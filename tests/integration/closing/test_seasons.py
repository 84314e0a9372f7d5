"""Is a window that has a season compared with the same hours of the past days, and with nothing else?"""

from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import DAY, HOUR, START_MS, Event, Lab, Row, lab, prediction

pytestmark = pytest.mark.postgres

DAYS, LENGTH, PER_WINDOW = 10, 4 * HOUR, 100
SHIFT_DAY = 8
BEFORE_SHIFT = SHIFT_DAY * DAY


def events(shift: float) -> list[Event]:
    """Ten days of a feature that follows the hour, by almost all of its range, and moves on the ninth day."""
    chance = np.random.default_rng(24)
    times = np.sort(chance.integers(0, DAYS * DAY, DAYS * 6 * PER_WINDOW))
    x = 0.5 + 0.35 * np.sin(2 * np.pi * times / DAY) + chance.normal(0, 0.1, times.size)
    x[times >= BEFORE_SHIFT] += shift
    return [
        prediction(f"p{row}", int(at_ms), row % 2, features={"x": float(value), "c": "ab"[row % 2]}, score=0.5)
        for row, (at_ms, value) in enumerate(zip(times, x, strict=True))
    ]


def reference() -> list[Event]:
    """All hours of other days."""
    return [event | {"prediction_id": f"r{row}"} for row, event in enumerate(events(0.0)[:2_400:3])]


async def watched(connection: Connection, name: str, seasonality: str | None) -> Lab:
    windows = {"length": "4h", "pane": "10m", "min_events": 50}
    if seasonality is not None:
        windows |= {"seasonality": seasonality}
    model: dict[str, Any] = {"windows": windows, "labels": None, "drift": {"detectors": ["psi"]}}
    return await lab(connection, model, name=name, reference=reference())


async def run_through(made: Lab, log: list[Event], days_at_once: int) -> list[Row]:
    for day in range(0, DAYS, days_at_once):
        span = range(START_MS + day * DAY, START_MS + (day + days_at_once) * DAY)
        await made.commit("predictions", *(event for event in log if event["timestamp"] in span))
        await made.close((day + days_at_once) * DAY)
    return await made.drift(detector="psi", feature="x", segment="*")


def psi_of_like_phases(log: list[Event], end_ms: int, edges: np.ndarray) -> float:
    """Brute force: the window against the same hours of the seven days before it."""
    ages = end_ms - np.array([event["timestamp"] - START_MS for event in log])
    x = np.array([event["features"]["x"] for event in log])
    within = ages % DAY
    inside = (within > 0) & (within <= LENGTH)
    bins = np.searchsorted(edges, x, "left")
    current, like = (
        np.bincount(bins[inside & (ages // DAY >= first) & (ages // DAY <= last)], minlength=edges.size + 3) + 0.5
        for first, last in ((0, 0), (1, 7))
    )
    p, q = like / like.sum(), current / current.sum()
    return float(((q - p) * np.log(q / p)).sum())


async def test_a_daily_cycle_is_no_drift_and_a_shift_within_it_is_found(connection: Connection) -> None:
    log = events(0.15)
    plain = await run_through(await watched(connection, "plain", None), log, 2)
    made = await watched(connection, "daily", "24h")
    seasonal = await run_through(made, log, 2)

    def levels(rows: list[Row], from_ms: int, to_ms: int) -> list[str]:
        return [row["level"] for row in rows if from_ms < row["window_end"] <= to_ms]

    # Without the setting the cycle itself drifts, until so much swinging is taken for usual and hides the shift, too.
    assert levels(plain, 0, 2 * DAY).count("drift") >= 5
    assert "drift" not in levels(plain, BEFORE_SHIFT, DAYS * DAY)
    # Three past days are needed, then it is quiet until the shift.
    assert set(levels(seasonal, 0, 3 * DAY)) == {"not_ready"}
    assert set(levels(seasonal, 3 * DAY, BEFORE_SHIFT)) <= {"ok", "warning"}
    assert levels(seasonal, BEFORE_SHIFT, BEFORE_SHIFT + DAY).count("drift") >= 5
    assert (await made.counts())["season_unknown"] == 3 * 6
    assert {row["reason"] for row in seasonal if row["level"] == "not_ready"} == {"season_unknown"}
    assert {row["reason"] for row in [*plain, *seasonal] if row["level"] != "not_ready"} == {None}


async def test_the_reference_is_the_like_phases_and_the_pieces_in_which_events_come_change_nothing(
    connection: Connection,
) -> None:
    log = events(0.0)
    made = await watched(connection, "pieces", "24h")
    pieces = await run_through(made, log, 1)
    at_once = await run_through(await watched(connection, "whole", "24h"), log, DAYS)
    told = ("window_start", "window_end", "score", "threshold", "p_value", "n_reference", "n_current", "level")
    assert [[row[name] for name in told] for row in pieces] == [[row[name] for name in told] for row in at_once]

    edges = np.unique(np.quantile([event["features"]["x"] for event in reference()], np.linspace(0, 1, 11)[1:-1]))
    judged = [row for row in pieces if row["level"] != "not_ready"]
    assert len(judged) == (DAYS - 3) * 6
    for row in judged:
        assert row["score"] == pytest.approx(psi_of_like_phases(log, row["window_end"], edges), abs=1e-12)
    assert all(row["n_reference"] == 0 for row in pieces if row["level"] == "not_ready")
