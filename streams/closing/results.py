"""Writing what was found: verdicts and metrics, with a higher revision where a window's earlier ones change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from detectors.metrics import Estimate
from driftline.store.arrays import pg_array, pg_text_array
from driftline.store.connection import Connection, run, timestamp
from labels_join.correction import Corrected
from streams.closing.rollups import Group
from streams.judging.quality import NO_CHECKS, Quality
from streams.judging.verdicts import Verdict
from streams.monitored import MonitoredModel

NO_CHANGE_MS = -62_135_596_800_000
"""Year 1: stands for "no change found" on its way into the store, where arrays hold no nulls."""

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """Verdicts on one version and segment, and from when on their stretch reaches.

    Parameters
    ----------
    expected
        False episodes that are to be expected of all looks at one feature, see `detectors.budget`.
    why
        By feature that drifted, what causes show of it, see `streams.judging.why`.
    quality
        What the checks of the data's quality said.
    """

    start_ms: int
    group: Group
    profile_id: int
    verdicts: Sequence[Verdict]
    expected: float = 0.0
    why: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quality: Quality = NO_CHECKS


@dataclass(frozen=True, slots=True)
class MeasuredGroup:
    """Metrics of one window of one version and segment.

    Parameters
    ----------
    kept_share
        The share of ids that is joined with labels at all, `labels.keep_share`.
    corrected
        Of a cohort: what its metrics would be if no label were late.
    """

    window: tuple[int, int]
    group: Group
    basis: str
    metrics: dict[str, Estimate]
    n_predictions: int
    n_labelled: int
    kept_share: float
    corrected: Corrected | None = None

    @property
    def coverage(self) -> float | None:
        """Share of the kept predictions that have a label, at most 1; None without predictions."""
        return min(1.0, self.n_labelled / (self.n_predictions * self.kept_share)) if self.n_predictions else None

    def as_judged(self, metric: str) -> Estimate:
        """Return what is held against a floor: the metric corrected for late labels, if that is known."""
        if self.corrected is not None and metric in self.corrected.metrics:
            return self.corrected.metrics[metric]
        return self.metrics[metric]

    def correction(self, metric: str) -> tuple[float, float, float, int, float, int]:
        """Return (corrected, low, high, n_effective, expected coverage, mature at), with what stands for nulls."""
        of = self.corrected
        if of is None or of.mature_after_ms is None:
            return NAN, NAN, NAN, -1, NAN, NO_CHANGE_MS
        estimate = of.metrics.get(metric)
        mature_ms = self.window[1] + of.mature_after_ms
        if estimate is None:
            return NAN, NAN, NAN, -1, _or_nan(of.expected_coverage), mature_ms
        numbers = (_or_nan(estimate.value), _or_nan(estimate.low), _or_nan(estimate.high))
        return *numbers, estimate.n, _or_nan(of.expected_coverage), mature_ms

    def reason(self, metric: str) -> str:
        """Return why there is no value, interval or correction, and what was left out; nothing where all are there."""
        why, has_interval = self.metrics[metric].reason, self.metrics[metric].low is not None
        uncorrected = self.corrected.why_not(metric) if self.corrected is not None else None
        if uncorrected is not None and (why is None or has_interval):
            return "; ".join(filter(None, (why, f"not corrected for late labels: {uncorrected}")))
        return why or ""


async def write_verdicts(
    connection: Connection, model: MonitoredModel, window_end_ms: int, judged: Sequence[JudgedGroup]
) -> None:
    """Write the verdicts of one window."""
    found = [(item, verdict) for item in judged for verdict in (*item.verdicts, *item.quality.verdicts)]
    if not found:
        return
    counts = [verdict.counts or () for _, verdict in found]
    ends = np.cumsum([len(of) for of in counts])
    await run(
        connection,
        "save_verdicts",
        model_id=model.model_id,
        window_end=timestamp(window_end_ms),
        version=pg_array("int2", [item.group.version for item, _ in found]),
        segment=pg_array("int2", [item.group.segment for item, _ in found]),
        window_start=pg_array("timestamptz", [item.start_ms for item, _ in found]),
        profile_id=pg_array("int4", [item.profile_id for item, _ in found]),
        feature=pg_text_array([verdict.feature for _, verdict in found]),
        detector=pg_text_array([verdict.detector for _, verdict in found]),
        score=pg_array("float8", [verdict.score for _, verdict in found]),
        threshold=pg_array("float8", [verdict.threshold for _, verdict in found]),
        p_value=pg_array("float8", [verdict.p_value for _, verdict in found]),
        n_reference=pg_array("int8", [verdict.n_reference for _, verdict in found]),
        n_current=pg_array("int8", [verdict.n_current for _, verdict in found]),
        level=pg_text_array([verdict.level for _, verdict in found]),
        reason=pg_text_array([verdict.reason or "" for _, verdict in found]),
        counts=pg_array("int8", list(chain.from_iterable(counts))),
        n_bins=pg_array("int4", [len(of) for of in counts]),
        last_bin=pg_array("int4", ends),
        changed_at=pg_array("timestamptz", [NO_CHANGE_MS if v.changed_ms is None else v.changed_ms for _, v in found]),
    )


async def write_metrics(connection: Connection, model: MonitoredModel, measured: Sequence[MeasuredGroup]) -> None:
    """Write metrics of any windows."""
    found = [(item, metric, estimate) for item in measured for metric, estimate in item.metrics.items()]
    if not found:
        return
    corrections = [item.correction(metric) for item, metric, _ in found]
    await run(
        connection,
        "save_performance",
        model_id=model.model_id,
        window_start=pg_array("timestamptz", [item.window[0] for item, _, _ in found]),
        window_end=pg_array("timestamptz", [item.window[1] for item, _, _ in found]),
        version=pg_array("int2", [item.group.version for item, _, _ in found]),
        segment=pg_array("int2", [item.group.segment for item, _, _ in found]),
        basis=pg_text_array([item.basis for item, _, _ in found]),
        metric=pg_text_array([metric for _, metric, _ in found]),
        value=pg_array("float8", [_or_nan(estimate.value) for _, _, estimate in found]),
        low=pg_array("float8", [_or_nan(estimate.low) for _, _, estimate in found]),
        high=pg_array("float8", [_or_nan(estimate.high) for _, _, estimate in found]),
        n_predictions=pg_array("int8", [item.n_predictions for item, _, _ in found]),
        n_labelled=pg_array("int8", [item.n_labelled for item, _, _ in found]),
        coverage=pg_array("float8", [_or_nan(item.coverage) for item, _, _ in found]),
        reason=pg_text_array([item.reason(metric) for item, metric, _ in found]),
        corrected=pg_array("float8", [of[0] for of in corrections]),
        corrected_low=pg_array("float8", [of[1] for of in corrections]),
        corrected_high=pg_array("float8", [of[2] for of in corrections]),
        n_effective=pg_array("int8", [of[3] for of in corrections]),
        expected_coverage=pg_array("float8", [of[4] for of in corrections]),
        mature_at=pg_array("timestamptz", [of[5] for of in corrections]),
    )


async def drop_metrics(
    connection: Connection, model: MonitoredModel, window_end_ms: int, basis: str, groups: Sequence[Group]
) -> None:
    """Take back the metrics of groups that have nothing left to measure, if there were any."""
    if groups:
        await run(
            connection,
            "drop_performance",
            model_id=model.model_id,
            window_end=timestamp(window_end_ms),
            basis=basis,
            version=pg_array("int2", [group.version for group in groups]),
            segment=pg_array("int2", [group.segment for group in groups]),
        )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
