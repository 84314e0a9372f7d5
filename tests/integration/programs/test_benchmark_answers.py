"""Do rows that run in the benchmark's own process notice when what they measure computes the wrong thing?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as program
from benchmarks.measuring import models, scale
from benchmarks.setting import traffic
from benchmarks.setting.brute_force import check_outcomes
from benchmarks.setting.model import model_settings
from benchmarks.setting.services import Services
from benchmarks.setting.stage import Size, Stage, WrongAnswerError
from driftline.events import Decoded
from streams.committing.commit import Committed, Pipeline, Position
from tests.support import pipelines
from tests.support.pipelines import Lab, lab, migrated

pytestmark = pytest.mark.postgres

NO_BROKER: Any = None
"""None is asked for."""

EVENTS, SECONDS = 4_000, 250_000
"""Of nearly three days."""


def services_of(postgres_server_url: str) -> Services:
    """Say that this process is the database: what it takes is not looked at."""
    return Services(NO_BROKER, postgres_server_url, {"database": psutil.Process()})


def stage_of(postgres_server_url: str, folder: Path) -> Stage:
    return Stage(services_of(postgres_server_url), Size(1, 1), folder, folder)


async def with_scores_of_a_model_turned(
    connection: Any, pipeline: Pipeline, position: Position, decoded: Decoded, *rest: Any
) -> Committed | None:
    """Commit a fetch in which one of many models is not what its events say."""
    if "model-1" in decoded.predictions:
        batch = decoded.predictions["model-1"]
        decoded.predictions["model-1"] = replace(batch, score=1 - batch.score)
    return await models_commit(connection, pipeline, position, decoded, *rest)


models_commit = models.commit_fetch


def test_many_models_are_measured_if_every_cell_of_their_panes_is_what_numpy_counts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FETCH_EVENTS", 900)

    cost = asyncio.run(models.measure(postgres_url, 3, 1, psutil.Process()))

    assert cost.worker_us > 0
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("select count(*), sum(n) from driftline.pane where segment = -1").fetchone()
    assert found == (2 * 3, 2 * 900)  # the fetch that warms up is compared, too


def test_a_run_in_which_one_of_many_models_is_wrong_fails_and_names_its_row(
    postgres_server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def services() -> Iterator[Services]:
        yield services_of(postgres_server_url)

    monkeypatch.setattr(program, "services", services)
    monkeypatch.setattr(models, "FETCH_EVENTS", 600)
    monkeypatch.setattr(models, "commit_fetch", with_scores_of_a_model_turned)
    monkeypatch.setattr(scale, "FETCHES", 1)
    row = replace(program.ROWS["models-200"], measure=lambda stage: scale.measure_models(stage, 2))
    monkeypatch.setattr(program, "ROWS", {"models-200": row})

    done = CliRunner().invoke(program.main, ["--rows", "models-200", "--turns", "1"])

    assert done.exit_code == 1
    assert (
        "models-200: WrongAnswerError: 4 of 8 panes hold something else, such as that of ('model-1', '*')"
        in done.stderr
    )


def test_closed_windows_are_measured_if_they_are_those_of_a_replay_and_fail_if_they_are_not(
    postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "FEATURES", 3)
    monkeypatch.setattr(scale, "WINDOWS", 1)
    monkeypatch.setattr(scale, "USUAL", scale.Shape(features=4, segments=2))
    monkeypatch.setattr(scale, "BACKLOG_PANES", (60, 120, 180))
    stage = stage_of(postgres_server_url, tmp_path)

    wide, backlog = scale.measure_window(stage, 2).figures, scale.measure_arrears(stage).figures
    assert wide["window_ms"] > 0
    assert backlog["panes_per_s"] > 0
    assert min(wide["window_worker_ms"], backlog["window_worker_ms"]) > 0

    for expected in stage.made.values():
        assert len({row["window_end"] for row in expected["drift"]}) in (2, 3)
        expected["drift"][0]["score"] *= 1 + 1e-12
    with pytest.raises(WrongAnswerError, match="v_drift differs from a replay in 2 rows"):
        scale.measure_window(stage, 2)
    with pytest.raises(WrongAnswerError, match="v_drift differs from a replay in 2 rows"):
        scale.measure_arrears(stage)


def test_labels_are_measured_if_what_came_of_them_is_what_numpy_counts(postgres_url: str) -> None:
    events = traffic.make_traffic(EVENTS, 1, events_a_second=EVENTS / SECONDS)
    predictions = [message.value for message in traffic.json_predictions(events, 1)]
    labels = [message.value for message in traffic.json_labels(events, 1)]
    settings = model_settings(Path("none"), labels=True) | {"windows": {"length": "1d"}}

    async def join(joins: Lab) -> None:
        for topic, values in (("predictions", predictions), ("labels", labels[:500]), ("labels", labels[500:])):
            done = await joins.commit(topic, *values, record_ms=int(events.time_ms[-1]))
            assert done is not None
            assert not done.dead

    async def go() -> None:
        async with migrated(postgres_url) as connection:
            joins = await lab(connection, settings, name=traffic.MODEL)
            await join(joins)
            await joins.close(int(events.time_ms[EVENTS // 2]) - pipelines.START_MS, restate="not now")

    asyncio.run(go())

    with psycopg.connect(postgres_url) as connection:
        check_outcomes(connection, events, [events])
        rolled_up = connection.execute("select count(*) from driftline.rollup where kind = 'cohort'").fetchone()
        assert rolled_up is not None
        assert rolled_up[0] > 0
        wrong = np.where(np.arange(len(events.label)) == 7, 1 - events.label, events.label)
        with pytest.raises(WrongAnswerError, match=r"4 of \d+ counts of labelled predictions are wrong"):
            check_outcomes(connection, events, [replace(events, label=wrong)])
