"""Do windows that nobody should have sent go through a whole replay, past every detector there is?"""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from driftline.settings.detectors import SEQUENTIAL_DETECTORS, WINDOW_DETECTORS
from tests.support.replays import replayed

pytestmark = pytest.mark.postgres

DETECTORS = [*WINDOW_DETECTORS, *SEQUENTIAL_DETECTORS, "river.drift.PageHinkley"]
START_MS, MINUTE_MS, PER_WINDOW = 1_704_067_200_000, 60_000, 60
ODD = {
    "constant": (["0.5"], ["a"]),
    "missing": ([""], [""]),
    "new categories": (["0.1", "0.4"], [f"new{row}" for row in range(PER_WINDOW)]),
    "huge": (["1e300", "-1e300", "inf", "-inf", "nan", "1e999"], ["a", "b"]),
}
SINGLE, USUAL_WINDOWS = 5 + len(ODD), 5


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def usual(chance: np.random.Generator, name: str, at_ms: int) -> dict[str, object]:
    made = {"id": name, "time": at_ms, "version": "1", "predicted": int(chance.random() < 0.5), "score": 0.5}
    x = float(chance.normal())
    return made | {"x": x, "y": x + 0.1 * float(chance.normal()), "c": "ab"[int(chance.random() < 0.5)]}


def test_odd_windows_leave_finite_verdicts_and_metrics_and_one_row_no_drift(tmp_path: Path, postgres_url: str) -> None:
    chance = np.random.default_rng(8)
    reference = write(tmp_path / "reference.csv", [usual(chance, f"r{row}", START_MS + row) for row in range(500)])
    rows, odd = [], list(ODD.values())
    for window in range(USUAL_WINDOWS + len(ODD)):
        for row in range(PER_WINDOW):
            made = usual(chance, f"{window}-{row}", START_MS + window * MINUTE_MS + row * 900)
            if window >= USUAL_WINDOWS:
                x, c = odd[window - USUAL_WINDOWS]
                made |= {"x": x[row % len(x)], "c": c[row % len(c)]}
            rows.append(made)
    rows.append(usual(chance, "alone", START_MS + SINGLE * MINUTE_MS + 1) | {"x": "1e300", "c": "never seen"})
    labels = [
        {"id": of["id"], "time": int(of["time"]) + 1, "truth": ["0", "1", "unheard"][n % 3]}
        for n, of in enumerate(rows)
    ]
    model = {
        "task": "binary",
        "columns": {"id": "id", "time": "time", "prediction": "predicted", "score": "score", "version": "version",
                    "label": "truth"},
        "features": [{"name": "x", "type": "numeric"}, {"name": "y", "type": "numeric"},
                     {"name": "c", "type": "categorical"}],
        "reference": {"path": str(reference)},
        "windows": {"length": "1m", "min_events": 1, "allowed_lateness": "0s"},
        "drift": {"detectors": DETECTORS, "reconstruction": True},
    }  # fmt: skip
    found = replayed(
        tmp_path / "run", model, write(tmp_path / "p.csv", rows), write(tmp_path / "l.csv", labels),
        "--database", postgres_url,
    )  # fmt: skip

    assert {row["detector"] for row in found.drift} >= set(DETECTORS)
    numbers = [row[name] for row in found.drift for name in ("score", "threshold", "p_value") if row[name]]
    numbers += [row[name] for row in found.performance for name in ("value", "low", "high") if row[name]]
    assert len(numbers) > 1_000
    assert all(math.isfinite(float(number)) for number in numbers)
    by_end = sorted({row["window_end"] for row in found.drift})
    assert len(by_end) == USUAL_WINDOWS + len(ODD) + 1
    alone = [row for row in found.drift if row["window_end"] == by_end[-1] and row["detector"] in WINDOW_DETECTORS]
    assert {row["feature"] for row in alone} >= {"x", "y", "c", "@reconstruction"}
    assert "drift" not in {row["level"] for row in alone}
    # What is wrong with the data is found, not passed over.
    gone = [row for row in found.drift if row["window_end"] == by_end[USUAL_WINDOWS + 1] and row["detector"] == "psi"]
    assert {row["feature"] for row in gone if row["level"] == "drift"} >= {"x", "c"}
