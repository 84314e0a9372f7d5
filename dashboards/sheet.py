"""What do all pictures share: the sheet, its time axis, inks that everybody tells apart, and words where data lack?

Invariants: a sheet knows nothing of what was drawn before it; no text of the data is read as mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.legend import Legend

Row = Mapping[str, str]
"""One row of a replay's file, by column name, as text."""

ALL_TRAFFIC = "*"
DAY_MS = 86_400_000
NAME_LENGTH_MAX = 28
SERIES_MAX = 6
MARKED_POINTS_MAX = 200
"""A line of more points than these is drawn without their marks."""

INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which every kind of colour blindness tells apart."""

LIMIT: Mapping[str, Any] = {"color": "black", "linewidth": 1.0, "linestyle": ":"}
"""How a threshold or a floor is drawn."""

_STYLES = ("-", "--", "-.", ":", "-", "--")
_MARKS = (".", "x", "+", "1", "2", "3")
_WIDTH_INCHES = 13.0


def blank(title: str, height_inches: float) -> Figure:
    """Begin a sheet."""
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", parse_math=False)
    return figure


def in_words(title: str, words: str) -> Figure:
    """Make a sheet that says why there is nothing to draw."""
    figure = blank(title, 1.6)
    say(figure.subplots(), words)
    return figure


def say(axes: Axes, words: str) -> None:
    """Put a sentence where a panel would be."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=11, color="#444444")


def time_axis(axes: Axes) -> None:
    """Date a panel whose x values are days since 1970."""
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]  # matplotlib types it in part
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_xlabel("end of the window (UTC)", fontsize=9)
    axes.tick_params(axis="x", labelsize=9)


def pen(place: int, points: int) -> dict[str, Any]:
    """Choose colour, style and mark of one of up to `SERIES_MAX` lines, so that print and grey tell them apart, too."""
    mark = _MARKS[place] if points <= MARKED_POINTS_MAX else ""
    return {"color": INKS[place], "linestyle": _STYLES[place], "linewidth": 1.3, "marker": mark, "markersize": 5}


def literal(legend: Legend) -> Legend:
    """Show the names in a legend as they are written."""
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def short(name: str) -> str:
    """Cut a long name in its middle, where names differ least.

    Examples
    --------
    >>> short("age"), short("transactions_in_the_last_30_days_eur")
    ('age', 'transactions_i…t_30_days_eur')
    """
    if len(name) <= NAME_LENGTH_MAX:
        return name
    half = NAME_LENGTH_MAX // 2
    return f"{name[:half]}…{name[half + 1 - NAME_LENGTH_MAX :]}"


def number(text: str) -> float:
    """Read a number; an empty field is NaN."""
    return float(text) if text else float("nan")


@lru_cache(maxsize=65_536)
def ms_of(time: str) -> int:
    """Read a time in milliseconds since 1970.

    Examples
    --------
    >>> ms_of("1970-01-02T00:00:00.001Z")
    86400001
    """
    return round(datetime.fromisoformat(time).timestamp() * 1000)
