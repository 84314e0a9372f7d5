"""`driftline run`: one worker, from Kafka into Postgres, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

from driftline.settings import load_settings
from driftline.wiring.worker import run_worker

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command("run")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--verbose", is_flag=True, help="Also tell what Faust and the Kafka client say.")
def command(config: Path, verbose: bool) -> None:
    """Watch the models of a configuration, from Kafka into Postgres, until SIGINT or SIGTERM.

    Start as many as you like: they share the partitions, and one that dies is replaced by the others.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if not verbose:
        for name in ("faust", "mode", "aiokafka", "kafka", "psycopg", "asyncio"):
            logging.getLogger(name).setLevel(logging.ERROR)
    settings = load_settings(config, os.environ)
    asyncio.run(run_worker(settings, click.echo))
