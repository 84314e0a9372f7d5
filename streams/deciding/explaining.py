"""Where does a broken floor of all traffic come from? Each is explained against the windows before its own.

Everything it reads is of closed slides, so a live stream and its replay say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from detectors.reference.summaries import Ints
from driftline.settings.metrics import Metric
from labels_join.terms import expected_terms, ratio_of, terms
from retraining.policy import Findings
from retraining.state import Evidence
from streams.closing.measure import Basis, Measures
from streams.closing.results import JudgedGroup
from streams.judging.why import inputs_by_feature, performance_why
from streams.monitored import ALL_SEGMENTS, MonitoredModel
from streams.panes import PaneLayout

BASELINE_LENGTHS = 8
"""A broken floor is explained against so many windows' lengths before it, without the last."""

LABELS_COME_LATER = "the labels that arrive in a window are of predictions made before it: see the cohort"

NOT_IN_REFERENCE = "the reference has no labels, too few of them, or is from before they were kept by feature"

_Outcomes = dict[str, Ints]  # by segment


@dataclass(frozen=True)
class Explaining:
    """Explains the broken floors of one version in one slide.

    Parameters
    ----------
    mature_ms
        Up to when predictions are mature, so that the labels that arrive in a window are those of its predictions.
    """

    model: MonitoredModel
    measures: Measures
    layout: PaneLayout
    version: int
    mature_ms: int
    _outcomes: dict[tuple[Basis, int, int], list[_Outcomes]] = field(default_factory=dict)
    _features: dict[tuple[int, int], list[Ints]] = field(default_factory=dict)

    async def explained(self, findings: Findings, judged: Iterable[JudgedGroup]) -> Findings:
        """Say of each broken floor of all traffic where it comes from."""
        breaks = sorted({name for item in judged for name, why in item.why.items() if "break" in why})
        of_breaks = {"breaks": breaks} if breaks else {}
        evidence = []
        for item in findings.evidence:
            if item.level == "drift" and item.cause.segment == ALL_SEGMENTS:
                evidence.append(replace(item, detail={**item.detail, **await self._why(item, breaks), **of_breaks}))
            else:
                evidence.append(item)
        return replace(findings, evidence=tuple(evidence))

    async def _why(self, item: Evidence, breaks: list[str]) -> dict[str, Any]:
        profile, settings, metric = self.layout.profile, self.model.settings, item.cause.name
        ratio = ratio_of(profile, metric)
        if ratio is None:
            return {}
        basis: Basis = "cohort" if item.cause.basis == "cohort" else "arrival"
        window = item.start_ms, item.end_ms
        if (basis, *window) not in self._outcomes:  # the metrics of a window share its outcomes
            self._outcomes[basis, *window] = [await self._by_segment(basis, of) for of in _before_and_in(window)]
        before, after = (
            {name: terms(of, profile, settings.positive_class, metric) for name, of in side.items()}
            for side in self._outcomes[basis, *window]
        )
        by_feature = await self._by_feature(basis, window, metric)
        return performance_why(before, after, settings.segments, ratio, by_feature, breaks)

    async def _by_feature(self, basis: Basis, window: tuple[int, int], metric: Metric) -> dict[str, float] | str:
        """Return what the inputs of each feature did to a metric's ratio, or why that is not known."""
        profile = self.layout.profile
        if profile.effects is None:
            return NOT_IN_REFERENCE
        if basis == "arrival" and self.mature_ms < window[0]:
            return LABELS_COME_LATER
        if window not in self._features:
            self._features[window] = [await self.measures.features(of, self.version) for of in _before_and_in(window)]
        before, now = self._features[window]
        expected = expected_terms(profile, self.model.settings.positive_class, metric)
        return inputs_by_feature(self.layout, before, now, expected)

    async def _by_segment(self, basis: Basis, stretch: tuple[int, int]) -> _Outcomes:
        found = await self.measures.outcomes(basis, stretch, self.version)
        return {self.model.segment_name(code) or ALL_SEGMENTS: of for code, of in found.items()}


def _before_and_in(window: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the stretch before a window, and the window; the last one before may be in trouble already."""
    start_ms, end_ms = window
    length_ms = end_ms - start_ms
    return (start_ms - BASELINE_LENGTHS * length_ms, start_ms - length_ms), window
