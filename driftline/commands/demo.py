"""`driftline demo`: what does all of it look like, on a machine that has nothing but Python?"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from typing import NoReturn

import click

from driftline.clock import system_clock
from driftline.demo.play import Ending, found, play
from driftline.demo.scene import Request, scene
from driftline.demo.traffic import HOURS, INCIDENTS

SECONDS_MIN = 10
TERMINATED = 143
DAY_MS = 86_400_000

VIEWS = {
    "v_drift": "every verdict: score, threshold, sizes, level",
    "v_distribution": "each feature's bins beside the reference's",
    "v_performance": "recall and precision with interval and coverage",
    "v_data_quality": "the share of missing and unusable values",
    "v_counts": "what became of every event",
}


@click.command("demo")
@click.option(
    "--seconds",
    default=60,
    show_default=True,
    type=click.FloatRange(min=SECONDS_MIN),
    envvar="DEMO_SECONDS",
    show_envvar=True,
    help="About how long it runs, start included.",
)
@click.option(
    "--seed", default=1, show_default=True, type=click.IntRange(min=0), help="What the traffic is drawn from."
)
@click.option("--kafka", metavar="HOST:PORT", help="A real broker, instead of a mock; topics are made and deleted.")
@click.option("--postgres", metavar="URL", help="A real database, instead of an embedded one; the results stay there.")
def command(seconds: float, seed: int, kafka: str | None, postgres: str | None) -> None:
    """Watch a fraud model for a day and a half of event time, in a minute, while three things go wrong.

    Needs neither Java nor Docker: Postgres is embedded and Kafka a mock inside this process, while the worker is the
    real one. The last line is one JSON object: what was counted, detected and missed.
    """
    ends_s = time.monotonic() + seconds
    start_ms = (system_clock() // DAY_MS - 2) * DAY_MS  # all of it in the past: the future would be a dead letter
    signal.signal(signal.SIGTERM, _terminate)
    tempfile.gettempdir()  # tries the folder with a file of its own, which an interrupt later on would leave there
    click.echo(f"A fraud model's traffic of {HOURS} hours, with three incidents.")
    with scene(Request(seed, kafka, postgres), click.echo) as running:
        ending = asyncio.run(play(running, seed, start_ms, ends_s, click.echo))
        click.echo("stopping")
    click.echo(_as_text(ending, start_ms, kept=postgres is not None))
    click.echo(json.dumps(ending.summary()))


def _terminate(*_: object) -> NoReturn:
    """End as Ctrl-C does, so that nothing is left behind."""
    sys.exit(TERMINATED)


def _as_text(ending: Ending, start_ms: int, *, kept: bool) -> str:
    lines = [""]
    for incident in INCIDENTS:
        sight = ending.sights.get(incident.name)
        missed = f"missed    {incident.name}: {incident.told}"
        lines.append(missed if sight is None else f"detected  {found(incident, sight, start_ms)}")
    lines.append(f"false alarms: {len(ending.alarms)}")
    lines += [f"    {alarm.detector} on {alarm.feature}, {alarm.segment}" for alarm in ending.alarms]
    where = "your database" if kept else "a database that you give with --postgres (the embedded one is gone)"
    lines.append(f"where to look next: the views in schema driftline of {where}")
    lines += [f"    {name:<15} {what}" for name, what in VIEWS.items()]
    return "\n".join(lines)
