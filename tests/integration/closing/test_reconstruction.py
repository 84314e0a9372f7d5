"""Is it found, by a replay of files, that features stop going together, though each by itself looks as ever?"""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats

from driftline.settings import Settings
from driftline.wiring.replay import ReplayRequest, run_replay
from streams.replay_files import ReplayTimes
from tests.support.pipelines import MINUTE, START_MS
from tests.support.postgres import fresh_database

pytestmark = pytest.mark.postgres

N, WINDOWS = 1_000, 3
QUANTILES = stats.norm.ppf((np.arange(N) + 0.5) / N)


def going_together(correlation: float, chance: np.random.Generator) -> dict[str, np.ndarray]:
    """A window of three features, whose values are the same whatever the correlation: only their order is not."""
    a, noise, c = chance.normal(size=(3, N))
    features = {"a": a, "b": correlation * a + (1 - correlation**2) ** 0.5 * noise, "c": c}
    return {name: QUANTILES[np.argsort(np.argsort(of))] for name, of in features.items()}


def write(path: Path, correlation: float, seed: int) -> Path:
    chance = np.random.default_rng(seed)
    windows = [going_together(correlation, chance) for _ in range(WINDOWS)]
    n = N * WINDOWS
    features = {name: np.concatenate([of[name] for of in windows]) for name in windows[0]}
    times = pa.array(START_MS + np.arange(n) * (MINUTE // N), pa.timestamp("ms", "UTC"))
    # Each score is of either class as often, in each window alike.
    events = {"id": [f"p{row}" for row in range(n)], "time": times, "prediction": np.arange(n) % 2} | features
    parquet.write_table(pa.table(events | {"score": (np.arange(n) % N + 0.5) / N}), path)
    return path


@pytest.mark.parametrize("correlation", [0.9, -0.9])
async def test_two_features_that_go_the_other_way_are_drift_of_the_reconstruction_alone(
    postgres_server_url: str, tmp_path: Path, correlation: float
) -> None:
    model = {
        "task": "binary",
        "reference": {"path": str(write(tmp_path / "reference.parquet", 0.9, 1))},
        "columns": {name: name for name in ("id", "time", "prediction", "score")},
        "features": [{"name": name, "type": "numeric"} for name in "abc"],
        "windows": {"length": "1m", "allowed_lateness": "0s"},
        "drift": {"reconstruction": True},
    }
    predictions = write(tmp_path / "predictions.parquet", correlation, 2)
    with fresh_database(postgres_server_url) as url:
        request = ReplayRequest("m", (predictions,), (), tmp_path / "out", ReplayTimes(), url)
        await run_replay(Settings.model_validate({"models": {"m": model}}), request, lambda *_: None)

    with (tmp_path / "out" / "drift.csv").open(newline="") as file:
        verdicts = list(csv.DictReader(file))
    judged = {row["feature"] for row in verdicts if row["level"] != "not_ready"}
    assert judged >= {"a", "b", "c", "@reconstruction", "@score"}
    assert sum(row["feature"] == "@reconstruction" and row["detector"] == "psi" for row in verdicts) == WINDOWS
    drifted = {row["feature"] for row in verdicts if row["level"] in ("warning", "drift")}
    assert drifted == ({"@reconstruction"} if correlation < 0 else set())
