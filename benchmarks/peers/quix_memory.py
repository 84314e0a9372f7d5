"""Quix Streams that counts in memory: the bins of every feature by window, from which PSI follows when a window ends.

Less than the same job: all traffic only, no segments, no ADWIN, no p-values, nothing durable.
"""

from __future__ import annotations

import json
import math
import secrets
import sys
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

from quixstreams import Application

BOOTSTRAP_SERVERS, TOPIC, EVENTS, REFERENCE = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
WINDOW_MS = 120_000
GRACE_MS = 600_000

reference = json.loads(REFERENCE.read_text())
edges = [(name, of["edges"]) for name, of in reference["numeric"].items()]
wanted = {name: dict(enumerate(of["counts"])) for name, of in reference["numeric"].items()}
wanted |= {name: dict(zip(of["values"], of["counts"], strict=True)) for name, of in reference["categorical"].items()}
categorical = list(reference["categorical"])

seen = newest = 0
windows: dict[int, dict] = defaultdict(lambda: {name: defaultdict(int) for name in wanted})
found: dict[int, dict[str, float]] = {}


def judge(counts: dict) -> dict[str, float]:
    """Compare a window with the reference, feature by feature."""
    scores = {}
    for name, expected in wanted.items():
        n, m = sum(counts[name].values()), sum(expected.values())
        k = len(expected)
        pairs = [((counts[name][bin] + 0.5) / (n + k / 2), (of + 0.5) / (m + k / 2)) for bin, of in expected.items()]
        scores[name] = sum((p - q) * math.log(p / q) for p, q in pairs)
    return scores


def count(event: dict) -> None:
    """Count an event's features."""
    global seen, newest
    if seen == 0:
        print("first", flush=True)
    seen += 1
    features, at = event["features"], event["timestamp"]
    counts = windows[at // WINDOW_MS]
    for name, bounds in edges:
        counts[name][bisect_left(bounds, features[name])] += 1
    for name in categorical:
        counts[name][features[name]] += 1
    if at > newest:
        newest = at
        for start in [start for start in windows if (start + 1) * WINDOW_MS + GRACE_MS <= newest]:
            found[start] = judge(windows.pop(start))
    if seen == EVENTS:
        for start in list(windows):
            found[start] = judge(windows.pop(start))
        print("last", flush=True)
        sys.stdin.read()


app = Application(
    broker_address=BOOTSTRAP_SERVERS,
    consumer_group=f"bench-{secrets.token_hex(4)}",
    auto_offset_reset="earliest",
    auto_create_topics=False,
    loglevel="ERROR",
)
stream = app.dataframe(app.topic(TOPIC, key_deserializer="bytes", value_deserializer="json"))
stream.update(count)
app.run()
