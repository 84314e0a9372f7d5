"""Which of a closed slide's verdicts and metrics are evidence for the policy? Pure functions.

A window detector judges every window, so its verdicts count and its silence ends a streak. A sequential detector speaks
once, when it finds a change: its cut counts as a window, and where nothing else watches the feature it counts for all.
Errors that become fewer are no evidence: a model that recovers needs no episode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from detectors.metrics import Estimate
from detectors.windows.distances import DISTANCES
from driftline.settings import DriftSettings
from driftline.settings.metrics import ERROR_METRICS, TWO_SIDED_METRICS, Metric
from driftline.settings.models import PerformanceSettings
from retraining.policy import Findings
from retraining.state import Cause, Evidence, Level, Severity
from streams.closing.results import JudgedGroup, MeasuredGroup
from streams.judging.verdicts import Verdict
from streams.monitored import ALL_SEGMENTS

CRITICAL_CLEARNESS = 2.5
"""From so many times its threshold on a drift is critical: a PSI of 0.25 against the usual 0.1."""

CLEARNESS_MAX = 1e9

P_VALUE_DECIMALS = 12
"""Of p-values in messages; the views have them whole."""

SHARES = ("reference_share", "current_share")
EXPECTED_DECIMALS = 3

LEVELS: Mapping[str, Level] = {"ok": "ok", "warning": "warning", "drift": "drift"}

ERRORS = "@error"
"""How the names of error series begin, which only sequential detectors watch."""

PURE_METRICS: frozenset[Metric] = frozenset(
    {"recall", "specificity", "roc_auc", "macro_recall", "mae", "rmse", "mape", "r2", "bias"}
)
"""Metrics that look within a true class, or at errors. The others follow the share of each class among the labels."""


def drift_findings(
    drift: DriftSettings,
    judged: Collection[JudgedGroup],
    window: tuple[int, int],
    segment_name: Callable[[int], str],
    followed: Container[Cause],
) -> Findings:
    """Return what a window says of drift.

    Parameters
    ----------
    judged
        Of one version, all segments.
    segment_name
        Names the segment of a code.
    followed
        Causes in a streak, of which it matters that they are `ok`.
    """
    windows = drift.window_effects
    watch_all = any(not DISTANCES[name].is_ordered for name in windows)
    numeric = {verdict.feature for item in judged for verdict in item.verdicts if verdict.detector in windows}
    found: dict[Cause, Evidence] = {}
    cuts: dict[Cause, Evidence] = {}
    is_judged = False
    for item in judged:
        segment = segment_name(item.group.segment)
        for verdict in item.verdicts:
            if verdict.level == "not_ready":
                continue
            is_window = verdict.detector in windows
            is_judged |= is_window == bool(windows)
            if verdict.level == "ok" and not is_window:
                continue
            is_error = verdict.feature.startswith(ERRORS)
            if is_error and verdict.fell:
                continue  # the model got better
            cause = Cause(segment, verdict.feature)
            if is_window and (verdict.level != "ok" or cause in followed):
                said = _of_verdict(cause, verdict, item.start_ms, window[1], why=item.why.get(verdict.feature, {}))
                found[cause] = max(found.get(cause, said), said, key=_how_clear)
            elif not is_window and verdict.level == "drift":
                at_once = is_error or not (watch_all or verdict.feature in numeric)
                cuts[cause] = _of_verdict(cause, verdict, window[0], window[1], at_once=at_once)
    for cause, cut in cuts.items():
        of_window = found.get(cause)
        if of_window is None or of_window.level != "drift":
            found[cause] = cut
        else:
            found[cause] = replace(of_window, changed_ms=cut.changed_ms)
    return Findings(tuple(found.values()), window[1] if is_judged else None)


BROKEN = frozenset({"quality.missing", "quality.type"})
"""What no change of the world does: values are missing, or are none."""


def quality_findings(
    judged: Iterable[JudgedGroup],
    window: tuple[int, int],
    segment_name: Callable[[int], str],
    followed: Iterable[Cause],
) -> Findings:
    """Return what a window says of the data's quality; parameters as for `drift_findings`.

    Categories that were never seen and numbers out of range are drift, too. Where a window detector calls their feature
    drifting, an episode of drift tells of them, and they are told once.
    """
    found: dict[Cause, Evidence] = {}
    ready: dict[str, int] = {}
    for item in judged:
        segment = segment_name(item.group.segment)
        if item.quality.looks:
            ready[segment] = item.start_ms
        drifting = {verdict.feature for verdict in item.verdicts if verdict.level == "drift"}
        for verdict in item.quality.verdicts:
            is_broken = verdict.detector in BROKEN
            if verdict.level in ("warning", "drift") and (is_broken or verdict.feature not in drifting):
                cause = Cause(segment, verdict.feature, verdict.detector)
                said = _of_verdict(cause, verdict, item.start_ms, window[1])
                found[cause] = replace(said, is_break=is_broken)
    for cause in followed:
        if cause.segment in ready and cause not in found:
            found[cause] = Evidence(cause, ready[cause.segment], window[1], "ok", 0.0)
    return Findings(tuple(found.values()), window[1] if ready else None)


def traffic_findings(verdicts: Iterable[Verdict], stretch: tuple[int, int]) -> Findings:
    """Return what a stretch says of the traffic."""
    found = [
        _of_verdict(Cause(ALL_SEGMENTS, verdict.feature, verdict.detector), verdict, *stretch)
        for verdict in verdicts
        if verdict.level in LEVELS
    ]
    return Findings(tuple(found), stretch[1] if found else None)


def _how_clear(evidence: Evidence) -> tuple[int, float]:
    """Rank what several statistics say of one feature: the highest level speaks for it, then the clearest."""
    return list(LEVELS).index(evidence.level), evidence.clearness


def _of_verdict(
    cause: Cause,
    verdict: Verdict,
    start_ms: int,
    end_ms: int,
    *,
    at_once: bool = False,
    why: Mapping[str, Any] | None = None,
) -> Evidence:
    clearness = _times(verdict.score, verdict.threshold)
    detail = {
        "segment": cause.segment,
        "feature": cause.name,
        "detector": verdict.detector,
        "score": _finite(verdict.score),
        "threshold": _finite(verdict.threshold),
        "p_value": _rounded(verdict.p_value),
        "n_reference": verdict.n_reference,
        "n_current": verdict.n_current,
        **({} if verdict.expected is None else {"expected": round(verdict.expected, EXPECTED_DECIMALS)}),
        **({} if verdict.shares is None else dict(zip(SHARES, verdict.shares, strict=True))),
        **(why or {}),
    }
    severity: Severity = "critical" if clearness >= CRITICAL_CLEARNESS else "warning"
    level = LEVELS[verdict.level]
    is_break = "break" in detail
    return Evidence(cause, start_ms, end_ms, level, clearness, severity, at_once, verdict.changed_ms, detail, is_break)


def performance_findings(
    performance: PerformanceSettings | None,
    measured: Iterable[MeasuredGroup],
    segment_name: Callable[[int], str],
    *,
    arrivals_are_whole: bool,
) -> Findings:
    """Return what the metrics of some windows say against their floors.

    Parameters
    ----------
    measured
        Of one version, all segments; cohort windows that are due, and the arrival window.
    segment_name
        Names the segment of a code.
    arrivals_are_whole
        Whether the slow labels are among those that arrive, see `labels_join.maturity.arrivals_are_whole`.

    Notes
    -----
    A metric that is not defined, or rests on fewer than `min_labelled` labels, is no evidence; nor, while arrivals are
    not whole, is one of an arrival window that follows the share of each class.
    """
    found = []
    if performance is not None:
        for item in sorted(measured, key=lambda item: item.window[1]):
            if item.n_labelled >= performance.min_labelled:
                segment = segment_name(item.group.segment)
                is_whole = arrivals_are_whole or item.basis == "cohort"
                of = [
                    (name, item.as_judged(name), floor)
                    for name, floor in performance.floor.items()
                    if is_whole or _is_pure(name)
                ]
                found += [
                    _of_metric(Cause(segment, name, item.basis), item, estimate, estimate.value, floor, name)
                    for name, estimate, floor in of
                    if estimate.value is not None and math.isfinite(estimate.value)
                ]
    return Findings(tuple(found), max((evidence.end_ms for evidence in found), default=None))


def _is_pure(metric: Metric) -> bool:
    return metric in PURE_METRICS or metric.startswith("recall.")


def _of_metric(
    cause: Cause, item: MeasuredGroup, estimate: Estimate, value: float, floor: float, metric: Metric
) -> Evidence:
    is_error = metric in ERROR_METRICS or metric in TWO_SIDED_METRICS
    is_mirrored = metric in TWO_SIDED_METRICS and value < 0  # as far below 0 is as bad as above
    low, high = (_negative(estimate.high), _negative(estimate.low)) if is_mirrored else estimate[1:3]
    beyond = abs(value) - floor if metric in TWO_SIDED_METRICS else value - floor if is_error else floor - value
    nearest = low if is_error else high
    is_clear = nearest is not None and (nearest > floor if is_error else nearest < floor)
    detail: dict[str, Any] = {
        "segment": cause.segment,
        "metric": cause.name,
        "basis": cause.basis,
        "value": value,
        "floor": floor,
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        "n_labelled": item.n_labelled,
    }
    level: Level = "drift" if beyond > 0 else "ok"
    severity: Severity = "critical" if is_clear else "warning"
    return Evidence(cause, *item.window, level, _times(beyond, abs(floor)), severity, detail=detail)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _times(score: float, threshold: float) -> float:
    """Return how many times a threshold a score is; finite, since it is stored as JSON.

    Examples
    --------
    >>> _times(0.3, 0.1), _times(1e300, 1e-300), _times(1.0, 0.0)
    (2.9999999999999996, 1000000000.0, 1000000000.0)
    """
    return min(score / threshold, CLEARNESS_MAX) if threshold > 0 else CLEARNESS_MAX if score > 0 else 0.0


def _rounded(p_value: float) -> float | None:
    """Round a p-value to what a person can use: jsonb would write a tiny one with hundreds of digits."""
    finite = _finite(p_value)
    return finite if finite is None else round(finite, P_VALUE_DECIMALS)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
