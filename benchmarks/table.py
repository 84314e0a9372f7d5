"""How are results shown to people?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Rows = Sequence[Mapping[str, Any]]

HEADINGS = ("row", "figure", "ratios", "CPU µs an event: worker, broker, database", "peak MiB", "targets")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Write one row of the table as texts."""
    if row["missing"]:
        return (row["name"], f"not measured: {row['missing']}", "", "", "", "")
    return (
        row["name"],
        figure_text(row["figure"], row["figures"][row["figure"]]),
        ", ".join(f"{value:.3g}x {name}" for name, value in row["ratio"].items()),
        _parts(row["cpu_us_per_event"]),
        _parts(row["peak_mib"]),
        "; ".join(target_text(target) for target in row["target"]),
    )


def figure_text(name: str, value: float) -> str:
    """Write a figure with its unit.

    Examples
    --------
    >>> figure_text("events_per_s", 150400.0)
    '150,400 events/s'
    """
    words, _, unit = name.rpartition("_per_s") if name.endswith("_per_s") else ("", "", "")
    return f"{value:,.0f} {words}/s" if words else f"{value:,.3g} {name}{unit}"


def target_text(target: Mapping[str, Any]) -> str:
    """Write a target and whether it was met."""
    bound = f"≥ {target['at_least']:,g}" if "at_least" in target else f"≤ {target['at_most']:,g}"
    about = f"{target['figure']} {target.get('peer', '')}".strip()
    return f"{about} {bound}: {_VERDICTS[target['met']]}"


_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}


def _parts(values: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,.3g} {name}" for name, value in values.items())


def rich_table(rows: Rows) -> Table:
    """Make the table for a terminal."""
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*cells(row))
    return table
