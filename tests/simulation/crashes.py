"""Where processes were killed and sessions cut, and where never: a proof of which moments were tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tests.simulation.stage import Crash

WAYS: tuple[tuple[Literal["before", "after"], Literal["kill", "cut"]], ...] = (
    ("before", "kill"),
    ("after", "kill"),
    ("before", "cut"),
    ("after", "cut"),
)
READ = "read the log"
"""It changes nothing, and has no session of the store that could be cut."""


def never(deeds: Mapping[tuple[str, str], int], crashes: Mapping[Crash, int]) -> list[Crash]:
    """Return the ways of interrupting what was done in which it never was."""
    every: list[Crash] = [(*deed, *way) for deed in sorted(deeds) for way in WAYS]
    return [crash for crash in every if not crashes.get(crash) and crash[1::2] != (READ, "cut")]


def table(deeds: Mapping[tuple[str, str], int], crashes: Mapping[Crash, int]) -> str:
    """Say of each effect how often it was done, and in each way interrupted."""
    heads = [" ".join(reversed(way)) for way in WAYS]
    lines = [f"{'':7} {'effect':44} {'done':>9}" + "".join(f"{head:>13}" for head in heads)]
    for part, effect in sorted(deeds):
        counts = "".join(f"{crashes.get((part, effect, *way), 0):13,}" for way in WAYS)
        lines.append(f"{part:7} {effect:44} {deeds[part, effect]:9,}{counts}")
    missing = len(never(deeds, crashes))
    return "\n".join([*lines, f"{len(deeds)} effects; {missing} ways to interrupt one were never taken"])
