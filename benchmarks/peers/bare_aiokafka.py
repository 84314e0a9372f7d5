"""The limit of reading as we do it: aiokafka hands over whole fetches, and nothing is done with them."""

from __future__ import annotations

import asyncio
import secrets
import sys

from aiokafka import AIOKafkaConsumer

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def main() -> None:
    """Read to the end."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP_SERVERS,
        group_id=f"bench-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    await consumer.getone()
    print("first", flush=True)
    seen = size = 0
    while seen < EVENTS - 1:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            seen += len(records)
            size += sum(len(record.value) for record in records)
    print("last", flush=True)
    sys.stdin.read()


asyncio.run(main())
