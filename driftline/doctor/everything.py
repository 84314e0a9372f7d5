"""Which checks can be made with this configuration, and in which order?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from driftline.doctor import Finding, fail, in_brief, ok
from driftline.doctor.bounds import check_memory
from driftline.doctor.files import check_configuration, check_embedded, check_references, check_seasons
from driftline.doctor.log import check_lag, check_positions, check_topics, check_watermark
from driftline.doctor.store import Position, Stored, check_store
from driftline.errors import DriftlineError
from driftline.kafka_admin import TopicUse, partition_ends, topic_ids, topic_uses
from driftline.settings import KafkaSettings, Settings


def check_everything(config: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check the configuration, its files, the database and the log; one finding after the other, as they are made."""
    yield from check_embedded()
    settings, findings = check_configuration(config, environ)
    yield from findings
    if settings is None:
        return
    yield from in_brief(check_references(settings))
    yield from in_brief(check_seasons(settings))
    uses = topic_uses(settings) if settings.kafka else {}
    stored = Stored()
    if settings.postgres is None:
        yield ok("postgres", "not configured: only replay can be run")
    else:
        read = [topic for topic, use in uses.items() if use.models]
        stored = asyncio.run(check_store(settings.postgres, read, settings.alerts.webhooks))
        yield from stored.findings
    if settings.kafka is None:
        yield ok("kafka", "not configured: only replay can be run")
    else:
        yield check_memory(settings.kafka, settings.limits)
        yield from _check_log(settings, settings.kafka, uses, stored)


def _check_log(
    settings: Settings, kafka: KafkaSettings, uses: Mapping[str, TopicUse], stored: Stored
) -> Iterator[Finding]:
    """Check the broker's topics, and, where the database could be asked, that both tell of the same log."""
    servers, security = kafka.bootstrap_servers, kafka.security
    try:
        found = topic_ids(servers, uses, security=security)
        read = {topic: info for topic, info in found.items() if uses[topic].models}
        partitions = [(topic, number) for topic, info in read.items() for number in range(info.partitions)]
        ends = partition_ends(servers, partitions, security=security)
    except DriftlineError as error:
        yield from fail("kafka", error)
        return
    yield from check_topics(f"kafka at {servers}", uses, found)
    if stored.positions is None:
        return
    positions = [position for position in stored.positions if position.topic in read]
    yield from check_positions(read, positions, ends)
    yield from check_lag(positions, ends, stored.workers_alive)
    yield from in_brief(_check_watermarks(settings, uses, positions))


def _check_watermarks(
    settings: Settings, uses: Mapping[str, TopicUse], positions: Sequence[Position]
) -> Iterator[Finding]:
    for name, model in settings.models.items():
        of_model = [position for position in positions if name in uses[position.topic].models]
        yield from check_watermark(name, model, of_model)
