"""What does somebody on call look at first, and what next?

From top to bottom: is anything wrong now, what drifted and how, how good is the model, what was asked for, does traffic
flow, are the values whole, do the workers keep up.
"""

from __future__ import annotations

from itertools import count

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.parts import (
    BLUE,
    DATA_SOURCE_UID,
    GRAY,
    GREEN,
    NO_STEPS,
    RED,
    YELLOW,
    Look,
    Marks,
    Panel,
    Words,
    bars,
    choice,
    data_source,
    one_number,
    over_time,
    rows_of,
    several,
)

OVERVIEW_UID = "driftline-overview"
TITLE = "Driftline overview"

_ALARM_FROM_ONE = ((None, GREEN), (1, RED))
_NOTICE_FROM_ONE = ((None, GREEN), (1, YELLOW))
_AT_LEAST_ONE = ((None, RED), (1, GREEN))
_LAG = ((None, GREEN), (100_000, YELLOW), (1_000_000, RED))
_RATIO = ((None, GREEN), (0.8, YELLOW), (1, RED))

_TIME = {"unit": "dateTimeAsSystem"}
_SHARE = {"unit": units.PercentUnit, "decimals": 1}
_SCORE = {"unit": units.Number, "decimals": 3}
_COUNT = {"unit": units.Short, "decimals": 0}
_PLAIN = {"unit": units.Number, "decimals": 0}
_DASHED = {
    "custom.lineStyle": {"fill": "dash", "dash": [4, 6]},
    "custom.lineWidth": 1,
    "custom.fillOpacity": 0,
    "custom.showPoints": "never",
}


def _colored(colors: dict[str, str]) -> dict[str, object]:
    """Colour the background of a cell by its word."""
    options = {word: {"color": color, "index": place} for place, (word, color) in enumerate(colors.items())}
    return {
        "mappings": [{"type": "value", "options": options}],
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
    }


_DISTRIBUTION_URL = (
    f"/d/{OVERVIEW_UID}?var-feature=${{__value.raw:percentencode}}&${{model:queryparam}}&${{version:queryparam}}"
    "&${segment:queryparam}&${metric:queryparam}&${__url_time_range}"
)

_NO_EPISODE = "Nothing was wrong"
_NO_VERDICT = "No window was judged in this time range"
_NO_METRIC = "No metric here: no labels yet, or none are due in this time range"


def what_is_wrong() -> tuple[Panel, ...]:
    """Say whether anything is wrong now, and what."""
    return (
        one_number(
            "open_episodes",
            Words("Open episodes", "What is wrong now, whatever the time range.", "0"),
            Look(4, units.Number, _ALARM_FROM_ONE, 4),
        ),
        one_number(
            "open_requests",
            Words("Unfinished retraining requests", "Requested and not finished, whatever the time range.", "0"),
            Look(4, units.Number, _NOTICE_FROM_ONE, 4),
        ),
        one_number(
            "workers_alive",
            Words("Workers alive", "Seen in the last half minute.", "0"),
            Look(4, units.Number, _AT_LEAST_ONE, 4),
        ),
        one_number(
            "lag",
            Words("Lag", "Records that the live workers still have to read.", "0"),
            Look(4, units.Short, _LAG, 4),
        ),
        one_number(
            "late_events",
            Words("Late events", "Since counting began; they count in their windows, by restatement.", "0"),
            Look(4, units.Short, NO_STEPS, 4),
        ),
        one_number(
            "dead_letters",
            Words("Dead letters", "Events that could not be used, since counting began.", "0"),
            Look(4, units.Short, _NOTICE_FROM_ONE, 4),
        ),
        rows_of(
            "episodes",
            Words(
                "Episodes and their causes",
                "Open ones and those of the time range; a row for each cause, the clearest first.",
                _NO_EPISODE,
            ),
            Look(
                24,
                units.Number,
                columns={
                    "state": _colored({"open": RED, "closed": GREEN}),
                    "severity": _colored({"critical": RED, "warning": YELLOW}),
                    "opened": _TIME,
                    "closed": _TIME,
                    "measured": _SCORE,
                    "limit": _SCORE,
                },
            ),
        ),
    )


def retraining() -> tuple[Panel, ...]:
    """Say what was asked for, and what came of it."""
    return (
        rows_of(
            "retraining",
            Words(
                "Retraining requests",
                "Requests of the time range and unfinished ones, with the data recommended for training.",
                "No retraining was requested",
            ),
            Look(
                24,
                columns={
                    "requested": _TIME,
                    "finished": _TIME,
                    "train from": _TIME,
                    "train to": _TIME,
                    "state": _colored({"requested": YELLOW, "started": BLUE, "succeeded": GREEN, "failed": RED}),
                },
            ),
        ),
    )


def traffic() -> tuple[Panel, ...]:
    """Say whether events flow, and what became of them."""
    return (
        over_time(
            ["traffic"],
            Words(
                "Predictions and labels",
                "Predictions by their own time, labels by the time they met their prediction.",
                "No traffic in this time range, or its rollups are gone",
            ),
            Look(16, units.CountsPerSecond),
        ),
        rows_of(
            "counts",
            Words(
                "What became of every record",
                "Since counting began; docs/contracts.md explains each reason.",
                "Nothing was read yet",
            ),
            Look(8, columns={"events": _COUNT}),
        ),
    )


def drift() -> tuple[Panel, ...]:
    """Say what moved, how far and how."""
    return (
        over_time(
            ["drift_over_time"],
            Words(
                "Drift: score over threshold",
                "The ten series that come furthest; from 1 on it is drift, and 0.8 is near.",
                _NO_VERDICT,
            ),
            Look(24, units.Number, _RATIO, 9),
        ),
        rows_of(
            "nearest_to_drift",
            Words(
                "Nearest to drift in the last window",
                "Of each model and version, the furthest first; a click on a feature shows its distribution.",
                _NO_VERDICT,
            ),
            Look(
                14,
                units.Number,
                _RATIO,
                10,
                columns={
                    "feature": {
                        "links": [
                            {
                                "title": "show its distribution",
                                "url": _DISTRIBUTION_URL,
                            }
                        ]
                    },
                    "level": _colored({"drift": RED, "warning": YELLOW, "ok": GREEN}),
                    "score / threshold": {"decimals": 2, "custom.cellOptions": {"type": "color-text"}},
                    "score": _SCORE,
                    "threshold": _SCORE,
                    "p-value": {"unit": "sci", "decimals": 1},
                    "n reference": _COUNT,
                    "n current": _COUNT,
                    "window end": _TIME,
                },
            ),
        ),
        bars(
            "distribution",
            "bin",
            Words(
                "Distribution of ${feature}",
                "Shares of its bins in the last window beside the reference; missing and other values are bins, too.",
                "This feature was not judged in this time range",
            ),
            Look(10, units.PercentUnit, height=10),
        ),
    )


def performance() -> tuple[Panel, ...]:
    """Say how good the model is, and how sure that is."""
    return (
        over_time(
            ["performance_of_cohorts", "performance_by_arrival", "floor", "performance_estimated"],
            Words(
                "Live ${metric}",
                "By the predictions' time, with interval; corrected; by labels' arrival; estimated; the last floor.",
                _NO_METRIC,
            ),
            Look(
                16,
                units.Number,
                height=9,
                columns={
                    "^(low|high) ": _DASHED,
                    "by arrival": {"custom.lineWidth": 1, "custom.fillOpacity": 0},
                    " estimated ": {"custom.lineStyle": {"fill": "dot", "dash": [2, 6]}, "custom.fillOpacity": 0},
                    "^floor ": {**_DASHED, "color": {"mode": "fixed", "fixedColor": RED}},
                },
            ),
        ),
        over_time(
            ["coverage"],
            Words(
                "Labels that are in",
                "Share of predictions whose label has come; a metric below full coverage may still change.",
                _NO_METRIC,
            ),
            Look(8, units.PercentUnit, height=9, most=1),
        ),
        rows_of(
            "latest_metrics",
            Words("All metrics, last known", "Of the last window in which each metric is defined.", _NO_METRIC),
            Look(
                24,
                units.Number,
                columns={
                    "value": _SCORE,
                    "low": _SCORE,
                    "high": _SCORE,
                    "coverage": _SHARE,
                    "labels": _COUNT,
                    "window end": _TIME,
                },
            ),
        ),
    )


def quality() -> tuple[Panel, ...]:
    """Say whether values are whole."""
    return (
        over_time(
            ["missing_and_other"],
            Words(
                "Missing and unusable values",
                "The ten largest shares; other: a wrong type, not finite, or a category unknown to the reference.",
                _NO_VERDICT,
            ),
            Look(24, units.PercentUnit, most=1),
        ),
    )


def workers() -> tuple[Panel, ...]:
    """Say who works, and how far behind."""
    return (
        rows_of(
            "workers",
            Words("Workers", "Those of the last day, whatever the time range.", "No worker was seen: `driftline run`"),
            Look(
                24,
                units.Number,
                height=7,
                columns={
                    "pid": _PLAIN,
                    "partitions": _PLAIN,
                    "state": _colored({"running": GREEN, "stopped": GRAY, "gone": RED}),
                    "not seen for": {"unit": units.Seconds, "decimals": 0},
                    "lag": _COUNT,
                },
            ),
        ),
    )


ROWS = {
    "What is wrong": what_is_wrong,
    "Drift": drift,
    "Live performance": performance,
    "Retraining": retraining,
    "Traffic": traffic,
    "Data quality": quality,
    "Workers": workers,
}

VARIABLES = (
    several("model", "models", "Models of the configuration"),
    several("version", "versions", "Versions that were judged"),
    choice("segment", "segments", "* is all traffic", first="*"),
    choice("feature", "features", "Whose distribution is shown; the furthest from its reference first"),
    choice("metric", "metrics", "Which live metric is drawn", first="recall"),
)

MARKS = (
    Marks("Alarms", "alarms", RED),
    Marks("Recoveries", "recoveries", GREEN),
    Marks("Retraining requests", "requests", BLUE),
)


def overview(data_source_uid: str = DATA_SOURCE_UID) -> models.Dashboard:
    """Put the dashboard together.

    Parameters
    ----------
    data_source_uid
        The data source that is chosen as long as nobody chooses another.

    Examples
    --------
    >>> overview().uid
    'driftline-overview'
    """
    board = dashboard.Dashboard(TITLE).uid(OVERVIEW_UID).tags(["driftline"]).timezone("browser")
    board.description("Drift, live accuracy and what came of it, from the views of Driftline's database.")
    board.time("now-2d", "now").refresh("1m").tooltip(models.DashboardCursorSync.CROSSHAIR).readonly()
    board.with_variable(data_source(data_source_uid))
    for variable in VARIABLES:
        board.with_variable(variable)
    for marks in MARKS:
        board.annotation(marks)
    for title, make in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in make():
            board.with_panel(panel)
    built = board.build()
    for number, panel_or_row in zip(count(1), built.panels or ()):
        panel_or_row.id_val = number
    return built
