"""Is a window that has a season compared with the same hours of the past days, and with nothing else?"""

from typing import Any, NamedTuple

import numpy as np
import pytest

from driftline.store.connection import Connection
from tests.support.pipelines import DAY, HOUR, START_MS, Event, Lab, Row, lab, prediction

pytestmark = pytest.mark.postgres


class Season(NamedTuple):
    """A period, with how many past ones windows of a sixth of it are compared."""

    seasonality: str
    period_ms: int
    past: int
    pane: str

    @property
    def length_ms(self) -> int:
        return self.period_ms // WINDOWS


WINDOWS = 6
DAILY, WEEKLY = Season("24h", DAY, 7, "10m"), Season("7d", 7 * DAY, 4, "70m")
SEASONS = pytest.mark.parametrize("season", [DAILY, WEEKLY], ids=lambda season: season.seasonality)
PERIODS, PER_WINDOW = 10, 100
SHIFT_PERIOD = 8


def events(season: Season, shift: float) -> list[Event]:
    """Ten periods of a feature that follows the season, by almost all of its range, and moves in the ninth."""
    chance = np.random.default_rng(24)
    period_ms = season.period_ms
    times = np.sort(chance.integers(0, PERIODS * period_ms, PERIODS * WINDOWS * PER_WINDOW))
    x = 0.5 + 0.35 * np.sin(2 * np.pi * times / period_ms) + chance.normal(0, 0.1, times.size)
    x[times >= SHIFT_PERIOD * period_ms] += shift
    return [
        prediction(f"p{row}", int(at_ms), row % 2, features={"x": float(value), "c": "ab"[row % 2]}, score=0.5)
        for row, (at_ms, value) in enumerate(zip(times, x, strict=True))
    ]


def reference(season: Season) -> list[Event]:
    """All phases of other periods."""
    return [event | {"prediction_id": f"r{row}"} for row, event in enumerate(events(season, 0.0)[:2_400:3])]


async def watched(connection: Connection, name: str, season: Season, *, seasonal: bool = True) -> Lab:
    windows = {"length": f"{season.length_ms // HOUR}h", "pane": season.pane, "min_events": 50}
    if seasonal:
        windows |= {"seasonality": season.seasonality}
    model: dict[str, Any] = {"windows": windows, "labels": None, "drift": {"detectors": ["psi"]}}
    return await lab(connection, model, name=name, reference=reference(season))


async def run_through(made: Lab, log: list[Event], season: Season, periods_at_once: int) -> list[Row]:
    for first in range(0, PERIODS, periods_at_once):
        start_ms, end_ms = (period * season.period_ms for period in (first, first + periods_at_once))
        span = range(START_MS + start_ms, START_MS + end_ms)
        await made.commit("predictions", *(event for event in log if event["timestamp"] in span))
        await made.close(end_ms)
    return await made.drift(detector="psi", feature="x", segment="*")


def psi_of_like_phases(log: list[Event], season: Season, end_ms: int, edges: np.ndarray) -> float:
    """Brute force: the window against the same phase of the periods before it."""
    ages = end_ms - np.array([event["timestamp"] - START_MS for event in log])
    x = np.array([event["features"]["x"] for event in log])
    within, period = ages % season.period_ms, ages // season.period_ms
    inside = (within > 0) & (within <= season.length_ms)
    bins = np.searchsorted(edges, x, "left")
    current, like = (
        np.bincount(bins[inside & (period >= first) & (period <= last)], minlength=edges.size + 3) + 0.5
        for first, last in ((0, 0), (1, season.past))
    )
    p, q = like / like.sum(), current / current.sum()
    return float(((q - p) * np.log(q / p)).sum())


@SEASONS
async def test_a_cycle_is_no_drift_and_a_shift_within_it_is_found(connection: Connection, season: Season) -> None:
    log, shift_ms = events(season, 0.15), SHIFT_PERIOD * season.period_ms
    plain = await run_through(await watched(connection, "plain", season, seasonal=False), log, season, 2)
    made = await watched(connection, "seasonal", season)
    seasonal = await run_through(made, log, season, 2)

    def levels(rows: list[Row], from_ms: int, to_ms: int) -> list[str]:
        return [row["level"] for row in rows if from_ms < row["window_end"] <= to_ms]

    # Without the setting the cycle itself drifts, until so much swinging is taken for usual and hides the shift, too.
    assert levels(plain, 0, 2 * season.period_ms).count("drift") >= 5
    assert "drift" not in levels(plain, shift_ms, PERIODS * season.period_ms)
    # Three past periods are needed, then it is quiet until the shift.
    assert set(levels(seasonal, 0, 3 * season.period_ms)) == {"not_ready"}
    assert set(levels(seasonal, 3 * season.period_ms, shift_ms)) <= {"ok", "warning"}
    assert levels(seasonal, shift_ms, shift_ms + season.period_ms).count("drift") >= 5
    assert (await made.counts())["season_unknown"] == 3 * WINDOWS
    assert {row["reason"] for row in seasonal if row["level"] == "not_ready"} == {"season_unknown"}
    assert {row["reason"] for row in [*plain, *seasonal] if row["level"] != "not_ready"} == {None}


@SEASONS
async def test_the_reference_is_the_like_phases_and_the_pieces_in_which_events_come_change_nothing(
    connection: Connection, season: Season
) -> None:
    log = events(season, 0.0)
    pieces = await run_through(await watched(connection, "pieces", season), log, season, 1)
    at_once = await run_through(await watched(connection, "whole", season), log, season, PERIODS)
    told = ("window_start", "window_end", "score", "threshold", "p_value", "n_reference", "n_current", "level")
    assert [[row[name] for name in told] for row in pieces] == [[row[name] for name in told] for row in at_once]

    values = [event["features"]["x"] for event in reference(season)]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 11)[1:-1]))
    judged = [row for row in pieces if row["level"] != "not_ready"]
    assert len(judged) == (PERIODS - 3) * WINDOWS
    for row in judged:
        assert row["score"] == pytest.approx(psi_of_like_phases(log, season, row["window_end"], edges), abs=1e-12)
    assert all(row["n_reference"] == 0 for row in pieces if row["level"] == "not_ready")
