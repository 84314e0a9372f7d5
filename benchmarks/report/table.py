"""How are results shown to people: in a terminal, in Markdown, as a chart?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.report.machine import machine_text
from benchmarks.report.results import RATE
from dashboards.sheet import INKS, blank

Rows = Sequence[Mapping[str, Any]]

HEADINGS = ("row", "turns", "figure", "times as fast as", "CPU µs an event", "peak MiB", "target")
COLOURS = {"driftline": INKS[0], "peer": INKS[1], "limit": "#999999"}
_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
_UNITS = {"ms": "ms", "mib": "MiB", "share": "of one model's rate", "us": "µs"}


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Write one row of the table as texts."""
    if row["missing"]:
        why = " ".join(row["missing"].split())[:200]
        return (row["name"], "", f"not measured: {why}", "", "", "", "; ".join(map(target_text, row["target"])))
    headline = row["figure"]
    others = [figure_text(name, value) for name, value in row["figures"].items() if name not in (headline, RATE)]
    return (
        row["name"],
        str(row["turns"]),
        "; ".join([figure_text(headline, row["figures"][headline]), *others]),
        _parts(row["ratio"]),
        _parts(row["cpu_us_per_event"]),
        _parts(row["peak_mib"]),
        "; ".join(map(target_text, row["target"])),
    )


def figure_text(name: str, value: float) -> str:
    """Write a figure with its unit, which is the end of its name.

    Examples
    --------
    >>> figure_text("events_per_s", 150400.0), figure_text("freshness_ms_p99", 812.4)
    ('150,400 events/s', 'freshness p99 812 ms')
    """
    if name.endswith("_per_s"):
        return f"{value:,.0f} {name.removesuffix('_per_s').replace('_', ' ')}/s"
    words = name.split("_")
    unit = next((word for word in words if word in _UNITS), None)
    rest = " ".join(word for word in words if word != unit)
    return f"{rest} {_number(value)} {_UNITS[unit]}" if unit else f"{rest} {_number(value)}"


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
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
        name, *rest = cells(row)
        texts = [f"`{name}`: {row['title']}", *rest]
        lines.append("| " + " | ".join(text.replace("|", "/") for text in texts) + " |")
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


def _run_text(run: Mapping[str, Any]) -> str:
    seconds = f", {run['seconds']:,.0f} s" if "seconds" in run else ""
    return f"* {run['date']}: `{run['command']}`, {run['events']:,} events{seconds}"


def write_results(folder: Path, found: Mapping[str, Any], *, keep: bool) -> None:
    """Write what was found as `results.json`, `results.md` and `results.svg`.

    Parameters
    ----------
    keep
        Whether rows that the folder holds already, and that were not measured now, stay there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    as_json = folder / "results.json"
    rows = {row["name"]: row for row in json.loads(as_json.read_text())["rows"]} if keep and as_json.exists() else {}
    rows |= {row["name"]: row for row in found["rows"]}
    arranged = [rows[name] for name in sorted(rows, key=lambda name: (_ORDER[rows[name]["kind"]], name))]
    where = machine_text(found["machine"])
    as_json.write_text(json.dumps({"machine": found["machine"], "rows": arranged}, indent=1) + "\n")
    runs = {json.dumps(row["run"], sort_keys=True): row["run"] for row in arranged}
    lines = [_run_text(run) for run in runs.values()]
    head = "# Results\n\nWhat the columns mean is told in [README.md](README.md). "
    told = f"{head}Measured on {where}:\n\n" + "\n".join(lines) + "\n\n"
    (folder / "results.md").write_text(told + markdown_table(arranged))
    write_chart(folder / "results.svg", arranged, f"Events a second: {where}")


_ORDER = {"driftline": 0, "peer": 1, "limit": 2}
