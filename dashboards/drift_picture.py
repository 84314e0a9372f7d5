"""How far was each feature from drift, window by window, and did the error rates change?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dashboards.sheet import (
    ALL_TRAFFIC,
    DAY_MS,
    INKS,
    LIMIT,
    SERIES_MAX,
    Row,
    blank,
    in_words,
    literal,
    ms_of,
    number,
    pen,
    say,
    short,
    time_axis,
)
from driftline.settings import WINDOW_DETECTORS, format_duration

ERRORS = "@error"
FEATURES_MAX = 30
COLUMNS_MAX = 200

# Blue against orange for every kind of colour blindness, and ever darker for those who see no colours at all.
_NOT_READY = -1.0
_BOUNDS = (-2.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 4.0, float("inf"))
_SHADES = ("#d9d9d9", "#f4f8fb", "#d6e6f2", "#a8cbe3", "#8fbcdb", "#ef8a1d", "#c9481a", "#7a1c0c")
_SHADE_NAMES = ("too few events", "below ¼", "¼ to ½", "½ to ¾", "¾ to 1", "drift: 1 to 2", "2 to 4", "4 and more")
_WARNING: Mapping[str, Any] = {"marker": "o", "linestyle": "", "color": "black", "fillstyle": "none"}
_CHANGE: Mapping[str, Any] = {"marker": "^", "linestyle": "", "color": "black", "markeredgecolor": "white"}

_Grid = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class _Verdict:
    name: str
    version: str
    detector: str
    start_ms: int
    end_ms: int
    ratio: float
    level: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """Equal stretches of event time, each for one window or for several."""

    first_ms: int
    width_ms: int
    n: int
    windows_each: int

    def of(self, end_ms: int) -> int:
        return (end_ms - 1 - self.first_ms) // self.width_ms

    @property
    def edges(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return (self.first_ms + np.arange(self.n + 1) * self.width_ms) / DAY_MS


CHECKS = ("quality.", "traffic.")
"""How the names of detectors begin that say what is broken, not how far a distribution has moved."""


def drift_figure(rows: Iterable[Row]) -> Figure:
    """Draw how far each feature was from drift, window by window, and whether the error rates changed.

    Parameters
    ----------
    rows
        Rows of `v_drift`; only those of all traffic are drawn, without checks of the data and of the traffic.

    Returns
    -------
    A heat map of score / threshold, the worst features first, over a line for each error series. At most `FEATURES_MAX`
    features, `COLUMNS_MAX` columns (each then stands for several windows and shows their worst) and six error series.

    Examples
    --------
    >>> drift_figure([]).get_suptitle()
    'Drift'
    """
    verdicts, models = [], set()
    for row in rows:
        if row["segment"] == ALL_TRAFFIC and not row["detector"].startswith(CHECKS):
            verdicts.append(_verdict(row))
            models.add(row["model"])
    if not verdicts:
        return in_words("Drift", "No window was judged: there were no predictions, or no detector is configured.")
    columns = _columns(verdicts)
    features = [verdict for verdict in verdicts if not verdict.name.startswith(ERRORS)]
    errors = [verdict for verdict in verdicts if verdict.name.startswith(ERRORS)]
    names = _worst_first(features)
    has_lines = any(verdict.level != "not_ready" for verdict in errors)
    heights = [0.27 * min(max(len(names), 3), FEATURES_MAX), 2.1 if has_lines else 0.3]
    figure = blank(f"Drift of {', '.join(sorted(models))}", 2.6 + sum(heights))
    upper, lower = figure.subplots(2, 1, height_ratios=heights)
    for axes in (upper, lower):
        axes.set_xlim(columns.edges[0], columns.edges[-1])
    _heat_map(upper, features, names[:FEATURES_MAX], columns)
    upper.set_title(_heat_title(verdicts, columns, len(names) - FEATURES_MAX), loc="left", fontsize=9, pad=34)
    if has_lines:
        _error_lines(lower, errors)
        upper.sharex(lower)
        upper.tick_params(axis="x", labelbottom=False)
    else:
        say(lower, "No labels came for these predictions, or too few: nobody can say whether the error rates changed.")
    time_axis(lower if has_lines else upper)
    return figure


def _verdict(row: Row) -> _Verdict:
    threshold = number(row["threshold"])
    return _Verdict(
        row["feature"],
        row["version"],
        row["detector"],
        ms_of(row["window_start"]),
        ms_of(row["window_end"]),
        number(row["score"]) / threshold if threshold > 0 else float("nan"),
        row["level"],
    )


def _columns(verdicts: Sequence[_Verdict]) -> _Columns:
    """Lay columns over all windows: one a slide, or where that makes too many one for several."""
    ends = sorted({verdict.end_ms for verdict in verdicts})
    lengths = {verdict.end_ms - verdict.start_ms for verdict in verdicts}
    slide_ms = min([*lengths, *(later - earlier for earlier, later in pairwise(ends))])
    n_slides = (ends[-1] - ends[0]) // slide_ms + 1
    windows_each = -(-n_slides // COLUMNS_MAX)
    return _Columns(ends[0] - slide_ms, slide_ms * windows_each, -(-n_slides // windows_each), windows_each)


def _worst_first(verdicts: Iterable[_Verdict]) -> list[str]:
    """Order features by windows in drift by distribution, then by sequential detectors, then by their highest ratio."""
    drifted: dict[str, Counter[bool]] = defaultdict(Counter)
    highest: dict[str, float] = defaultdict(float)
    for verdict in verdicts:
        drifted[verdict.name][verdict.detector not in WINDOW_DETECTORS] += verdict.level == "drift"
        if verdict.level != "not_ready":
            highest[verdict.name] = max(highest[verdict.name], verdict.ratio)
    return sorted(drifted, key=lambda name: (-drifted[name][False], -drifted[name][True], -highest[name], name))


def _heat_title(verdicts: Sequence[_Verdict], columns: _Columns, n_hidden: int) -> str:
    n_versions = len({verdict.version for verdict in verdicts})
    each = "one window" if columns.windows_each == 1 else f"the worst of {columns.windows_each} windows"
    hidden = f" ({n_hidden} more are not shown)" if n_hidden > 0 else ""
    versions = f", the worst of {n_versions} versions" if n_versions > 1 else ""
    return (
        f"Features, the worst first{hidden}. "
        f"One column: {each}, {format_duration(columns.width_ms)}; all traffic{versions}."
    )


def _heat_map(axes: Axes, verdicts: Sequence[_Verdict], names: Sequence[str], columns: _Columns) -> None:
    detectors = sorted(
        {verdict.detector for verdict in verdicts}, key=lambda name: (name not in WINDOW_DETECTORS, name)
    )
    # The colour is one detector's story, or one kind's; the others are marks upon it.
    coloured = [name for name in detectors if name in WINDOW_DETECTORS] or detectors
    place = {name: row for row, name in enumerate(names)}
    ratios = np.full((len(names), columns.n), np.nan)
    warned, changed = np.zeros(ratios.shape, np.bool_), np.zeros(ratios.shape, np.bool_)
    n_drift: Counter[tuple[str, str]] = Counter()
    for verdict in verdicts:
        if verdict.name not in place:
            continue
        cell = place[verdict.name], columns.of(verdict.end_ms)
        n_drift[verdict.name, verdict.detector] += verdict.level == "drift"
        if verdict.detector in coloured:
            ratios[cell] = np.fmax(ratios[cell], _NOT_READY if verdict.level == "not_ready" else verdict.ratio)
            warned[cell] |= verdict.level == "warning"
        else:
            changed[cell] |= verdict.level == "drift"
    warned &= ~(ratios >= 1)
    axes.pcolormesh(
        columns.edges,
        np.arange(len(names) + 1),
        np.ma.masked_invalid(ratios),
        cmap=ListedColormap(_SHADES),
        norm=BoundaryNorm([*_BOUNDS[:-1], 1e300], len(_SHADES)),
        edgecolors="white" if columns.n <= COLUMNS_MAX // 2 else "face",
        linewidth=0.6 if columns.n <= COLUMNS_MAX // 2 else 0.0,
    )
    middles = (columns.edges[:-1] + columns.edges[1:]) / 2
    size = float(np.clip(520 / columns.n, 2.5, 8.0))
    for marked, style in ((warned, _WARNING), (changed, _CHANGE)):
        rows, cells = np.nonzero(marked)
        axes.plot(middles[cells], rows + 0.5, markersize=size, markeredgewidth=size / 8, **style)
    axes.set_ylim(len(names), 0)
    axes.set_yticks(np.arange(len(names)) + 0.5, [short(name) for name in names], fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    beside: Mapping[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "parse_math": False}
    n_windows = len({verdict.end_ms for verdict in verdicts})
    heading = f"in drift, of {n_windows}\n{' · '.join(name.upper() for name in detectors)}"
    axes.text(1.01, -0.15, heading, va="bottom", **beside)
    for row, name in enumerate(names):
        counts = " · ".join(str(n_drift[name, detector]) for detector in detectors)
        axes.text(1.01, row + 0.5, counts, va="center", **beside)
    handles = _shades_in(ratios)
    if warned.any():
        handles.append(Line2D([], [], label="warning", **_WARNING))
    if changed.any():
        watching = ", ".join(name.upper() for name in detectors if name not in coloured)
        handles.append(Line2D([], [], label=f"{watching}: drift", markersize=8, **_CHANGE))
    _heat_legend(axes, handles, f"score / threshold ({', '.join(name.upper() for name in coloured)})")


def _shades_in(ratios: _Grid) -> list[Patch | Line2D]:
    used = np.unique(np.digitize(ratios[np.isfinite(ratios)], _BOUNDS[1:-1])).tolist()
    return [Patch(facecolor=_SHADES[shade], edgecolor="#777777", label=_SHADE_NAMES[shade]) for shade in used]


def _heat_legend(axes: Axes, handles: Sequence[Patch | Line2D], title: str) -> None:
    legend = axes.legend(
        handles=list(handles),
        title=title,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=max(1, len(handles)),
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.4,
        borderaxespad=0,
    )
    legend.set_alignment("left")


def _error_lines(axes: Axes, verdicts: Sequence[_Verdict]) -> None:
    several = len({verdict.version for verdict in verdicts}) > 1
    series: dict[str, list[_Verdict]] = defaultdict(list)
    for verdict in verdicts:
        series[f"{verdict.name}, {verdict.version}" if several else verdict.name].append(verdict)
    worst = sorted(series, key=lambda name: (-sum(verdict.level == "drift" for verdict in series[name]), name))
    for place, name in enumerate(sorted(worst[:SERIES_MAX])):
        line = sorted(series[name], key=lambda verdict: verdict.end_ms)
        days = np.array([verdict.end_ms for verdict in line]) / DAY_MS
        ratio = np.array([np.nan if verdict.level == "not_ready" else verdict.ratio for verdict in line])
        drift = np.array([verdict.level == "drift" for verdict in line])
        label = f"{short(name)}: drift in {drift.sum()} of {len(line)} windows"
        axes.plot(days, ratio, label=label, **pen(place, len(line)))
        axes.plot(days[drift], ratio[drift], "^", color=INKS[place], markeredgecolor="black", ms=9, clip_on=False)
    axes.axhline(1, label="threshold: drift from here on (▲)", **LIMIT)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("change of the rate\n/ threshold", fontsize=8)
    axes.grid(alpha=0.3)
    hidden = f"; {len(worst) - SERIES_MAX} more series are not shown" if len(worst) > SERIES_MAX else ""
    by = ", ".join(sorted({verdict.detector.upper() for verdict in verdicts}))
    title = f"Error rates by true class ({by}): did the relation of inputs to labels change?{hidden}"
    axes.set_title(title, loc="left", fontsize=9)
    literal(axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=3, fontsize=8, frameon=False))
