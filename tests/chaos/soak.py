"""Faults at random on steady traffic: nothing may grow, and all is as in a replay: `python -m tests.chaos.soak`."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.compare import Seen, compare
from tests.chaos.faults import FAULTS, NotMadeError
from tests.chaos.picture import draw
from tests.chaos.usage import Sampler, growing, thirds, write_csv
from tests.chaos.world import PATIENCE_S, end_in_order_when_told, recovery_of, running_services, running_world

KEPT_MS = 3_600_000
KEPT = "1h"
MODEL = {"labels": {"horizon": "20m", "dedupe_window": "10m"}}
KINDS = ("drift", "performance", "episodes", "messages")
"""What is compared; predictions and labels go with their horizon, and are counted."""

LEFT_OUT = frozenset({"topic-made-anew", "partitions-added", "disk-full", "broker-disk-full", "retention-overrun"})
"""What ends every worker, can be done only once, needs a disk of its own, or loses events by nature."""

EVERY_S = 60
FLAT_MINUTES_MIN = 10
"""A shorter soak has not yet reached what is kept for how long."""

PARTITIONED = 10_000
SWING = {
    "rows_prediction": PARTITIONED,  # they go by whole partitions
    "rows_label": PARTITIONED,
    "_mib": 24,
    "_files": 8,
    "_threads": 6,
    "relations": 12,
    "lag": 1_000,
    "rows_": 200,
}
"""By the beginning or the end of a name: how much more than before there may be by chance."""

MAY_GROW = ("rows_outbox", "second_worker_mib", "broker_mib")
"""Messages are kept for an hour at least. The second worker is another process time and again, and a broker's Java
takes what it is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak and say what grew and what differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1, help="of the choice of faults")
    parser.add_argument("--rate", type=int, default=250, help="predictions a second; there are as many labels")
    parser.add_argument("--out", type=Path, help="a folder for soak.csv and soak.svg")
    parser.add_argument("--logs", type=Path, help="a folder in which the logs of all processes stay")
    wanted = parser.parse_args(arguments)
    end_in_order_when_told()
    chance, seen = random.Random(wanted.seed), Seen(KEPT_MS)
    names = [name for name in FAULTS if name not in LEFT_OUT]
    order: list[str] = []
    not_made: list[str] = []
    slowest = 0.0
    retention = dict.fromkeys(("verdicts", "performance", "episodes", "messages", "dead_letters"), KEPT)
    with (
        running_services() as services,
        running_world(
            services, quick=True, rate=wanted.rate, model=MODEL, logs=wanted.logs, retention=retention
        ) as world,
    ):
        with Sampler(world) as sampler:
            while sampler.seconds < wanted.minutes * 60:
                next_s = sampler.seconds + EVERY_S
                order = order or chance.sample(names, len(names))
                sampler.note(name := order.pop())
                try:
                    FAULTS[name].make(world)
                except NotMadeError as error:
                    not_made.append(f"{name} could not be made: {error}")
                again_s, level_s = recovery_of(world)
                told = (
                    "never" if again_s is None or level_s is None else f"{again_s:.1f} s, level after {level_s:.1f} s"
                )
                print(f"{sampler.seconds:6.0f} s  {name}: again after {told}", flush=True)
                slowest = max(slowest, again_s or PATIENCE_S)
                world.wait_until_shared()
                seen.look(world.monitor.url)
                time.sleep(max(0.0, min(next_s, wanted.minutes * 60) - sampler.seconds))
        if wanted.out:
            wanted.out.mkdir(parents=True, exist_ok=True)
            write_csv(wanted.out / "soak.csv", sampler.samples, sampler.faults)
            draw(wanted.out / "soak.svg", sampler.samples, sampler.faults)
        found = compare(world, KINDS, seen)
        grown = growing(sampler.samples, SWING, MAY_GROW) if wanted.minutes >= FLAT_MINUTES_MIN else []
    for name in ("worker_mib", "worker_files", "worker_threads", "relay_mib", "postgres_mib", "lag", "relations"):
        print("{}: {:g}, then {:g}".format(name, *thirds(sampler.samples, name)))
    print(f"compared: {', '.join(f'{n} {kind}' for kind, n in found.compared.items())}")
    for problem in (*found.problems, *grown, *not_made):
        print(problem)
    print(
        f"{len(sampler.faults)} faults in {wanted.minutes:g} minutes, {2 * world.traffic.rows} events:"
        f" lost {found.lost}, doubled {found.doubled}, slowest again after {slowest:.1f} s, {len(grown)} things grow"
    )
    return 1 if found.problems or grown or not_made else 0


if __name__ == "__main__":
    sys.exit(main())
