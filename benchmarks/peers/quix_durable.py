"""Quix Streams with one durable tumbling window: the mean of one feature, kept in RocksDB and in a changelog topic.

Far less than the same job: one statistic of one feature. It has a window for each key of the topic.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from datetime import timedelta

from quixstreams import Application
from quixstreams.models import TopicConfig

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])

seen = 0


def count(event: dict) -> None:
    """Count an event that is about to enter its window."""
    global seen
    if seen == 0:
        print("first", flush=True)
    seen += 1
    if seen == EVENTS:
        print("last", flush=True)
        sys.stdin.read()


with tempfile.TemporaryDirectory() as state:
    app = Application(
        broker_address=BOOTSTRAP_SERVERS,
        consumer_group=f"bench-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        state_dir=state,
        loglevel="ERROR",
    )
    topic = app.topic(
        TOPIC,
        key_deserializer="str",
        value_deserializer="json",
        timestamp_extractor=lambda value, headers, timestamp, kind: value["timestamp"],
        config=TopicConfig(num_partitions=4, replication_factor=1),
    )
    stream = app.dataframe(topic)
    stream = stream.update(count).apply(lambda event: event["features"]["amount"])
    stream.tumbling_window(timedelta(minutes=2)).mean().final()
    app.run()
