"""`driftline run`: one worker, from Kafka into Postgres, until it is stopped."""

from __future__ import annotations

import os
from pathlib import Path

import click

from driftline.settings import load_settings
from driftline.wiring.process import run_process, speak
from driftline.wiring.start import services
from driftline.wiring.worker import run_worker


@click.command("run")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option(
    "--relay/--no-relay",
    "relays",
    default=True,
    show_default=True,
    help="Also publish messages and deliver alerts; with --no-relay, `driftline relay` has to.",
)
@click.option("--verbose", is_flag=True, help="Also tell what Faust and the Kafka client say.")
def command(config: Path, relays: bool, verbose: bool) -> None:
    """Watch the models of a configuration, from Kafka into Postgres, until SIGINT or SIGTERM.

    Start as many as you like: they share the partitions, and one that dies is replaced by the others.
    """
    speak(verbose=verbose)
    settings = load_settings(config, os.environ)
    services(settings, str(config))
    run_process(run_worker(settings, click.echo, relays=relays))
