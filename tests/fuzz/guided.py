"""Lets libFuzzer choose what to mutate at one door: `python -m tests.fuzz.guided decode --inputs 1000`.

Our code is instrumented as it is imported, so that an input which reaches a branch that none reached before is kept
and mutated further. It ends at the first broken law, with the input kept. Needs Atheris.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import atheris

from tests.fuzz.mutate import MARK, mutated_input

with atheris.instrument_imports(include=["streams", "retraining", "alerts", "driftline", "detectors"]):
    from tests.fuzz.doors import DOORS

CORPUS = Path(__file__).parent / "corpus"
OWN_MUTATOR_SHARE = 0.7
INPUT_BYTES_MAX = 32 * 1024
CPU_S_MAX, MEMORY_MB_MAX = 30, 2_048


def main(arguments: Sequence[str]) -> NoReturn:
    """Send inputs until enough were sent or one breaks a law."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("door", choices=DOORS)
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--records", type=int, default=16, help="in one input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=Path(".cache", "fuzz"), help="where new inputs go")
    wanted = parser.parse_args(arguments)
    given, found = CORPUS / wanted.door, wanted.kept / "found" / wanted.door
    for folder in (found, wanted.kept / "broken"):
        folder.mkdir(parents=True, exist_ok=True)
    others = [path.read_bytes() for path in sorted(given.iterdir())]
    counted = wanted.kept / f"{wanted.door}.count"
    counted.write_text("0")
    sent = [0, 0]

    def send(data: bytes) -> None:
        sent[0] += 1
        sent[1] += data.count(MARK)
        if sent[0] % 100 == 0:
            counted.write_text(str(sent[1]))
        with contextlib.redirect_stderr(None):
            DOORS[wanted.door](data)

    def mutate(data: bytes, bytes_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() > OWN_MUTATOR_SHARE:
            return bytes(atheris.Mutate(data, bytes_max))
        return mutated_input(chance, data, others, wanted.records)[:bytes_max]

    options = {
        "runs": wanted.inputs,
        "seed": wanted.seed,
        "max_len": INPUT_BYTES_MAX,
        "timeout": CPU_S_MAX,
        "rss_limit_mb": MEMORY_MB_MAX,
        "artifact_prefix": f"{wanted.kept / 'broken' / wanted.door}-",
        "print_final_stats": 1,
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *words, str(found), str(given)], send, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
