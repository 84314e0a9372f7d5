"""The physical limit of reading: confluent-kafka hands over messages, and nothing is done with them."""

from __future__ import annotations

import secrets
import sys

from confluent_kafka import Consumer

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])

consumer = Consumer(
    {
        "bootstrap.servers": BOOTSTRAP_SERVERS,
        "group.id": f"bench-{secrets.token_hex(4)}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 8 * 1024 * 1024,
    }
)
consumer.subscribe([TOPIC])
while not consumer.consume(1, timeout=1.0):
    pass
print("first", flush=True)
seen = size = 0
while seen < EVENTS - 1:
    messages = consumer.consume(10_000, timeout=0.1)
    seen += len(messages)
    size += sum(len(message.value()) for message in messages)
print("last", flush=True)
sys.stdin.read()
