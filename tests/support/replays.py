"""Replays as real processes, and what they wrote, as rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, str]

EMPLOYMENT: dict[str, Any] = {
    "task": "binary",
    "positive_class": 1,
    "columns": {
        "id": "id",
        "time": "timestamp",
        "prediction": "prediction",
        "score": "predicted_probability",
        "label": "employed",
    },
    "segments": ["SEX"],
}
"""The model of the public employment data, without its reference and windows."""


@dataclass(frozen=True)
class Replayed:
    """What one replay left behind."""

    folder: Path
    summary: dict[str, Any]

    @property
    def drift(self) -> list[Row]:
        """Rows of `drift.csv`."""
        return _read(self.folder / "drift.csv")

    @property
    def performance(self) -> list[Row]:
        """Rows of `performance.csv`."""
        return _read(self.folder / "performance.csv")


def replay(
    folder: Path, model: dict[str, Any], predictions: Path, labels: Path | None, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `driftline replay` to its end; the configuration goes to `folder`, the results to `folder`/out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "monitor.yaml").write_text(json.dumps({"models": {"m": model}}))  # JSON is YAML
    command = [sys.executable, "-m", "driftline.cli", "replay", "--config", str(folder / "monitor.yaml")]
    command += ["--predictions", str(predictions), "--out", str(folder / "out"), *arguments, "--json"]
    command += [] if labels is None else ["--labels", str(labels)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def replayed(folder: Path, model: dict[str, Any], predictions: Path, labels: Path | None, *arguments: str) -> Replayed:
    """Run `driftline replay`, which must succeed."""
    done = replay(folder, model, predictions, labels, *arguments)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert summary == json.loads((folder / "out" / "summary.json").read_text())
    return Replayed(folder / "out", summary)


def _read(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
