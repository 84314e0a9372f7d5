"""How do ours and peers come to see the same streams, and what did each say? Peers are programs of their own.

Invariant: a peer that is not installed or fails has rows that say so, and the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.detection import ours_items, ours_windows
from benchmarks.detection.estimates import Windowed
from benchmarks.detection.items import AFTER as ITEMS_AFTER
from benchmarks.detection.items import NULL as ITEMS_NULL
from benchmarks.detection.items import Items
from benchmarks.detection.windows import AFTER, NULL, Windows
from detectors.windows.distances import DISTANCES
from driftline.settings import WINDOW_DETECTORS

SCRIPTS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[2] / ".venv-detection"
PEERS: Mapping[str, str] = {
    "river": "with_river.py",
    "frouros": "with_frouros.py",
    "alibi-detect": "with_alibi_detect.py",
    "evidently": "with_evidently.py",
    "nannyml": "with_nannyml.py",
}
OURS, BASELINE = "driftline", "baseline"
SECONDS_MAX = 3_600
# Some peers report their use to their makers unless told not to.
_QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}


@dataclass(frozen=True)
class Streams:
    """All that is to be watched; `slow` is how many streams of each kind a slow detector gets."""

    items: Mapping[str, Items]
    windows: Mapping[str, Sequence[Windows]]
    estimates: Sequence[Windowed]
    slow: int


class Said(NamedTuple):
    """What one detector said.

    Parameters
    ----------
    table
        `items` or `windows`.
    alarms
        By family and stream, places of alarms: items, or (window, feature).
    missing
        Why there are none, if so.
    refused
        Families whose values the detector does not take, with its error.
    """

    table: str
    tool: str
    detector: str
    sees: str
    version: str
    alarms: Mapping[str, Any]
    missing: str | None = None
    refused: Mapping[str, str] = {}


class Peer(NamedTuple):
    """What a peer said, and its estimates by data set and metric."""

    said: list[Said]
    estimates: Mapping[str, Mapping[str, Sequence[float]]]


def ours(streams: Streams, version: str) -> Iterator[Said]:
    """Yield what our detectors say."""
    for name, row in ours_items.ROWS.items():
        found = {family: ours_items.alarms_of(row, items) for family, items in streams.items.items()}
        yield Said("items", OURS, name, "values", version, found)
    counted = {family: [ours_windows.count(windows) for windows in of] for family, of in streams.windows.items()}
    for name in WINDOW_DETECTORS:
        alarms = {family: [ours_windows.alarms_of(name, windows) for windows in of] for family, of in counted.items()}
        sees = "numeric features" if DISTANCES[name].is_ordered else "all features"
        yield Said("windows", OURS, name, sees, version, alarms)
        if name == "psi":
            lasting = {family: [ours_windows.in_a_row(stream) for stream in of] for family, of in alarms.items()}
            yield Said("windows", OURS, f"psi, {ours_windows.IN_A_ROW} in a row: an episode", sees, version, lasting)


def baselines(streams: Streams) -> Iterator[Said]:
    """Yield a detector that always alarms and one that never does."""
    end = ITEMS_NULL + ITEMS_AFTER
    always = {family: [list(range(end)) for _ in items.values] for family, items in streams.items.items()}
    yield Said("items", BASELINE, "always alarms", "values", "", always)
    yield Said(
        "items", BASELINE, "never alarms", "values", "", {family: [[] for _ in of] for family, of in always.items()}
    )
    at_once = {
        family: [[(number, name) for number in range(NULL + AFTER) for name in of.reference] for of in windows]
        for family, windows in streams.windows.items()
    }
    yield Said("windows", BASELINE, "always alarms", "all features", "", at_once)
    nothing = {family: [list[Any]() for _ in of] for family, of in at_once.items()}
    yield Said("windows", BASELINE, "never alarms", "all features", "", nothing)


def peer(name: str, streams: Streams) -> Peer:
    """Let a peer watch the streams, in its own environment."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        return _missing(name, "not installed here; make bench-detection does it")
    with tempfile.TemporaryDirectory(prefix="driftline-detection-") as made:
        folder = Path(made)
        write_streams(folder, streams)
        command = [str(python), str(SCRIPTS / PEERS[name]), str(folder)]
        try:
            subprocess.run(command, check=True, timeout=SECONDS_MAX, env=os.environ | _QUIET, stdout=subprocess.DEVNULL)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return _missing(name, f"failed: {type(error).__name__}")
        found = json.loads((folder / f"{name}.json").read_text())
    said = [
        Said(table, name, detector, of["sees"], found["version"], of["alarms"], refused=of["refused"])
        for table in ("items", "windows")
        for detector, of in found[table].items()
    ]
    return Peer(said, found["estimates"].get("CBPE", {}))


def _missing(name: str, why: str) -> Peer:
    return Peer([Said(table, name, "all of it", "", "", {}, why) for table in ("items", "windows")], {})


def write_streams(folder: Path, streams: Streams) -> None:
    """Write the streams as peers read them, see `peers/protocol.py`."""
    np.savez(folder / "items.npz", **{family: of.values for family, of in streams.items.items()})  # type: ignore[arg-type]
    plan: dict[str, Any] = {
        "items": {family: of.kind for family, of in streams.items.items()},
        "windows": {},
        "estimates": [],
        "n_windows": NULL + AFTER,
        "streams_of_slow": streams.slow,
    }
    for family, of in streams.windows.items():
        plan["windows"][family] = []
        for windows in of:
            name = f"windows-{len(plan['windows'])}-{len(plan['windows'][family])}.npz"
            # A column of the reference is called "r:NAME", one of all windows "w:NAME".
            columns = {f"r:{name}": column for name, column in windows.reference.items()}
            np.savez(folder / name, **columns, **{f"w:{name}": column for name, column in windows.rows.items()})  # type: ignore[arg-type]
            plan["windows"][family].append({"file": name, "size": windows.size})
    for number, (name, data, sizes) in enumerate(streams.estimates):
        file = f"estimates-{number}.npz"
        reference = {"r:predicted": data.predicted, "r:score": data.score, "r:label": data.label}
        np.savez(folder / file, **reference, **{"w:predicted": data.later_predicted, "w:score": data.later_score})  # type: ignore[arg-type]
        plan["estimates"].append({"name": name, "file": file, "sizes": sizes})
    (folder / "plan.json").write_text(json.dumps(plan))
