"""How does a process that runs until it is told to stop begin to speak, and how does it end?"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from driftline.errors import DriftlineError
from driftline.telling import tell

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


def speak(*, verbose: bool) -> None:
    """Log to standard error: what we say, and, if wanted, what the packages below us say."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if not verbose:
        for name, level in QUIET.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger("kafka").propagate = False  # what it says ends in our errors


def run_process(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Do the work to its end, and end this process with what its error says.

    It ends at once: threads of Kafka clients would wait for a broker that is away, though nothing is left to be done.
    """
    code = 0
    try:
        asyncio.new_event_loop().run_until_complete(work)
    except DriftlineError as error:
        code = tell(error)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
