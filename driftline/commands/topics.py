"""`driftline topics`: which topics does the configuration name, and are they there?"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import click

from driftline.errors import ConfigurationError, StateError
from driftline.kafka_admin import TopicInfo, TopicUse, create_topics, no_such, topic_ids, topic_uses
from driftline.settings import load_settings

PARTITIONS = 8


@click.command("topics")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--create", is_flag=True, help="Create those that are missing.")
@click.option(
    "--partitions", default=PARTITIONS, show_default=True, type=click.IntRange(min=1), help="Of each created topic."
)
@click.option("--replication", default=1, show_default=True, type=click.IntRange(min=1), help="Of each created topic.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(config: Path, create: bool, partitions: int, replication: int, as_json: bool) -> None:
    """List the topics that the configuration names, with what they are for and whether they exist.

    Driftline itself needs no right to create topics: where that is another team's, give them this list. Exits with 3
    while one that is needed is missing. A partition is read by one worker at a time, so their number bounds the
    workers.
    """
    settings = load_settings(config, os.environ)
    if settings.kafka is None:
        raise ConfigurationError(
            "has no kafka section", where=str(config), remedy="add `kafka: {bootstrap_servers: HOST:PORT}`"
        )
    kafka, uses = settings.kafka, topic_uses(settings)
    found = topic_ids(kafka.bootstrap_servers, uses, security=kafka.security)
    created = [topic for topic in uses if topic not in found] if create else []
    if created:
        create_topics(
            kafka.bootstrap_servers, created, partitions=partitions, replication=replication, security=kafka.security
        )
        found |= topic_ids(kafka.bootstrap_servers, created, security=kafka.security)
    click.echo(_as_json(uses, found, created) if as_json else _as_table(uses, found, created))
    missing = [topic for topic, use in uses.items() if use.needed and topic not in found]
    if missing:
        raise StateError(
            no_such(missing),
            where=f"kafka at {kafka.bootstrap_servers}",
            remedy="`driftline topics --create` makes them, or whoever runs the cluster",
        )


def _as_table(uses: Mapping[str, TopicUse], found: Mapping[str, TopicInfo], created: Collection[str]) -> str:
    table = [("topic", "for", "models", "exists", "partitions", "id")]
    for topic, use in uses.items():
        info = found.get(topic)
        exists = "created" if topic in created else "yes" if info else "no" if use.needed else "no, optional"
        told = (str(info.partitions), info.topic_id) if info else ("", "")
        table.append((topic, ", ".join(use.roles), ", ".join(use.models), exists, *told))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)


def _as_json(uses: Mapping[str, TopicUse], found: Mapping[str, TopicInfo], created: Collection[str]) -> str:
    topics = [
        {
            "topic": topic,
            "roles": use.roles,
            "models": use.models,
            "needed": use.needed,
            "exists": topic in found,
            "created": topic in created,
            "partitions": found[topic].partitions if topic in found else None,
            "topic_id": found[topic].topic_id if topic in found else None,
        }
        for topic, use in uses.items()
    ]
    return json.dumps({"topics": topics})
