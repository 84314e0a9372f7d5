"""What does `driftline capacity` reckon with? What the committed benchmarks say, written whenever they are.

Invariant: `driftline/capacity/measured.json` holds nothing that is not in `results.json`, `store.json` and `scale.md`
of `docs/benchmarks`. What of `scale.md` it holds stands here, since that page is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.setting.traffic import CATEGORIES, LABELLED_SHARE, NUMERIC

PROJECT = Path(__file__).parents[2]
COMMITTED = PROJECT / "docs" / "benchmarks"
CONSTANTS = PROJECT / "driftline" / "capacity" / "measured.json"
ROWS = {"drift": "driftline", "labels": "driftline-labels"}
PARTS = ("worker", "database", "broker")
TABLES = ("prediction", "label", "rollup", "verdict", "performance")

SCALE_COMMANDS = ("python -m benchmarks.measuring.evaluation", "python -m benchmarks.measuring.models")
CLOSING_US = {"worker": {"model": 12_000, "series": 85}, "postgres": {"model": 5_000, "series": 35}}
"""A line through two measured points: 21 groups of 102 series take the worker 193 ms and Postgres 70 to 85, 4 of 22
take 20 and 8."""
FETCH_OF_MODELS = {"events": 17_000, "worker_us": 680, "postgres_us": 120}
"""An event of 200 models takes the worker 14 us and Postgres 1.6, of one model 6 and 0.2: 85 events a model and fetch
times the difference."""


def write_constants(folder: Path) -> None:
    """Write the constants anew if what is in a folder is what is committed, and says all that they need."""
    if folder.resolve() != COMMITTED:
        return
    results, store = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "store"))
    if (constants := constants_of(results, store)) is not None:
        CONSTANTS.write_text(json.dumps(constants, indent=2) + "\n")


def constants_of(results: Mapping[str, Any], store: Mapping[str, Any]) -> dict[str, Any] | None:
    """Choose the constants from what was measured; None while a row of them is missing.

    Parameters
    ----------
    results
        The content of `results.json`.
    store
        The content of `store.json`.
    """
    of_name = {row["name"]: row for row in results["rows"]}
    rows = {kind: of_name.get(name, {}) for kind, name in ROWS.items()}
    if not all(set(PARTS) <= row.get("cpu_us_per_event", {}).keys() for row in rows.values()):
        return None
    worker, database, broker = ({kind: row["cpu_us_per_event"][part] for kind, row in rows.items()} for part in PARTS)
    machine, runs = results["machine"], [row["run"] for row in rows.values()]
    place = f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_mib'] / 1024:.0f} GiB"
    return {
        "on": max(store["date"], *(run["date"] for run in runs)),
        "machine": f"{place}, broker and database beside the worker",
        "commands": [*dict.fromkeys(run["command"] for run in runs), store["command"], *SCALE_COMMANDS],
        "worker_core_us": worker,
        "postgres_core_us": database,
        "broker_core_us": broker,
        "label_share": LABELLED_SHARE,
        "features": len(NUMERIC) + len(CATEGORIES),
        "worker_mib": max(row["peak_mib"]["worker"] for row in rows.values()),
        "closing_us": CLOSING_US,
        "fetch_of_models": FETCH_OF_MODELS,
        "bytes_a_row": {table: store["bytes_a_row"][table] for table in TABLES},
    }
