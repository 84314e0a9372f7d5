"""How fast is what one would write instead? Peers are programs of their own, in an environment of their own.

A peer prints `first` when it has the first event and `last` when it has dealt with the last one, and then waits to be
ended. Invariant: it drains the same messages as our rows, fewer of them where it is slow, and its rate counts what it
drained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring.usage import Meter
from benchmarks.report.results import Measured, NotMeasuredError
from benchmarks.setting.stage import REFERENCE_ROWS, REFERENCE_SEED, Stage
from benchmarks.setting.traffic import CATEGORIES, Traffic, make_traffic

SCRIPTS = Path(__file__).parents[1] / "peers"
BINS = 10


def measure_peer(stage: Stage, script: str, topic: str, events: int, *, python: Path | None = None) -> Measured:
    """Let a peer drain the first events of a topic.

    Parameters
    ----------
    python
        Which Python runs it, with our packages; by default that of the peers' environment, without.
    """
    interpreter = stage.peers if python is None else python
    if not interpreter.exists():
        raise NotMeasuredError("the peers are not installed; make bench does it")
    reference: Path = stage.once("reference of the peers", lambda: _reference(stage.folder))
    command = [str(interpreter), str(SCRIPTS / script), stage.bootstrap_servers, topic, str(events), str(reference)]
    errors = stage.folder / f"{script}.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=stage.folder,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS.parents[1])} if python else None,
        )
    try:
        _wait_for("first", process, errors)
        meter = Meter(psutil.Process(process.pid), stage.services.processes)
        meter.start()
        _wait_for("last", process, errors)
        return Measured.of(events, meter.stop())
    finally:
        process.kill()
        process.communicate()


def _wait_for(word: str, process: subprocess.Popen[str], errors: Path) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    text = errors.read_text()[-1500:]
    if "ModuleNotFoundError" in text:
        raise NotMeasuredError(f"not installed: {text.splitlines()[-1]}")
    raise RuntimeError(f"{errors.stem} ended:\n{text}")


def own_python() -> Path:
    """Return the Python that runs us, for what needs nothing but our own packages."""
    return Path(sys.executable)


def _reference(folder: Path) -> Path:
    """Write edges and counts of the reference, which a peer compares with."""
    path = folder / "peers.json"
    path.write_text(json.dumps(_summary(make_traffic(REFERENCE_ROWS, REFERENCE_SEED, moved_by=0.0))))
    return path


def _summary(events: Traffic) -> dict[str, dict[str, Any]]:
    numeric: dict[str, Any] = {}
    categorical: dict[str, Any] = {}
    for name, values in events.pool.numeric.items():
        column = values[events.row]
        edges = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))
        counts = np.bincount(np.searchsorted(edges, column), minlength=len(edges) + 1)
        numeric[name] = {"edges": edges.tolist(), "counts": counts.tolist()}
    for name, codes in events.pool.categorical.items():
        counts = np.bincount(codes[events.row], minlength=len(CATEGORIES[name]))
        categorical[name] = {"values": CATEGORIES[name], "counts": counts.tolist()}
    return {"numeric": numeric, "categorical": categorical}
