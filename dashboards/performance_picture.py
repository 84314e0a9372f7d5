"""How right was the model over time, how sure is that, and how many of its labels are in?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

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
    short,
    time_axis,
)

BASES = {
    "cohort": "cohort: by the time of the prediction",
    "arrival": "arrival: by the time of the label",
    "estimated": "estimated without labels",
}
ESTIMATED = "estimated"
"""The basis that has no labels, and so no coverage."""

METRICS = {
    "accuracy": "accuracy\nright answers / all",
    "precision": "precision\ntrue / predicted positives",
    "recall": "recall\nfound / actual positives",
    "f1": "F1\nprecision with recall",
    "roc_auc": "ROC AUC\nshare of pairs in order",
    "mae": "mean absolute error\nunit of the label",
    "rmse": "root mean square error\nunit of the label",
}
"""What stands beside a metric's axis; in the order of the panels."""

_Series = tuple[str, str]
"""Version and basis."""


def performance_figure(rows: Iterable[Row], floors: Mapping[str, float]) -> Figure:
    """Draw each live metric over time with its interval, and below them how many labels are in.

    Parameters
    ----------
    rows
        Rows of `v_performance`; only those of all traffic are drawn.
    floors
        By metric, the value from which a model is called degraded; drawn as a line.

    Examples
    --------
    >>> performance_figure([], {}).get_suptitle()
    'Live performance'
    """
    found: dict[str, dict[_Series, list[Row]]] = defaultdict(lambda: defaultdict(list))
    models, is_known = set(), False
    for row in rows:
        if row["segment"] == ALL_TRAFFIC:
            found[row["metric"]][row["version"], row["basis"]].append(row)
            models.add(row["model"])
            is_known |= int(row["n_labelled"]) > 0 or row["basis"] == ESTIMATED
    if not found:
        return in_words("Live performance", "The configuration of this model has no labels, so nothing was measured.")
    title = f"Live performance of {', '.join(sorted(models))}"
    if not is_known:
        return in_words(title, "No labels came for these predictions: nobody can say which answers were right.")
    metrics = sorted(found, key=lambda metric: (_rank(metric, METRICS), metric))
    series = sorted({key for lines in found.values() for key in lines}, key=lambda key: (key[0], _rank(key[1], BASES)))
    shown = {key: place for place, key in enumerate(series[:SERIES_MAX])}
    figure = blank(title, 1.6 + 1.45 * (len(metrics) + 1))
    panels: Sequence[Axes] = figure.subplots(len(metrics) + 1, 1, sharex=True)
    for axes, metric in zip(panels, metrics, strict=False):
        for key, place in shown.items():
            _metric_line(axes, found[metric][key], place)
        if metric in floors:
            axes.axhline(floors[metric], **LIMIT)
        axes.set_ylabel(METRICS.get(metric, metric), fontsize=8)
        axes.grid(alpha=0.3)
    _coverage(panels[-1], found[metrics[0]], shown)
    _legend(panels[0], shown, len(series) - len(shown), has_floor=any(metric in floors for metric in metrics))
    time_axis(panels[-1])
    return figure


def _metric_line(axes: Axes, rows: Sequence[Row], place: int) -> None:
    days = _days(rows)
    value, low, high = (np.array([number(row[name]) for row in rows]) for name in ("value", "low", "high"))
    axes.fill_between(days, low, high, color=INKS[place], alpha=0.18, linewidth=0)
    axes.plot(days, value, **pen(place, len(rows)))


def _coverage(axes: Axes, lines: Mapping[_Series, Sequence[Row]], shown: Mapping[_Series, int]) -> None:
    for key, place in shown.items():
        rows = lines.get(key, ()) if key[1] != ESTIMATED else ()
        share = np.array([number(row["coverage"]) for row in rows])
        axes.plot(_days(rows), share, **pen(place, len(rows)))
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("coverage\nlabelled / predictions", fontsize=8)
    axes.grid(alpha=0.3)


def _legend(axes: Axes, shown: Mapping[_Series, int], n_hidden: int, *, has_floor: bool) -> None:
    several = len({version for version, _ in shown}) > 1
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            label=BASES.get(basis, basis) + (f", version {short(version)}" if several else ""),
            **pen(place, 1),
        )
        for (version, basis), place in shown.items()
    ]
    handles.append(Patch(facecolor="#777777", alpha=0.3, label="band: 95 % interval"))
    if has_floor:
        handles.append(Line2D([], [], label="floor", **LIMIT))
    per_row = 4
    literal(
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(per_row, len(handles)),
            fontsize=8,
            frameon=False,
        )
    )
    hidden = f"; {n_hidden} more series are not shown" if n_hidden else ""
    legend_rows = -(-len(handles) // per_row)
    axes.set_title(f"One point: one window, all traffic{hidden}.", loc="left", fontsize=9, pad=10 + 13 * legend_rows)


def _days(rows: Sequence[Row]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([ms_of(row["window_end"]) for row in rows], np.float64) / DAY_MS


def _rank(name: str, known: Iterable[str]) -> int:
    order = list(known)
    return order.index(name) if name in order else len(order)
