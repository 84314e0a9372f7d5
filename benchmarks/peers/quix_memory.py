"""Quix Streams that only counts, in memory: events and missing values by segment, a counter each.

Far less than the same job: no statistic, no window, nothing durable.
"""

from __future__ import annotations

import secrets
import sys
from collections import Counter

from quixstreams import Application

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])

seen = 0
counts: Counter[str] = Counter()


def count(event: dict) -> None:
    """Count an event."""
    global seen
    if seen == 0:
        print("first", flush=True)
    seen += 1
    counts[event["segment"]["region"]] += 1
    if seen == EVENTS:
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
