"""How is what came of it shown? As a page, a picture and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.detection.items import AFTER as ITEMS_AFTER
from benchmarks.detection.items import NULL as ITEMS_NULL
from benchmarks.detection.windows import AFTER, NULL
from dashboards.sheet import INKS, blank

Rows = Sequence[Mapping[str, Any]]
TOOLS = ("driftline", "river", "frouros", "alibi-detect", "evidently", "nannyml", "baseline")
_COLOURS = dict(zip(TOOLS, (*INKS[:5], INKS[5], "#999999"), strict=True))
_COLUMNS = (
    ("independent", "false_per_100k", "false alarms in 100,000, independent values"),
    ("dependent", "false_per_100k", "… that resemble their neighbours"),
    ("independent", "found", "share of changes found"),
    ("independent", "delay_median", "median delay"),
)
_TEXT = Path(__file__).with_name("page.md")


def number(value: float | None, digits: int = 3) -> str:
    """Write a number briefly; what there is not is a dash.

    Examples
    --------
    >>> number(None), number(0.0), number(12345.6), number(0.98765)
    ('-', '0', '12,346', '0.988')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == 0 or abs(value) >= 100 else f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """Write a share as per cent."""
    return "-" if value is None else f"{100 * value:.3g} %"


def arranged(rows: Rows) -> list[Mapping[str, Any]]:
    """Return the rows by tool, ours first, as they came."""
    return sorted(rows, key=lambda row: TOOLS.index(row["tool"]))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['tool']}: {row['detector']}"


def overall(rows: Rows, table: str) -> str:
    """Make the table over all families."""
    windows = table == "windows"
    head = ["detector", "sees", "streams", "false alarms in 100,000"]
    head += ["null windows with an alarm"] if windows else []
    head += ["… AR(1)", "found", "by chance", "median delay"]
    written = []
    for row in arranged([row for row in rows if row["table"] == table]):
        if row["missing"]:
            written.append([_named(row), row["missing"], *[""] * (len(head) - 2)])
            continue
        of = row["independent"]
        written.append(
            [
                f"**{_named(row)}**" if row["tool"] == "driftline" else _named(row),
                row["sees"],
                str(of["streams"]),
                number(of["false_per_100k"]),
                *([share(row["null_windows_alarmed"])] if windows else []),
                number(row["dependent"]["false_per_100k"]),
                share(of["found"]),
                share(of["by_chance"]),
                number(of["delay_median"]),
            ]
        )
    return _table(head, written)


def by_family(rows: Rows, table: str) -> str:
    """Make the table of each family: false alarms in 100,000, share found, median delay."""
    chosen = arranged([row for row in rows if row["table"] == table and not row["missing"]])
    families = list(dict.fromkeys(family for row in chosen for family in row["families"]))

    def cell(row: Mapping[str, Any], family: str) -> str:
        of = row["families"].get(family)
        if family in row["refused"]:
            return f"refused: {row['refused'][family]}"
        if of is None:
            return ""
        return " / ".join([number(of["false_per_100k"]), share(of["found"]), number(of["delay_median"])])

    return _table(
        ["detector", *families], ([_named(row), *(cell(row, family) for family in families)] for row in chosen)
    )


def estimates(rows: Rows) -> str:
    """Make the table of estimates: ours beside the peer's."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["table"] == "estimates":
            found.setdefault((row["windows_of"], row["metric"]), {})[row["tool"]] = row
    head = ("windows", "metric", "number", "Driftline", "NannyML's CBPE", "bias of Driftline", "of CBPE")
    return _table(
        head,
        (
            (
                of,
                metric,
                str(by["driftline"]["windows"]),
                f"{by['driftline']['mean_absolute_error']:.5f}",
                f"{by['nannyml']['mean_absolute_error']:.5f}" if "nannyml" in by else "not measured",
                f"{by['driftline']['bias']:+.4f}",
                f"{by['nannyml']['bias']:+.4f}" if "nannyml" in by else "",
            )
            for (of, metric), by in found.items()
            if "driftline" in by
        ),
    )


def adwin(rows: Rows) -> str:
    """Make the table of ADWIN by itself."""
    head = ("stream", "streams", "unchanged items", "false alarms", "median delay", "wanted")
    return _table(
        head,
        (
            (
                row["family"],
                str(row["streams"]),
                f"{row['looked']:,}",
                str(row["false"]),
                number(row["delay_median"], 4),
                f"at most {row['delay_median_max']:,}",
            )
            for row in rows
            if row["table"] == "adwin"
        ),
    )


def page(found: Mapping[str, Any]) -> str:
    """Write the page around the tables."""
    rows, machine = found["rows"], found["machine"]
    runs = {json.dumps(row["run"], sort_keys=True): row["run"] for row in rows}
    versions = {row["tool"]: row["version"] for row in rows if row["version"]}
    return _TEXT.read_text().format(
        runs="\n".join(f"* {run['date']}: `{run['command']}`{run.get('how', '')}" for run in runs.values()),
        machine=f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        versions=", ".join(f"{tool} {versions[tool]}" for tool in TOOLS if tool in versions),
        items_null=f"{ITEMS_NULL:,}",
        items_after=f"{ITEMS_AFTER:,}",
        windows_null=NULL,
        windows_after=AFTER,
        items=overall(rows, "items"),
        windows=overall(rows, "windows"),
        items_by_family=by_family(rows, "items"),
        windows_by_family=by_family(rows, "windows"),
        adwin=adwin(rows),
        estimates=estimates(rows),
    )


def picture(rows: Rows) -> Figure:
    """Draw false alarms, changes found and delay of every detector, on one sheet."""
    tables = [
        [row for row in reversed(arranged(rows)) if row["table"] == table and not row["missing"]]
        for table in ("items", "windows")
    ]
    figure = blank("False alarms, changes found, and how late", 1.6 + 0.26 * sum(map(len, tables)))
    grid = figure.subplots(2, len(_COLUMNS), squeeze=False, height_ratios=[max(len(of), 1) for of in tables])
    for line, of in zip(grid, tables, strict=True):
        for place, (axes, column) in enumerate(zip(line, _COLUMNS, strict=True)):
            _draw(axes, of, column, with_names=place == 0)
    return figure


def _draw(axes: Axes, rows: Rows, column: tuple[str, str, str], *, with_names: bool) -> None:
    part, figure, title = column
    for place, row in enumerate(rows):
        value = row[part][figure]
        if value is not None:
            axes.plot(value, place, "o", color=_COLOURS[row["tool"]], markersize=6)
    axes.set_yticks(range(len(rows)), [_named(row) if with_names else "" for row in rows], fontsize=8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="both", color="#dddddd", linewidth=0.6)
    if figure == "found":
        axes.set_xlim(-0.04, 1.04)
    else:
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlim(left=-0.2)


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """Write `detection.json`, `detection.md` and `detection.svg`; the same bytes for the same rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "detection.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "detection.md").write_text(page(found))
    with matplotlib.rc_context({"svg.hashsalt": "driftline", "svg.fonttype": "none"}):
        picture(found["rows"]).savefig(folder / "detection.svg", format="svg", metadata={"Date": None})
