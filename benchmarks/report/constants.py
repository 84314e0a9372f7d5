"""What does `driftline capacity` reckon with? What the committed benchmarks say, written whenever they are.

Invariant: `driftline/capacity/measured.json` holds nothing that does not follow from `results.json` and `store.json` of
`docs/benchmarks`, and what `docs/capacity.md` shows of it follows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring.evaluation import Shape
from benchmarks.measuring.models import FETCH_EVENTS
from benchmarks.measuring.scale import FEATURES, SEGMENTS, USUAL
from benchmarks.report.capacity import write_capacity
from benchmarks.setting.traffic import CATEGORIES, LABELLED_SHARE, NUMERIC
from driftline.capacity import WATCHED_BESIDE_FEATURES

PROJECT = Path(__file__).parents[2]
COMMITTED = PROJECT / "docs" / "benchmarks"
CONSTANTS = PROJECT / "driftline" / "capacity" / "measured.json"
CAPACITY = PROJECT / "docs" / "capacity.md"
ROWS = {"drift": "driftline", "labels": "driftline-labels"}
PARTS = ("worker", "database", "broker")
TABLES = ("prediction", "label", "rollup", "verdict", "performance")

WINDOWS = {"window": Shape(FEATURES, SEGMENTS), "arrears": USUAL}
"""Rows that close windows, of a wide and of a usual model."""
MODELS = ("models-200", "models-1000")
FIGURES = {
    **dict.fromkeys(WINDOWS, ("window_worker_ms", "window_database_ms")),
    **dict.fromkeys(MODELS, ("model_worker_us", "model_database_us")),
}


def write_constants(folder: Path) -> None:
    """Write the constants anew if what is in a folder is what is committed, and says all that they need."""
    if folder.resolve() != COMMITTED:
        return
    results, store = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "store"))
    if (constants := constants_of(results, store)) is not None:
        CONSTANTS.write_text(json.dumps(constants, indent=2) + "\n")
        write_capacity(CAPACITY, constants)


def constants_of(results: Mapping[str, Any], store: Mapping[str, Any]) -> dict[str, Any] | None:
    """Choose the constants from what was measured; None while a row of them, or a figure, is missing.

    Parameters
    ----------
    results
        The content of `results.json`.
    store
        The content of `store.json`.
    """
    of_name = {row["name"]: row for row in results["rows"]}
    rows = {kind: of_name.get(name, {}) for kind, name in ROWS.items()}
    figures = {name: of_name.get(name, {}).get("figures", {}) for name in FIGURES}
    if not all(set(PARTS) <= row.get("cpu_us_per_event", {}).keys() for row in rows.values()):
        return None
    if not all(set(needed) <= figures[name].keys() for name, needed in FIGURES.items()):
        return None
    worker, database, broker = ({kind: row["cpu_us_per_event"][part] for kind, row in rows.items()} for part in PARTS)
    machine, runs = results["machine"], [of_name[name]["run"] for name in (*ROWS.values(), *FIGURES)]
    place = f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_mib'] / 1024:.0f} GiB"
    return {
        "on": max(store["date"], *(run["date"] for run in runs)),
        "machine": f"{place}, broker and database beside the worker",
        "commands": [*dict.fromkeys(run["command"] for run in runs), store["command"]],
        "worker_core_us": worker,
        "postgres_core_us": database,
        "broker_core_us": broker,
        "label_share": LABELLED_SHARE,
        "features": len(NUMERIC) + len(CATEGORIES),
        "worker_mib": max(row["peak_mib"]["worker"] for row in rows.values()),
        "closing_us": {part: closing_us(figures, name) for part, name in _WINDOW_MS.items()},
        "fetch_of_models": {"events": FETCH_EVENTS}
        | {part: round(max(figures[row][name] for row in MODELS)) for part, name in _MODEL_US.items()},
        "bytes_a_row": {table: store["bytes_a_row"][table] for table in TABLES},
    }


_WINDOW_MS = {"worker": "window_worker_ms", "postgres": "window_database_ms"}
_MODEL_US = {"worker_us": "model_worker_us", "postgres_us": "model_database_us"}


def closing_us(figures: Mapping[str, Mapping[str, float]], name: str) -> dict[str, float]:
    """Draw a line through what closing a window of a wide and of a usual model takes: by model, and by watched series.

    Parameters
    ----------
    figures
        Of the rows of `WINDOWS`.
    name
        The figure of the part, in milliseconds.
    """
    (wide_series, wide_us), (series, us) = (
        ((shape.segments + 1) * (shape.features + WATCHED_BESIDE_FEATURES), 1000 * figures[row][name])
        for row, shape in WINDOWS.items()
    )
    a_series = (wide_us - us) / (wide_series - series)
    return {"model": round(us - a_series * series), "series": round(a_series, 1)}
