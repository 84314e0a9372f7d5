"""`driftline capacity`: how many cores, how much memory, Kafka and Postgres does a workload need?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from driftline.arguments import Duration, Number
from driftline.capacity import Measured, Need, Workload, measured, needs

DAY_MS = 86_400_000
SHOWN_ROWS_MIN = 1
EVENTS_PER_S_MAX = 1e9
SIZE_MAX = 1_000_000
"""Of features, segments, models, cores and terabytes: beyond it a number was mistyped."""
BYTES_PER_EVENT_MAX = 1_000_000_000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


A_SIZE = Number(0, SIZE_MAX, min_open=True)
A_COUNT = click.IntRange(1, SIZE_MAX)
A_TIME = Duration(may_be_zero=False)


@click.command("capacity")
@click.option(
    "--events-per-second", required=True, type=Number(0, EVENTS_PER_S_MAX, min_open=True), help="Of all models."
)
@click.option("--features", required=True, type=A_COUNT, help="Of each model.")
@click.option(
    "--segments", default=0, show_default=True, type=click.IntRange(0, SIZE_MAX), help="Segment values of each model."
)
@click.option("--horizon", default="30d", show_default=True, type=A_TIME, help="How long labels are waited for.")
@click.option("--labels-share", default=0.0, show_default=True, type=Number(0, 1), help="Of predictions; 0: no labels.")
@click.option("--models", default=1, show_default=True, type=A_COUNT, help="How many models there are.")
@click.option(
    "--bytes-per-event",
    default=460,
    show_default=True,
    type=click.IntRange(1, BYTES_PER_EVENT_MAX),
    help="Of a prediction.",
)
@click.option("--window", default="1h", show_default=True, type=A_TIME, help="Slide of the windows.")
@click.option("--retention", default="180d", show_default=True, type=A_TIME, help="How long verdicts are kept.")
@click.option("--kafka-retention", default="7d", show_default=True, type=A_TIME, help="How long Kafka keeps events.")
@click.option("--postgres-cores", default=16.0, show_default=True, type=A_SIZE, help="Of one server.")
@click.option("--postgres-terabytes", default=4.0, show_default=True, type=A_SIZE, help="Of its disk.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    events_per_second: float,
    features: int,
    segments: int,
    horizon: int,
    labels_share: float,
    models: int,
    bytes_per_event: int,
    window: int,
    retention: int,
    kafka_retention: int,
    postgres_cores: float,
    postgres_terabytes: float,
    as_json: bool,
) -> None:
    """Say what a workload needs: cores, memory, partitions, and rows and bytes in Postgres.

    Multiplies what was measured on one machine, which it names, by what you expect; it connects to nothing. See
    docs/capacity.md for what it leaves out, and for what to do when one Postgres is not enough.
    """
    workload = Workload(
        events_per_second,
        features,
        segments,
        labels_share,
        horizon / DAY_MS,
        models=models,
        bytes_per_event=bytes_per_event,
        window_s=window / 1000,
        retention_days=retention / DAY_MS,
        kafka_days=kafka_retention / DAY_MS,
        postgres_cores_max=postgres_cores,
        postgres_bytes_max=postgres_terabytes * 1e12,
    )
    found = measured()
    need = needs(workload, found)
    if as_json:
        source = {"on": found.on, "machine": found.machine, "commands": list(found.commands)}
        click.echo(json.dumps(need.to_json() | {"measured": source}))
        return
    for line in _told(workload, need, found):
        click.echo(line)


def _told(of: Workload, need: Need, found: Measured) -> Iterator[str]:
    yield f"workers    {need.worker_cores:.1f} cores: {need.workers} workers, {need.worker_memory_mib:.0f} MiB together"
    yield (
        f"kafka      {need.broker_cores:.1f} cores, {need.partitions} partitions a topic, "
        f"{_bytes(need.kafka_bytes_a_day)} a day, {_bytes(need.kafka_bytes_kept)} kept, times its replicas"
    )
    yield (
        f"postgres   {need.postgres_cores:.1f} cores, {_bytes(need.postgres_bytes_a_day)} a day, "
        f"{_bytes(need.postgres_bytes_kept)} in the end; memory for {_bytes(need.postgres_working_bytes)}"
    )
    for name, rows in need.rows.items():
        if rows.kept >= SHOWN_ROWS_MIN:
            yield (
                f"           {name:<12} {rows.a_day:>16,.0f} rows a day {rows.kept:>18,.0f} kept "
                f"{_bytes(rows.bytes_kept):>10}"
            )
    server = f"one server of {of.postgres_cores_max:g} cores and {_bytes(of.postgres_bytes_max)}"
    most = f"it takes {need.events_per_s_of_one_postgres:,.0f} predictions a second of this kind"
    if need.one_postgres:
        yield f"           {server} is enough: {most}"
    else:
        yield f"           {server} is NOT enough: {most}; docs/capacity.md says what to do"
    yield f"measured   {found.on}, {found.machine}: {'; '.join(found.commands)}"


def _bytes(n: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> _bytes(460), _bytes(39_744_000_000)
    ('460 B', '39.7 GB')
    """
    place = 0
    while n >= 1000 and place < len(_UNITS) - 1:
        n /= 1000
        place += 1
    return f"{n:.1f} {_UNITS[place]}" if place else f"{n:.0f} {_UNITS[place]}"
