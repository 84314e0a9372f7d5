"""A stock Faust agent with one durable tumbling window: the sum of one feature, kept in a changelog topic.

Far less than the same job: one statistic of one feature.
"""

from __future__ import annotations

import secrets
import sys
import tempfile

import faust

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])
PARTITIONS = 4

app = faust.App(
    f"bench-faust-{secrets.token_hex(4)}",
    broker=f"kafka://{BOOTSTRAP_SERVERS}",
    store="memory://",
    datadir=tempfile.mkdtemp(),
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    topic_partitions=PARTITIONS,
)
events = app.topic(TOPIC, key_serializer="raw", value_serializer="json")
sums = app.Table("sums", default=float, partitions=PARTITIONS).tumbling(120.0, key_index=False)


@app.agent(events)
async def watch(stream):
    """Add up one feature by segment and window."""
    seen = 0
    async for event in stream:
        if seen == 0:
            print("first", flush=True)
        seen += 1
        sums[event["segment"]["region"]] += event["features"]["amount"]
        if seen == EVENTS:
            print("last", flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    faust.Worker(app, loglevel="error", redirect_stdouts=False).execute_from_commandline()
