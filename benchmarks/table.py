"""How are results shown to people: in a terminal, in Markdown, as a chart?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.results import RATE
from dashboards.sheet import INKS, blank

Rows = Sequence[Mapping[str, Any]]

HEADINGS = ("row", "figure", "times as fast as", "CPU µs an event", "peak MiB", "target")
COLOURS = {"driftline": INKS[0], "peer": INKS[1], "limit": "#999999"}
_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
_UNITS = {"ms": "ms", "mib": "MiB", "share": "of one model's rate", "us": "µs"}


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Write one row of the table as texts."""
    if row["missing"]:
        return (row["name"], f"not measured: {' '.join(row['missing'].split())[:200]}", "", "", "", "")
    headline = row["figure"]
    others = [figure_text(name, value) for name, value in row["figures"].items() if name not in (headline, RATE)]
    return (
        row["name"],
        "; ".join([figure_text(headline, row["figures"][headline]), *others]),
        ", ".join(f"{name} {value:,.3g}" for name, value in row["ratio"].items()),
        _parts(row["cpu_us_per_event"]),
        _parts(row["peak_mib"]),
        "; ".join(target_text(target) for target in row["target"]),
    )


def figure_text(name: str, value: float) -> str:
    """Write a figure with its unit, which is the end of its name.

    Examples
    --------
    >>> figure_text("events_per_s", 150400.0), figure_text("freshness_ms_p99", 812.4)
    ('150,400 events/s', 'freshness p99 812 ms')
    """
    if name.endswith("_per_s"):
        return f"{value:,.0f} {name.removesuffix('_per_s')}/s"
    words = name.split("_")
    unit = next((word for word in words if word in _UNITS), None)
    rest = " ".join(word for word in words if word != unit)
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{rest} {number} {_UNITS[unit]}" if unit else f"{rest} {number}"


def target_text(target: Mapping[str, Any]) -> str:
    """Write a target and whether it was met.

    Examples
    --------
    >>> target_text({"figure": "ratio", "peer": "faust", "at_least": 15, "met": True})
    '≥ 15 times faust: met'
    """
    at_least = "at_least" in target
    sign, bound = ("≥", target["at_least"]) if at_least else ("≤", target["at_most"])
    if target["figure"] == "ratio":
        text = f"{sign} {bound:,g} times {target['peer']}"
    elif target["figure"] == "peak_mib":
        text = f"{sign} {bound:,g} MiB"
    else:
        text = f"{sign} {figure_text(target['figure'], bound)}"
    return f"{text}: {_VERDICTS[target['met']]}"


def _parts(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.3g}" for name, value in values.items())


def rich_table(rows: Rows) -> Table:
    """Make the table for a terminal."""
    table = Table(*HEADINGS, show_lines=True)
    for row in rows:
        table.add_row(*cells(row))
    return table


def markdown_table(rows: Rows) -> str:
    """Make the table for a document, with what each row measures below its name."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    for row in rows:
        name, *rest = (text.replace("|", "/") for text in cells(row))
        lines.append("| " + " | ".join([f"`{name}`: {row['title']}", *rest]) + " |")
    return "\n".join(lines) + "\n"


def chart(rows: Rows, title: str) -> Figure:
    """Draw the rates as bars, the fastest on top, on a logarithmic axis."""
    found = sorted((row for row in rows if row[RATE]), key=lambda row: float(row[RATE]))
    figure = blank(title, 1.2 + 0.34 * max(len(found), 1))
    axes = figure.subplots()
    rates = [row[RATE] for row in found]
    axes.barh(range(len(found)), rates, color=[COLOURS[row["kind"]] for row in found], height=0.7)
    axes.set_yticks(range(len(found)), [row["title"] for row in found], fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(left=1_000, right=4 * max(rates, default=1_000))
    axes.set_xlabel("events a second, logarithmic; blue: Driftline, orange: peers, grey: limits", fontsize=9)
    for place, row in enumerate(found):
        axes.text(row[RATE] * 1.05, place, f"{row[RATE]:,.0f}", va="center", fontsize=9)
    return figure


def write_chart(path: Path, rows: Rows, title: str) -> None:
    """Write the chart as SVG, the same bytes for the same rows."""
    with matplotlib.rc_context({"svg.hashsalt": "driftline", "svg.fonttype": "none"}):
        chart(rows, title).savefig(path, format="svg", metadata={"Date": None})
