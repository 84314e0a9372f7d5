"""Sends mutated messages through the doors: `python -m tests.fuzz --messages 100000`; the last line says how many held.

Chance alone chooses what to mutate, unless Atheris can be imported and `--guided` is given (`make fuzz`): then inputs
are chosen by the branches that they reach, and every door has a process of its own. An input that breaks a law is kept
under `.cache/fuzz/broken`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.fuzz.doors import DOORS
from tests.fuzz.mutate import MARK, mutated_input

CORPUS = Path(__file__).parent / "corpus"
KEPT = Path(".cache", "fuzz")
SHARES = {
    "decode": 0.86,
    "statuses": 0.04,
    "requests": 0.03,
    "files": 0.02,
    "receiver": 0.02,
    "answers": 0.02,
    "settings": 0.01,
}
"""How the messages are shared out: what comes from the log gets most, what is slow to look at least."""

RECORDS = {"decode": 48, "settings": 3}
RECORDS_ELSE = 12
CPU_S_MAX = 20
"""Processor time for one input: the end of a hang, no measurement."""

MEMORY_BYTES_MAX = 2 * 1024**3


class StoppedError(AssertionError):
    """An input takes so long that a partition would stand still."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Send messages and say how many laws they broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many mutated messages")
    parser.add_argument("--seed", type=int, default=1, help="of chance")
    parser.add_argument("--door", choices=DOORS, help="only this one")
    parser.add_argument("--guided", action="store_true", help="let Atheris choose the inputs, if it is there")
    wanted = parser.parse_args(arguments)
    is_guided = wanted.guided and importlib.util.find_spec("atheris") is not None
    if wanted.guided and not is_guided:
        print("Atheris can't be imported: chance alone chooses the inputs", flush=True)
    shares = {wanted.door: 1.0} if wanted.door else SHARES
    sent = broken = 0
    for door, share in shares.items():
        started = time.monotonic()
        n, bad = (send_guided if is_guided else send)(door, round(wanted.messages * share), wanted.seed)
        print(f"{door}: {n} messages, {bad} broken laws, {time.monotonic() - started:.0f} s", flush=True)
        sent, broken = sent + n, broken + bad
    print(f"{sent} messages, {broken} broken laws")
    return 1 if broken else 0


def send(door: str, messages: int, seed: int) -> tuple[int, int]:
    """Send about so many messages through one door; return how many, and how many inputs broke a law."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _stop)
    chance = random.Random(f"{door} {seed}")
    corpus = [path.read_bytes() for path in sorted((CORPUS / door).iterdir())]
    broken = sum(not _holds(door, given) for given in corpus)
    sent = sum(given.count(MARK) for given in corpus)
    while sent < messages:
        given = mutated_input(chance, chance.choice(corpus), corpus, RECORDS.get(door, RECORDS_ELSE))
        broken += not _holds(door, given)
        sent += given.count(MARK)
    return sent, broken


def send_guided(door: str, messages: int, seed: int) -> tuple[int, int]:
    """Do so in a process of its own, whose inputs are chosen by what they reach; it ends with the first broken law."""
    records = RECORDS.get(door, RECORDS_ELSE)
    words = [door, f"--inputs={messages // records}", f"--records={records}", f"--seed={seed}"]
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{door}.log").open("w") as log:
        ended = subprocess.run([sys.executable, "-m", "tests.fuzz.guided", *words], stdout=log, stderr=log)
    sent = int((KEPT / f"{door}.count").read_text())
    if ended.returncode:
        print(f"{door}: see {log.name}; the input is in {KEPT / 'broken'}", flush=True)
    return sent, int(ended.returncode != 0)


def _holds(door: str, given: bytes) -> bool:
    signal.setitimer(signal.ITIMER_PROF, CPU_S_MAX)
    try:
        with contextlib.redirect_stderr(None):
            DOORS[door](given)
    except Exception:
        print(f"{door}: {traceback.format_exc(limit=-6)}input: {_keep(door, given)}", flush=True)
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return True


def _stop(_: int, __: FrameType | None) -> None:
    raise StoppedError(f"one input takes more than {CPU_S_MAX} s")


def _keep(door: str, given: bytes) -> Path:
    folder = KEPT / "broken"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{door}-{random.Random(given).randrange(16**8):08x}"
    path.write_bytes(given)
    return path


if __name__ == "__main__":
    sys.exit(main())
