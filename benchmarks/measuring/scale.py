"""Rows about width and arrears: closing a wide window, a backlog of panes, and many models in one topic.

Each runs in this process over the stage's database, so what is measured is the work itself, not Kafka. Shares and
factors are of CPU time, of the worker's side and the database's together. Invariant: what was closed is afterwards
compared with a replay of the same events, to the last bit, and what was counted with numpy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from statistics import fmean, median
from typing import Any

import psycopg

from benchmarks.measuring.evaluation import HOUR_MS, MINUTE_MS, Shape, arrears, hours, replay_of, window
from benchmarks.measuring.models import measure, of_a_model
from benchmarks.report.results import Measured
from benchmarks.setting.checks import check_rows, closed_through, rows_of_views
from benchmarks.setting.stage import Stage

FEATURES, SEGMENTS = 100, 20
"""Of a wide model."""
WINDOWS = 7
USUAL = Shape(features=20, segments=3)
BACKLOG_PANES = (2_500, 5_000, 10_000)
"""One, two and four times as much; the last is a week of minutes."""
FETCHES = 3


Rows = dict[str, list[dict[str, Any]]]


def replayed_hours(stage: Stage, segments: int) -> Rows:
    """Tell what a replay finds in the events of the windows that `measure_window` closes."""
    return _replayed(stage, Shape(FEATURES, segments), hours(WINDOWS + 1))


def measure_window(stage: Stage, segments: int) -> Measured:
    """Close windows of 100 features and some segments, one by one; a group is a segment, or all traffic.

    Processor time is the mean over the windows, since of other processes it is told in steps of 10 ms.
    """
    server = stage.services.processes["database"]
    with stage.database() as url:
        closings = asyncio.run(window(url, Shape(FEATURES, segments), WINDOWS, server, merged=True))
        _check(url, replayed_hours(stage, segments))
    window_ms = 1000 * median(of.s for of in closings)
    figures = {
        "window_ms": window_ms,
        "group_ms": window_ms / (segments + 1),
        "window_worker_ms": 1000 * fmean(of.worker_cpu_s for of in closings),
        "window_database_ms": 1000 * fmean(of.database_cpu_s for of in closings),
    }
    return Measured(figures)


def replayed_backlog(stage: Stage) -> Rows:
    """Tell what a replay finds in the events of the largest backlog; the others are the first of them."""
    return _replayed(stage, USUAL, [(0, BACKLOG_PANES[-1])])


def measure_arrears(stage: Stage) -> Measured:
    """Close backlogs of one, two and four times as many panes; a factor of 1 is cost in proportion to work."""
    closings = []
    for panes in BACKLOG_PANES:
        with stage.database() as url:
            closings.append(asyncio.run(arrears(url, USUAL, panes, stage.services.processes["database"])))
            _check(url, replayed_backlog(stage))
    one, two, four = (of.worker_cpu_s + of.database_cpu_s for of in closings)
    windows = BACKLOG_PANES[-1] * MINUTE_MS // HOUR_MS
    figures = {
        "panes_per_s": BACKLOG_PANES[-1] / four,
        "factor_2x": two / one / 2,
        "factor_4x": four / one / 4,
        "window_worker_ms": 1000 * closings[-1].worker_cpu_s / windows,
        "window_database_ms": 1000 * closings[-1].database_cpu_s / windows,
    }
    return Measured(figures)


def measure_models(stage: Stage, models: int) -> Measured:
    """Compare fetches of many models with fetches of one."""
    costs = []
    for n in (1, models):
        with stage.database() as url:
            costs.append(asyncio.run(measure(url, n, FETCHES, stage.services.processes["database"])))
    one, many = costs
    worker_us, database_us = of_a_model(one, many, models)
    share = (one.worker_us + one.database_us) / (many.worker_us + many.database_us)
    return Measured({"share_of_one_model": share, "model_worker_us": worker_us, "model_database_us": database_us})


def _replayed(stage: Stage, shape: Shape, stretches: Iterable[tuple[int, int]]) -> Rows:
    def make() -> Rows:
        with stage.database() as url:
            asyncio.run(replay_of(url, shape, stretches))
            with psycopg.connect(url, autocommit=True) as connection:
                return rows_of_views(connection)

    found: Rows = stage.once(f"replay of {shape}", make)
    return found


def _check(url: str, expected: Rows) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        check_rows(connection, expected, closed_through(connection))
