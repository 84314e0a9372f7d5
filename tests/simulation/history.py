"""From a seed to a verdict on it: play its history on a store of its own, compare, and find the faults that matter."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from driftline.store.connection import connect
from driftline.store.migrate import migrate
from tests.simulation.left import Left, differences
from tests.simulation.stage import Crash
from tests.simulation.traffic import draw_traffic
from tests.simulation.world import Fault, careful_reader, disturbed, draw_faults
from tests.support.postgres import fresh_database


@dataclass(frozen=True)
class Outcome:
    """What came of one history.

    Parameters
    ----------
    problems
        In what it differs from the careful reader's, or why it did not come to an end; empty if all is well.
    """

    seed: int
    faults: tuple[Fault, ...]
    problems: tuple[str, ...]
    turns: int = 0
    deeds: Counter[tuple[str, str]] = field(default_factory=Counter)
    crashes: Counter[Crash] = field(default_factory=Counter)

    def told(self) -> str:
        """Return seed, schedule and problems as text."""
        lines = [f"seed {self.seed}: {len(self.faults)} faults, {len(self.problems)} problems"]
        lines += [f"  turn {fault.turn}: {fault.kind} {fault.choice:.3f}" for fault in self.faults]
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


@contextmanager
def migrated_template(server: str) -> Iterator[str]:
    """Give the name of a database with our schema, to be copied."""
    with fresh_database(server) as url:
        asyncio.run(_migrate(url))
        yield urlsplit(url).path[1:]


async def _migrate(url: str) -> None:
    connection = await connect(url)
    async with connection:
        await migrate(connection)


@contextmanager
def _copied(server: str, template: str, name: str) -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as admin:
        names = sql.Identifier(name), sql.Identifier(template)
        admin.execute(sql.SQL("create database {} template {}").format(*names))
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(names[0]))


def careful(server: str, template: str, seed: int) -> Left:
    """Return what one careful reader leaves of a history's log."""
    with _copied(server, template, f"{template}_{seed}_careful") as url:
        return asyncio.run(careful_reader(url, draw_traffic(seed)))


def play(
    server: str,
    template: str,
    seed: int,
    faults: Sequence[Fault] | None = None,
    expected: Left | None = None,
    spared: Collection[Crash] | None = None,
) -> Outcome:
    """Play one history, disturbed, and compare what is left with the careful reader's.

    Parameters
    ----------
    faults
        What goes wrong; by default what the seed says.
    expected
        What the careful reader leaves, if that is known already.
    spared
        If given, every effect is interrupted once in every way but these, wherever it is met first.
    """
    planned = draw_faults(seed) if faults is None else tuple(faults)
    expected = expected or careful(server, template, seed)
    traffic = draw_traffic(seed)
    with _copied(server, template, f"{template}_{seed}") as url:
        try:
            left = asyncio.run(disturbed(url, traffic, seed, planned, spared))
        except Exception as error:
            return Outcome(seed, planned, (f"{type(error).__name__}: {error}",))
    return Outcome(seed, planned, tuple(differences(traffic, expected, left)), left.turns, left.deeds, left.crashes)


def shrink(server: str, template: str, outcome: Outcome) -> Outcome:
    """Leave out faults without which a history fails as well, some at a time, then one by one, until all are needed."""
    expected = careful(server, template, outcome.seed)
    size = max(1, len(outcome.faults) // 4)
    while size:
        before, faults = outcome, outcome.faults
        for start in range(0, len(faults), size):
            left = [fault for fault in outcome.faults if fault not in faults[start : start + size]]
            fewer = play(server, template, outcome.seed, left, expected)
            if fewer.problems:
                outcome = fewer
        # Without one another may be needless, too: who is last goes round once more.
        size = size // 2 if size > 1 else int(outcome is not before)
    return outcome
