"""`driftline relay`: what waits in Postgres, to Kafka and to webhooks, until it is stopped."""

from __future__ import annotations

import os
from pathlib import Path

import click

from driftline.settings import load_settings
from driftline.wiring.process import run_process, speak
from driftline.wiring.relay import run_relay
from driftline.wiring.start import services


@click.command("relay")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--verbose", is_flag=True, help="Also tell what the packages below say.")
def command(config: Path, verbose: bool) -> None:
    """Publish dead letters, events and retraining requests, and deliver alerts, until SIGINT or SIGTERM.

    Workers do this too, unless they run with --no-relay. Start several if one is not safe enough: they share the work,
    and one that dies is replaced by the others.
    """
    speak(verbose=verbose)
    settings = load_settings(config, os.environ)
    services(settings, str(config))
    run_process(run_relay(settings, click.echo))
