"""Runs faults one after the other and prints what came of each; the last line says how many left a difference."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.compare import Difference, compare
from tests.chaos.disk import small_disk, tablespace_on
from tests.chaos.faults import FAULTS, NotMadeError
from tests.chaos.world import Services, end_in_order_when_told, recovery_of, running_services, running_world
from tests.support.services import MissingServiceError

BEFORE_S, AFTER_S = 8, 5


@dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    Parameters
    ----------
    again_s, level_s
        After how many seconds each partition was committed to again, and all that had come by the fault's end was read.
    missing
        What this machine has not, without which the fault can't be made.
    not_made
        Why the fault did not come about, though it was tried: that shows nothing, and counts as failed.
    """

    name: str
    found: Difference | None = None
    again_s: float | None = None
    level_s: float | None = None
    notes: Sequence[str] = ()
    missing: str = ""
    not_made: str = ""

    @property
    def problems(self) -> Sequence[str]:
        """What must not be."""
        if self.missing:
            return ()
        if self.not_made:
            return (f"could not be made: {self.not_made}",)
        return self.found.problems if self.found else ("the world did not come to its end",)

    def row(self) -> str:
        """Return a row of the table."""
        told = FAULTS[self.name].told
        if self.found is None:
            return f"| `{self.name}` | {told} | {self.missing or (*self.problems, 'failed')[0]} | | | | |"
        seconds = " | ".join("never" if s is None else f"{s:.1f}" for s in (self.again_s, self.level_s))
        lost = f"{self.found.lost}" + (f" (+ {self.found.by_nature} deleted unread)" if self.found.by_nature else "")
        return f"| `{self.name}` | {told} | {lost} | {self.found.doubled} | {seconds} | {self.found.sent_again} |"


HEAD = """| fault | what happens | lost | doubled | again, s | level, s | sent again |
|---|---|---|---|---|---|---|"""


def play(services: Services, name: str, *, quick: bool, logs: Path | None = None) -> Outcome:
    """Make one fault, and compare what it leaves behind."""
    fault = FAULTS[name]
    with ExitStack() as running:
        try:
            disk = running.enter_context(small_disk()) if fault.small_disk else None
        except MissingServiceError as missing:
            return Outcome(name, missing=str(missing))
        tablespace = ""
        if disk and fault.small_disk == "tables":
            tablespace = running.enter_context(tablespace_on(disk, services.postgres.url))
        elif disk:
            services = running.enter_context(running_services(broker_log=disk.folder / "log"))
        world = running.enter_context(running_world(services, quick=quick, disk=disk, tablespace=tablespace, logs=logs))
        time.sleep(BEFORE_S)
        try:
            fault.make(world)
        except NotMadeError as error:
            return Outcome(name, not_made=str(error), notes=world.notes)
        again_s, level_s = recovery_of(world)
        time.sleep(AFTER_S)
        return Outcome(name, compare(world), again_s, level_s, world.notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run faults and say what each left."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", help=f"some of {', '.join(FAULTS)}; with commas")
    parser.add_argument("--quick", action="store_true", help="short outages")
    parser.add_argument("--out", type=Path, help="a file for the table")
    parser.add_argument("--logs", type=Path, help="a folder in which the logs of all processes stay")
    wanted = parser.parse_args(arguments)
    names = wanted.faults.split(",") if wanted.faults else list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"there is no fault {', '.join(unknown)}")
    end_in_order_when_told()
    outcomes = []
    with running_services() as services:
        print(HEAD, flush=True)
        for name in names:
            outcome = play(services, name, quick=wanted.quick, logs=wanted.logs and wanted.logs / name)
            outcomes.append(outcome)
            print(outcome.row(), flush=True)
            for line in (*outcome.problems, *outcome.notes):
                print(f"    {name}: {line}", file=sys.stderr, flush=True)
    if wanted.out:
        wanted.out.write_text("\n".join([HEAD, *(outcome.row() for outcome in outcomes), ""]))
    failed = [outcome for outcome in outcomes if outcome.problems]
    skipped = sum(bool(outcome.missing) for outcome in outcomes)
    print(f"{len(outcomes) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} not possible here")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
