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
from rich.console import Console

from driftline.arguments import Number
from driftline.clock import system_clock
from driftline.demo.findings import findings
from driftline.demo.play import play
from driftline.demo.scene import Request, scene
from driftline.demo.stage import say
from driftline.demo.story import ending
from driftline.demo.traffic import HOURS

SECONDS_MIN = 10
TERMINATED = 143
DAY_MS = 86_400_000


@click.command("demo")
@click.option(
    "--seconds",
    default=60,
    show_default=True,
    type=Number(min=SECONDS_MIN),
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
    """Watch a fraud model for two days of event time, in a minute, while three things go wrong.

    Needs neither Java nor Docker: Postgres is embedded and Kafka a mock inside this process, while the worker is the
    real one. A terminal shows a live screen, a pipe gets lines. The last line is one JSON object: what was counted,
    detected and missed.
    """
    ends_s = time.monotonic() + seconds
    start_ms = (system_clock() // DAY_MS - 3) * DAY_MS  # all of it in the past: the future would be a dead letter
    signal.signal(signal.SIGTERM, _terminate)
    tempfile.gettempdir()  # tries the folder with a file of its own, which an interrupt later on would leave there
    console = Console()
    say(console, f"A fraud model's traffic of {HOURS} hours, with three incidents. Ctrl-C ends it.")
    with scene(Request(seed, kafka, postgres), lambda line: say(console, line)) as running:
        seen = asyncio.run(play(running, seed, start_ms, ends_s, console))
        say(console, "stopping")
    for line in ending(seen, start_ms, kept=postgres is not None):
        say(console, line)
    click.echo(json.dumps(seen.counts() | findings(start_ms, seen.episodes)))


def _terminate(*_: object) -> NoReturn:
    """End as Ctrl-C does, so that nothing is left behind."""
    sys.exit(TERMINATED)
