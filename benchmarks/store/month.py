"""Where does a month of results come from?

The first day of the first model is written by the system itself: a replay of generated events. Every other day and
model is that day again, moved in time, so each row is one that the real code has written. Times are fixed; what is
drawn is drawn from a seed, or decides nothing but a score.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import parquet

from driftline.settings import load_settings
from driftline.store import statements_in
from driftline.store.connection import Connection
from driftline.wiring.replay import ReplayRequest, run_replay
from streams.replay_files import ReplayTimes

START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURE_KINDS = {"numeric": 0.9, "categorical": 0.1}
DRIFT_HOURS = range(8, 13)
LABEL_DELAY_HOURS_MAX = 3.0


@dataclass(frozen=True, slots=True)
class Month:
    """How much of everything.

    Parameters
    ----------
    segments
        Values of the one segment field; all traffic comes on top.
    predictions_a_day
        Of each model.
    """

    models: int = 10
    features: int = 20
    segments: int = 3
    days: int = 30
    predictions_a_day: int = 12_000
    label_share: float = 0.2

    @property
    def end(self) -> datetime:
        """When the month is over."""
        return START + timedelta(days=self.days)


def write_day(folder: Path, month: Month) -> Path:
    """Write one day's events of one model as files, and a configuration for them; return the configuration's path."""
    rng = np.random.default_rng(1)
    n, n_numeric = month.predictions_a_day, round(month.features * FEATURE_KINDS["numeric"])
    hours = np.sort(rng.uniform(0, 24, n))
    drifts = (hours >= DRIFT_HOURS.start) & (hours < DRIFT_HOURS.stop)
    columns = {f"f{place:03d}": rng.normal(size=n) + (place == 0) * drifts for place in range(n_numeric)}
    columns |= {f"f{place:03d}": rng.choice(list("abcde"), n) for place in range(n_numeric, month.features)}
    columns["region"] = rng.choice([f"r{value}" for value in range(month.segments)], n)
    score = 1 / (1 + np.exp(-rng.normal(-1, 1, n)))
    truth = (rng.uniform(size=n) < score).astype(np.int64)
    ids = np.array([f"p{row}" for row in range(n)])
    events = {
        "id": ids,
        "time": _instants(hours),
        "version": np.full(n, "v1"),
        "prediction": (score > 0.5).astype(np.int64),
        "score": score,
        **columns,
    }
    parquet.write_table(pa.table(events), folder / "predictions.parquet")
    reference = {**events, **{name: rng.permutation(values) for name, values in columns.items()}, "label": truth}
    reference["f000"] = rng.normal(size=n)
    parquet.write_table(pa.table(reference), folder / "reference.parquet")
    labelled = rng.uniform(size=n) < month.label_share
    delayed = _instants(hours[labelled] + rng.uniform(0, LABEL_DELAY_HOURS_MAX, labelled.sum()))
    labels = {"id": ids[labelled], "time": delayed, "label": truth[labelled]}
    parquet.write_table(pa.table(labels), folder / "labels.parquet")
    model = {
        "task": "binary",
        "positive_class": 1,
        "reference": {"path": "reference.parquet"},
        "columns": {name: name for name in ("id", "time", "version", "prediction", "score", "label")},
        "features": [
            {"name": name, "type": "categorical" if place >= n_numeric else "numeric"}
            for place, name in enumerate(columns)
            if name != "region"
        ],
        "segments": ["region"],
        "windows": {"length": "1h", "min_events": 100},
        "labels": {"horizon": "30d"},
        "performance": {"min_labelled": 20, "floor": {"recall": 0.01}},
    }
    (folder / "monitor.yaml").write_text(yaml.safe_dump({"models": {"model-001": model}}))
    return folder / "monitor.yaml"


def _instants(hours: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pa.Array:
    return pa.array((START.timestamp() * 1000 + hours * 3_600_000).astype(np.int64), pa.timestamp("ms", "UTC"))


async def fill(
    connection: Connection, url: str, month: Month, told: Callable[[str], object] = lambda what: None
) -> None:
    """Fill an empty store with a month.

    Parameters
    ----------
    url
        Of the same database, which a replay opens for itself.
    told
        Told what is being done.
    """
    told("one day of one model, by a replay")
    with tempfile.TemporaryDirectory(prefix="driftline-month-") as made:
        folder = Path(made)
        config = write_day(folder, month)
        request = ReplayRequest(
            "model-001",
            (folder / "predictions.parquet",),
            (folder / "labels.parquet",),
            folder / "out",
            ReplayTimes(),
            url,
        )
        await run_replay(load_settings(config, {}), request, lambda *_: None)
    parameters = {"models": month.models, "days": month.days, "first": START, "last": month.end}
    statements = statements_in(resources.files(__package__))
    for name, statement in statements.items():
        if name in OF_A_DAY:
            continue
        told(name.removeprefix("month_"))
        await connection.execute(statement.encode(), parameters)
    for day in range(month.days):
        for name in OF_A_DAY:
            told(f"{name.removeprefix('month_')} of day {day + 1}")
            await connection.execute(statements[name].encode(), {**parameters, "day": day})
    told("vacuum analyze")
    await connection.execute("vacuum analyze")


OF_A_DAY = ("month_predictions", "month_labels")
"""Statements that are run day by day, as their rows come."""
