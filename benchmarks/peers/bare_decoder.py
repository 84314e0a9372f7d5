"""The limit of decoding: our decoder makes columns of fetches that are in memory already, and nothing else happens."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer

from benchmarks.setting.model import model_settings
from benchmarks.setting.traffic import CATEGORIES, MODEL, NUMERIC
from driftline.events import FeatureType
from driftline.settings import load_settings
from streams.decode.decoder import Decoder
from streams.decode.messages import Records
from streams.decode.shapes import event_shape, topic_routes

BOOTSTRAP_SERVERS, TOPIC, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])


def make_decoder() -> Decoder:
    """Make the decoder of the model that our rows watch."""
    config = Path(f"decoder-{secrets.token_hex(4)}.yaml")
    kafka = {"bootstrap_servers": BOOTSTRAP_SERVERS, "topics": {"predictions": TOPIC}}
    config.write_text(json.dumps({"kafka": kafka, "models": {MODEL: model_settings(Path("none"), labels=False)}}))
    settings = load_settings(config, {})
    types = [FeatureType(name, "numeric") for name in NUMERIC]
    types += [FeatureType(name, "categorical") for name in CATEGORIES]
    shape = event_shape(MODEL, settings.models[MODEL], types)
    return Decoder({MODEL: shape}, topic_routes(settings), settings.limits, b"benchmark")


async def fetches() -> list[tuple[int, Records]]:
    """Read whole fetches, in the form in which our transport hands them over."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP_SERVERS,
        group_id=f"bench-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    read, seen = [], 0
    while seen < EVENTS:
        for at, records in (await consumer.getmany(timeout_ms=100)).items():
            some = records[: EVENTS - seen]
            seen += len(some)
            if some:
                timestamps, offsets = np.array([(record.timestamp, record.offset) for record in some], np.int64).T
                values, headers = [record.value for record in some], [record.headers for record in some]
                read.append((at.partition, Records(values, headers, timestamps, offsets)))
    await consumer.stop()
    return read


decoder, read = make_decoder(), asyncio.run(fetches())
print("first", flush=True)
decoded = sum(
    len(batch)
    for partition, records in read
    for batch in decoder.decode(TOPIC, partition, records).predictions.values()
)
assert decoded == EVENTS, decoded
print("last", flush=True)
sys.stdin.read()
