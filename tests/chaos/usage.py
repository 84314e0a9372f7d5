"""What grows? Memory, files and threads of each process, the lag, and the rows of each table, every few seconds."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil
import psycopg

from tests.chaos.world import World

SAMPLED_EVERY_S = 10.0
MIB = 1024 * 1024
TABLES = """
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'driftline' and c.relkind in ('r', 'p') and not c.relispartition
     order by 1
"""
RELATIONS = "select count(*) from pg_class where relnamespace = 'driftline'::regnamespace"

Sample = dict[str, float]


class Sampler:
    """Takes samples for as long as it is open.

    Parameters
    ----------
    world
        Whose first worker is never killed, so that what it holds can only have gathered.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._began = time.monotonic()
        self.samples: list[Sample] = []
        self.faults: list[tuple[float, str]] = []
        """When each fault began, in seconds, and its name."""

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """How long this goes on."""
        return time.monotonic() - self._began

    def note(self, fault: str) -> None:
        """Note that a fault begins."""
        self.faults.append((self.seconds, fault))

    def _go(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY_S):
            self.samples.append({"seconds": round(self.seconds, 1)} | self._processes() | self._rows())

    def _processes(self) -> Sample:
        services, found = self._world.services, Sample()
        for name, pids in {
            "worker": [self._world.workers[0].process.pid],
            "second_worker": [self._world.workers[1].process.pid],
            "relay": [self._world.relays[0].process.pid],
            "broker": [services.broker.pid],
        }.items():
            found |= _usage_of(name, pids)
        return found | _usage_of("postgres", [process.pid for process in services.postgres.processes])

    def _rows(self) -> Sample:
        """Count rows; nothing is counted while Postgres or the broker is away."""
        found = Sample()
        with suppress(psycopg.Error, OSError), psycopg.connect(self._world.monitor.url, connect_timeout=2) as asked:
            asked.execute("set statement_timeout to '5s'")
            found["relations"] = _only(asked, RELATIONS)
            for (table,) in asked.execute(TABLES).fetchall():
                found[f"rows_{table}"] = _only(asked, f'select count(*) from driftline."{table}"')
            found["lag"] = self._lag(_only(asked, "select sum(next) from driftline.stream_offset"))
        return found

    def _lag(self, read: float) -> float:
        """Return how many records that the broker has are not read; it lost none of those that are in no log now."""
        return max(0.0, self._world.traffic.acknowledged - read)


def _only(connection: psycopg.Connection, query: str) -> float:
    row = connection.execute(query.encode()).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


def _usage_of(name: str, pids: Sequence[int]) -> Sample:
    """Return memory in MiB (shared pages by share), open files and threads; nothing for a process that has ended."""
    found = {"mib": 0.0, "files": 0.0, "threads": 0.0}
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found["mib"] += process.memory_full_info().pss / MIB
            found["files"] += process.num_fds()
            found["threads"] += process.num_threads()
    return {f"{name}_{what}": round(of, 1) for what, of in found.items() if of}


def write_csv(path: Path, samples: Sequence[Sample], faults: Sequence[tuple[float, str]]) -> None:
    """Write samples as rows; the last column names the faults that began since the row before."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*names, "faults"])
        before = 0.0
        for sample in samples:
            begun = " ".join(name for at, name in faults if before <= at < sample["seconds"])
            rows.writerow([*(f"{sample[name]:g}" if name in sample else "" for name in names), begun])
            before = sample["seconds"]


def thirds(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the median in the second and in the last third of the time; the first is for warming up.

    Examples
    --------
    >>> thirds([{"seconds": n, "lag": n} for n in range(9)], "lag")
    (4, 7)
    """
    end = samples[-1]["seconds"]

    def of(third: int) -> float:
        own = [s[name] for s in samples if name in s and end * third / 3 <= s["seconds"] <= end * (third + 1) / 3]
        return median(own) if own else 0.0

    return of(1), of(2)


def growing(samples: Sequence[Sample], allowed: Mapping[str, float], exempt: Sequence[str]) -> list[str]:
    """Name what is larger in the last third than a twentieth above the second, and than what its kind may swing by.

    Parameters
    ----------
    allowed
        By the beginning or the end of a name, how much more there may be; the first that fits counts.
    exempt
        Names that may grow.
    """
    found = []
    for name in dict.fromkeys(name for sample in samples for name in sample):
        swing = next((by for end, by in allowed.items() if name.startswith(end) or name.endswith(end)), None)
        if swing is None or name in exempt:
            continue
        before, after = thirds(samples, name)
        if after > before * 1.05 + swing:
            found.append(f"{name} grows: {before:g} in the second third, {after:g} in the last")
    return found
