"""How much processor time and memory do the processes of each part take while something is measured?

Invariants: processor time counts from start to stop, of a process, its children and those they have ended; nothing is
asked of a process that would slow it down noticeably (twice a second, one small file each).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

SAMPLE_S = 0.5
MIB = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between start and stop.

    Parameters
    ----------
    cpu_s
        Seconds of processor time by part.
    peak_mib
        By part. Of the worker it is the kernel's own high-water mark of resident memory since the process began; of
        the others the largest sample of their share of physical memory, shared pages divided among those who share.
    """

    seconds: float
    cpu_s: Mapping[str, float]
    peak_mib: Mapping[str, float]


class Meter:
    """Measures between `start` and `stop`.

    Parameters
    ----------
    worker
        The process that does the work.
    services
        The others by name, each with all processes below it.
    """

    def __init__(self, worker: psutil.Process, services: Mapping[str, psutil.Process]) -> None:
        self._trees = {"worker": worker, **services}
        self._services = services
        self._peak_bytes = dict.fromkeys(services, 0)
        self._stopping = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._cpu_s = {name: cpu_s(tree) for name, tree in self._trees.items()}
        self._sampler.start()
        self._started = time.perf_counter()

    def stop(self) -> Usage:
        """End, while the worker still runs."""
        seconds = time.perf_counter() - self._started
        used = {name: cpu_s(tree) - self._cpu_s[name] for name, tree in self._trees.items()}
        self._stopping.set()
        self._sampler.join()
        peak = {"worker": sum(_each(self._trees["worker"], _high_water_bytes)) / MIB}
        peak |= {name: n / MIB for name, n in self._peak_bytes.items()}
        return Usage(seconds, used, peak)

    def _sample(self) -> None:
        while True:
            for name, tree in self._services.items():
                n = sum(_each(tree, lambda process: int(process.memory_full_info().pss)))
                self._peak_bytes[name] = max(self._peak_bytes[name], n)
            if self._stopping.wait(SAMPLE_S):
                return


def cpu_s(tree: psutil.Process) -> float:
    """Return the processor time of a process and all that it ever started."""
    return sum(_each(tree, lambda process: sum(process.cpu_times()[:4])))


def _each(tree: psutil.Process, ask: Callable[[psutil.Process], T]) -> Iterator[T]:
    """Ask a process and all below it; those that end meanwhile say nothing."""
    family = [tree]
    with suppress(psutil.NoSuchProcess):
        family += tree.children(recursive=True)
    for process in family:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            yield ask(process)


def _high_water_bytes(process: psutil.Process) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
