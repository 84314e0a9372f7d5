"""What came of it, row by row: scores by family and over all, for people and for programs. Pure.

Invariant: a family whose change a detector cannot see, because none of what changed is among what it looks at, counts
for its false alarms only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from statistics import median
from typing import Any

from benchmarks.detection import items as of_items
from benchmarks.detection.ours_items import ALONE, ROWS, alarms_of
from benchmarks.detection.running import Said, Streams
from benchmarks.detection.scoring import NOTHING, Score, score
from benchmarks.detection.windows import AFTER, NULL, Windows

DEPENDENT = ("AR(1) .5", "AR(1) .9", "AR(1) .9, a mean moves by 1")
"""Streams whose values resemble their neighbours; their false alarms are told apart."""

WHOLE = "*"


def row(said: Said, streams: Streams) -> dict[str, Any]:
    """Return one detector's row."""
    scores = {
        family: _of_items(alarms) if said.table == "items" else _of_windows(said, alarms, streams.windows[family])
        for family, alarms in said.alarms.items()
    }
    alarmed = _alarmed(said) if said.table == "windows" else None
    independent = [of for family, of in scores.items() if family not in DEPENDENT]
    dependent = [of for family, of in scores.items() if family in DEPENDENT]
    return {
        "table": said.table,
        "tool": said.tool,
        "detector": said.detector,
        "sees": said.sees,
        "version": said.version,
        "missing": said.missing,
        "refused": dict(said.refused),
        "independent": as_json(reduce(add, independent, NOTHING)),
        "dependent": as_json(reduce(add, dependent, NOTHING)),
        "null_windows_alarmed": alarmed,
        "families": {family: as_json(of) for family, of in scores.items()},
    }


def as_json(of: Score) -> dict[str, Any]:
    """Write a score for programs; what there is not is null."""
    return {
        "streams": of.streams,
        "looked": of.looked,
        "false": of.false,
        "false_per_100k": round(of.false_per_100k, 2) if of.looked else None,
        "found": round(of.found_share, 4) if of.streams else None,
        "by_chance": round(of.by_chance / of.streams, 4) if of.streams else None,
        "delay_median": of.delay_median,
    }


def _of_items(alarms: Sequence[Sequence[int]]) -> Score:
    return score(alarms, of_items.CHANGE_AT, of_items.NULL + of_items.AFTER)


def _of_windows(said: Said, alarms: Sequence[Sequence[tuple[int, str]]], streams: Sequence[Windows]) -> Score:
    found = NOTHING
    for places, windows in zip(alarms, streams, strict=False):
        looked = _looked_at(said, windows)
        false = sum(number < NULL for number, _ in places)
        changed = (looked & windows.changed) if said.sees != "whole windows" else {WHOLE}
        delays = [number - NULL + 1 for number, name in places if number >= NULL and name in changed]
        rate = false / max(NULL * len(looked), 1)
        chance = 1.0 - math.exp(-rate * AFTER * len(changed))
        seen = Score(1, 0, 0, bool(delays), tuple(sorted(delays)[:1]), chance) if changed else NOTHING
        found += seen._replace(looked=NULL * len(looked), false=false)
    return found


def _looked_at(said: Said, windows: Windows) -> set[str]:
    if said.sees == "whole windows":
        return {WHOLE}
    return {
        name for name, column in windows.reference.items() if said.sees == "all features" or column.dtype.kind != "U"
    }


def _alarmed(said: Said) -> float | None:
    """Return the share of windows without any change in which there was an alarm, of independent rows."""
    streams = [places for family, of in said.alarms.items() if family not in DEPENDENT for places in of]
    if not streams:
        return None
    return round(sum(len({n for n, _ in places if n < NULL}) for places in streams) / (NULL * len(streams)), 4)


PROMISED = {"Bernoulli .20 to .30": 448, "Bernoulli .20 to .25": 1456}
"""Median delays that ADWIN is to reach, those of river's on many streams after 10,000 items."""


def adwin_rows(streams: int) -> list[dict[str, Any]]:
    """Return how ADWIN does by itself on Bernoulli streams, changes that it never found counted as the latest."""
    rows = []
    for family, delay_max in PROMISED.items():
        alarms = alarms_of(ROWS[ALONE], of_items.make_items(streams, None, (family,))[family])
        found = _of_items(alarms)
        delays = sorted((*found.delays, *[of_items.AFTER] * (streams - found.found)))
        rows.append(
            {
                "table": "adwin",
                "tool": "driftline",
                "version": "",
                "family": family,
                "streams": streams,
                "looked": found.looked,
                "false": found.false,
                "delay_median": float(median(delays)),
                "delay_median_max": delay_max,
            }
        )
    return rows


def estimate_rows(
    name: str, version: str, off: Mapping[str, Mapping[str, tuple[int, float, float]]]
) -> list[dict[str, Any]]:
    """Return the rows of estimates: how far they were off, by data set and metric."""
    return [
        {
            "table": "estimates",
            "tool": name,
            "version": version,
            "windows_of": of,
            "metric": metric,
            "windows": n,
            "mean_absolute_error": round(mean, 5),
            "bias": round(bias, 5),
        }
        for of, metrics in off.items()
        for metric, (n, mean, bias) in metrics.items()
    ]
