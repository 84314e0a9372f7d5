"""What came of a run: medians, ratios pair by pair, targets met or missed. Pure.

Invariants: a ratio compares the same turn of two rows, so that what else the machine did meanwhile touches both; a
row without a figure says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from benchmarks.measuring.usage import Usage

Kind = Literal["driftline", "peer", "limit"]

RATE = "events_per_s"


class NotMeasuredError(Exception):
    """A row that can't be measured here, with the reason."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One row, measured once.

    Parameters
    ----------
    figures
        By name, units last in the name.
    cpu_s, peak_mib
        By part: `worker`, `broker`, `database`; those that are not ours are not there.
    events
        How many events `cpu_s` was spent on.
    """

    figures: Mapping[str, float]
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    peak_mib: Mapping[str, float] = field(default_factory=dict)
    events: int = 0

    @classmethod
    def of(cls, events: int, usage: Usage, **figures: float) -> Measured:
        """Make the measurement of so many events."""
        return cls({RATE: events / usage.seconds, **figures}, usage.cpu_s, usage.peak_mib, events)


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach; exactly one of the two bounds is given.

    Parameters
    ----------
    figure
        A name among the figures, `peak_mib` (the worker's), or `ratio` against `peer`.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    peer: str | None = None

    def is_met(self, value: float) -> bool:
        """Tell whether a value reaches the target.

        Examples
        --------
        >>> Target("freshness_ms_p99", at_most=2000).is_met(1500)
        True
        """
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)


@dataclass
class Result:
    """All turns of one row.

    Parameters
    ----------
    missing
        Why there is no figure, if so.
    failed
        Whether that is a failure of ours, such as a wrong answer.
    """

    name: str
    title: str
    kind: Kind
    figure: str = RATE
    targets: Sequence[Target] = ()
    turns: list[Measured] = field(default_factory=list)
    missing: str | None = None
    failed: bool = False


def medians(of: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the turns that have it."""
    names = dict.fromkeys(name for each in of for name in each)
    return {name: median(each[name] for each in of if name in each) for name in names}


def ratio(ours: Sequence[Measured], peer: Sequence[Measured]) -> float | None:
    """Return the median over turns of our rate divided by the peer's in the same turn; None without a pair."""
    pairs = zip(ours, peer, strict=False)
    found = [
        our.figures[RATE] / their.figures[RATE] for our, their in pairs if RATE in our.figures and RATE in their.figures
    ]
    return median(found) if found else None


def ratios(result: Result, results: Sequence[Result]) -> dict[str, float]:
    """Return a row's ratio to each peer and limit; to those of its own kind there is none."""
    if result.kind != "driftline":
        return {}
    others = [other for other in results if other.kind != "driftline"]
    found = {other.name: ratio(result.turns, other.turns) for other in others}
    return {name: value for name, value in found.items() if value is not None}


def value_of(target: Target, as_row: Mapping[str, Any]) -> float | None:
    """Find in a row of `as_json` what a target is about."""
    if target.figure == "ratio":
        found = as_row["ratio"].get(target.peer)
    elif target.figure == "peak_mib":
        found = as_row["peak_mib"].get("worker")
    else:
        found = as_row["figures"].get(target.figure)
    return None if found is None else float(found)


def as_json(result: Result, results: Sequence[Result]) -> dict[str, Any]:
    """Write a row for programs; numbers that were not measured are null."""
    figures, cpu_s = (medians([getattr(turn, name) for turn in result.turns]) for name in ("figures", "cpu_s"))
    a_turn = [{part: 1e6 * s / turn.events for part, s in turn.cpu_s.items()} for turn in result.turns if turn.events]
    row: dict[str, Any] = {
        "name": result.name,
        "title": result.title,
        "kind": result.kind,
        "turns": len(result.turns),
        RATE: _rounded(figures.get(RATE)),
        "figure": result.figure,
        "figures": {name: _rounded(value) for name, value in figures.items()},
        "ratio": {name: _rounded(value) for name, value in ratios(result, results).items()},
        "cpu_s": {name: _rounded(value) for name, value in cpu_s.items()},
        "cpu_us_per_event": {name: _rounded(value) for name, value in medians(a_turn).items()},
        "peak_mib": {name: _rounded(n) for name, n in medians([turn.peak_mib for turn in result.turns]).items()},
        "missing": result.missing,
    }
    row["target"] = [_target_as_json(target, row) for target in result.targets]
    return row


def _target_as_json(target: Target, row: Mapping[str, Any]) -> dict[str, Any]:
    value = value_of(target, row)
    bounds = {"at_least": target.at_least} if target.at_least is not None else {"at_most": target.at_most}
    peer = {} if target.peer is None else {"peer": target.peer}
    return {"figure": target.figure, **peer, **bounds, "met": None if value is None else target.is_met(value)}


def _rounded(value: float | None) -> float | None:
    """Keep four digits: no more are repeatable."""
    return None if value is None else float(f"{value:.4g}")
