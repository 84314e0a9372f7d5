"""Runs many histories: `python -m tests.simulation --seeds 1000`; the last line says how many passed.

Above it stands where in them processes were killed and sessions cut.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation.crashes import table
from tests.simulation.history import migrated_template, play, shrink
from tests.simulation.stage import Crash
from tests.support.postgres import postgres_server

TOLD_EVERY = 50
SHRUNK_MAX = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run histories and say which failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2, help="how many histories at a time")
    wanted = parser.parse_args(arguments)
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    started, failed = time.monotonic(), []
    deeds, crashes = Counter[tuple[str, str]](), Counter[Crash]()
    with postgres_server() as server, migrated_template(server) as template:
        with ProcessPoolExecutor(wanted.processes, initializer=_be_silent) as pool:
            played = [pool.submit(play, server, template, seed) for seed in seeds]
            for done, future in enumerate(as_completed(played), 1):
                outcome = future.result()
                deeds.update(outcome.deeds)
                crashes.update(outcome.crashes)
                if outcome.problems:
                    failed.append(outcome)
                    print(outcome.told(), flush=True)
                if done % TOLD_EVERY == 0:
                    print(f"{done} of {len(seeds)} in {time.monotonic() - started:.0f} s", file=sys.stderr)
        _be_silent()
        for outcome in failed[:SHRUNK_MAX]:
            print("shrunk: " + shrink(server, template, outcome).told(), flush=True)
    print(table(deeds, crashes))
    print(f"{len(seeds) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _be_silent() -> None:
    """Keep what workers log about the faults that are made on purpose."""
    for name in ("driftline", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
