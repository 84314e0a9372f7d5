"""`driftline run`: one worker, from Kafka into Postgres, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from driftline.errors import DriftlineError
from driftline.settings import load_settings
from driftline.wiring.worker import run_worker

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

QUIET = {
    "faust": logging.ERROR,
    "mode": logging.ERROR,
    "streams": logging.ERROR,  # Faust logs there what our classes inherit
    "psycopg": logging.ERROR,
    "asyncio": logging.ERROR,
    "aiokafka": logging.CRITICAL,  # it says the same thirty times a second while a broker is away; we say it once
}
"""Loggers of others, and from which level on they may speak."""


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
        for name, level in QUIET.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger("kafka").propagate = False  # what it says ends in our errors
    settings = load_settings(config, os.environ)
    code = 0
    try:
        asyncio.new_event_loop().run_until_complete(run_worker(settings, click.echo))
    except DriftlineError as error:
        code = error.exit_code
        for problem in error.problems:
            click.echo(f"driftline: error: {problem}", err=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End now: threads of the Kafka clients would wait for a broker that is away, though nothing is left to be done."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
