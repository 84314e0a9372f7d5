"""The same job as a stock Faust agent does it: an event at a time, river's ADWIN, PSI over windows in memory.

Less than the same job: all traffic only, no segments, no p-values, nothing durable.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import faust
import numpy as np
from river.drift import ADWIN

BOOTSTRAP_SERVERS, TOPIC, EVENTS, REFERENCE = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
WINDOW_MS = 120_000
GRACE_MS = 600_000

reference = json.loads(REFERENCE.read_text())
numeric = list(reference["numeric"])
categorical = list(reference["categorical"])
edges = {name: np.array(of["edges"]) for name, of in reference["numeric"].items()}

app = faust.App(
    f"bench-faust-{TOPIC}-{id(object())}",
    broker=f"kafka://{BOOTSTRAP_SERVERS}",
    store="memory://",
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    topic_allow_declare=False,
)
events = app.topic(TOPIC, key_serializer="raw", value_serializer="json")


def psi(current: np.ndarray, expected: list[int]) -> float:
    """Compare two histograms."""
    wanted = np.array(expected)
    p = (current + 0.5) / (current.sum() + 0.5 * len(current))
    q = (wanted + 0.5) / (wanted.sum() + 0.5 * len(wanted))
    return float(((p - q) * np.log(p / q)).sum())


def judge(rows: list[tuple]) -> dict[str, float]:
    """Compare a window with the reference, feature by feature."""
    columns = list(zip(*rows, strict=True))
    scores = {}
    for name, column in zip(numeric, columns, strict=False):
        bins = np.searchsorted(edges[name], np.array(column))
        scores[name] = psi(np.bincount(bins, minlength=len(edges[name]) + 1), reference["numeric"][name]["counts"])
    for name, column in zip(categorical, columns[len(numeric) :], strict=True):
        place = {value: index for index, value in enumerate(reference["categorical"][name]["values"])}
        counts = np.bincount([place[value] for value in column], minlength=len(place))
        scores[name] = psi(counts, reference["categorical"][name]["counts"])
    return scores


@app.agent(events)
async def watch(stream):
    """Watch every feature of every event."""
    detectors = {name: ADWIN() for name in numeric}
    windows: dict[int, list[tuple]] = defaultdict(list)
    found, drifts, newest, seen = {}, [], 0, 0
    async for event in stream:
        if seen == 0:
            print("first", flush=True)
        seen += 1
        features, at = event["features"], event["timestamp"]
        for name, detector in detectors.items():
            detector.update(features[name])
            if detector.drift_detected:
                drifts.append((name, at))
        windows[at // WINDOW_MS].append(
            (*[features[name] for name in numeric], *[features[name] for name in categorical])
        )
        if at > newest:
            newest = at
            for start in [start for start in windows if (start + 1) * WINDOW_MS + GRACE_MS <= newest]:
                found[start] = judge(windows.pop(start))
        if seen == EVENTS:
            for start in list(windows):
                found[start] = judge(windows.pop(start))
            print("last", flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    faust.Worker(app, loglevel="error", redirect_stdouts=False).execute_from_commandline()
