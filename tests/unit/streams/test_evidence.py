"""What of a slide's verdicts and metrics does the policy hear?"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from detectors.metrics import Estimate
from detectors.reference.summaries import ALL_TRAFFIC
from driftline.settings import DriftSettings
from driftline.settings.models import PerformanceSettings
from labels_join.correction import Corrected
from retraining.policy import Findings
from retraining.state import Cause
from streams.closing.results import JudgedGroup, MeasuredGroup
from streams.closing.rollups import Group
from streams.deciding.evidence import drift_findings, performance_findings
from streams.judging.verdicts import Verdict

WINDOW = (60, 120)
PSI_ONLY, ADWIN_ONLY = DriftSettings(detectors=("psi",)), DriftSettings(detectors=("adwin",))


def verdict(feature: str, detector: str, level: str, score: float = 0.2, changed_ms: int | None = None) -> Verdict:
    return Verdict(feature, detector, score, 0.1, math.nan, 100, 200, level, changed_ms=changed_ms)


def heard(
    *verdicts: Verdict, drift: DriftSettings | None = None, start_ms: int = 60, followed: Sequence[Cause] = ()
) -> Findings:
    judged = [JudgedGroup(start_ms, Group(0, ALL_TRAFFIC), 1, verdicts)]
    return drift_findings(drift or DriftSettings(), judged, WINDOW, lambda code: f"s={code}", followed)


def levels(findings: Findings) -> dict[str, str]:
    return {item.cause.name: item.level for item in findings.evidence}


def test_what_is_not_ready_is_no_evidence_and_no_calm() -> None:
    assert heard(verdict("x", "psi", "not_ready")) == Findings((), None)
    assert heard(verdict("x", "psi", "not_ready"), verdict("@error.1", "adwin", "ok")) == Findings((), None)


def test_what_is_well_is_heard_where_a_row_may_break_and_calms_everywhere() -> None:
    well = (verdict("x", "psi", "ok"), verdict("y", "psi", "ok"))

    assert heard(*well) == Findings((), 120)
    assert levels(heard(*well, followed=[Cause("s=-1", "y")])) == {"y": "ok"}


def test_warnings_are_heard_and_windows_that_reach_back_begin_where_they_do() -> None:
    [warning] = heard(verdict("x", "psi", "warning"), start_ms=-60).evidence

    assert (warning.level, warning.start_ms, warning.end_ms) == ("warning", -60, 120)


@pytest.mark.parametrize("of_window", ["ok", "warning", "not_ready"])
def test_a_cut_makes_a_window_of_drift_whatever_the_window_detector_says(of_window: str) -> None:
    [cut] = heard(verdict("x", "psi", of_window), verdict("x", "adwin", "drift", changed_ms=70)).evidence

    assert (cut.level, cut.at_once, cut.changed_ms, cut.detail["detector"]) == ("drift", False, 70, "adwin")


def test_where_both_say_drift_it_is_one_window_with_the_time_of_the_cut() -> None:
    [both] = heard(verdict("x", "psi", "drift"), verdict("x", "adwin", "drift", changed_ms=70)).evidence

    assert (both.detail["detector"], both.changed_ms, both.at_once) == ("psi", 70, False)


def test_a_cut_is_enough_where_no_window_detector_watches() -> None:
    [error] = heard(verdict("x", "psi", "ok"), verdict("@error.1", "adwin", "drift", changed_ms=70)).evidence
    [alone] = heard(verdict("x", "adwin", "drift", changed_ms=70), drift=ADWIN_ONLY).evidence

    assert error.at_once
    assert alone.at_once
    assert heard(verdict("x", "adwin", "ok"), drift=ADWIN_ONLY).judged_ms == 120


def test_what_several_statistics_say_of_a_feature_is_one_cause_and_the_clearest_speaks() -> None:
    all_three = DriftSettings(detectors=("psi", "js", "ks", "adwin"))
    said = (verdict("x", "psi", "ok", 0.9), verdict("x", "ks", "drift", 0.3), verdict("x", "js", "drift", 0.2))
    [one] = heard(*said, drift=all_three, followed=[Cause("s=-1", "x")]).evidence

    assert (one.level, one.detail["detector"]) == ("drift", "ks")


def test_a_cut_is_enough_for_categories_where_the_only_statistics_are_of_numbers() -> None:
    ordered = DriftSettings(detectors=("ks", "adwin"))
    cuts = (verdict("c", "adwin", "drift"), verdict("x", "adwin", "drift"), verdict("x", "ks", "ok"))

    assert {item.cause.name: item.at_once for item in heard(*cuts, drift=ordered).evidence} == {"c": True, "x": False}


def test_errors_that_become_fewer_are_no_evidence_but_features_that_fall_are() -> None:
    fewer = replace(verdict("@error.1", "adwin", "drift", changed_ms=70), fell=True)
    lower = replace(verdict("x", "adwin", "drift", changed_ms=70), fell=True)

    assert levels(heard(verdict("x", "psi", "ok"), fewer, lower)) == {"x": "drift"}


def test_evidence_of_drift_is_shown_as_the_verdict_and_fits_json() -> None:
    [shown] = heard(verdict("x", "psi", "drift", score=0.3), drift=PSI_ONLY).evidence
    [endless] = heard(verdict("x", "psi", "drift", score=math.inf), drift=PSI_ONLY).evidence

    assert shown.detail == {
        "segment": "s=-1", "feature": "x", "detector": "psi", "score": 0.3, "threshold": 0.1, "p_value": None,
        "n_reference": 100, "n_current": 200,
    }  # fmt: skip
    assert (shown.severity, heard(verdict("x", "psi", "drift")).evidence[0].severity) == ("critical", "warning")
    json.dumps([endless.clearness, endless.detail], allow_nan=False)


@pytest.mark.parametrize(("p_value", "shown"), [(2e-308, 0.0), (0.0123456789012345, 0.012345678901), (math.nan, None)])
def test_a_p_value_is_shown_with_12_decimals(p_value: float, shown: float | None) -> None:
    [found] = heard(replace(verdict("x", "psi", "drift"), p_value=p_value)).evidence

    assert found.detail["p_value"] == shown


def measured(n_labelled: int = 500, basis: str = "cohort", **metrics: tuple[float | None, Any, Any]) -> MeasuredGroup:
    estimates = {name: Estimate(*of, n_labelled) for name, of in metrics.items()}
    return MeasuredGroup(WINDOW, Group(0, ALL_TRAFFIC), basis, estimates, 600, n_labelled, 1.0)


def test_what_a_metric_leaves_out_is_told_beside_why_it_is_not_corrected_but_not_beside_why_there_is_none() -> None:
    late = Corrected({}, None, None, "too young")
    of = {
        "accuracy": Estimate(0.5, 0.2, 0.8, 9, "one left out"),
        "recall": Estimate(None, None, None, 0, "nobody"),
        "f1": Estimate(0.5, 0.2, 0.8, 9),
    }
    group = replace(measured(), metrics=of, corrected=late)
    told = "not corrected for late labels: too young"

    assert [group.reason(name) for name in of] == [f"one left out; {told}", "nobody", told]
    assert [replace(group, corrected=None).reason(name) for name in of] == ["one left out", "nobody", ""]


def against(floor: dict[str, float], *groups: MeasuredGroup, arrivals_are_whole: bool = True) -> Findings:
    performance = PerformanceSettings(floor=floor)
    return performance_findings(performance, groups, lambda _: "*", arrivals_are_whole=arrivals_are_whole)


@pytest.mark.parametrize(
    ("floor", "metrics", "level", "severity"),
    [
        ({"recall": 0.7}, {"recall": (0.6, 0.5, 0.69)}, "drift", "critical"),
        ({"recall": 0.7}, {"recall": (0.6, 0.5, 0.75)}, "drift", "warning"),
        ({"recall": 0.7}, {"recall": (0.7, 0.6, 0.8)}, "ok", "warning"),
        ({"mae": 2.0}, {"mae": (2.5, 2.1, 2.9)}, "drift", "critical"),
        ({"mae": 2.0}, {"mae": (2.0, 1.5, 2.5)}, "ok", "warning"),
        ({"mae": 0.0}, {"mae": (1e300, None, None)}, "drift", "warning"),
    ],
)
def test_a_metric_is_held_against_its_floor_in_its_own_direction(
    floor: dict[str, float], metrics: dict[str, Any], level: str, severity: str
) -> None:
    [found] = against(floor, measured(**metrics)).evidence

    assert (found.level, found.severity, found.cause.basis) == (level, severity, "cohort")
    json.dumps(found.clearness, allow_nan=False)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_metric_that_is_not_defined_is_no_evidence(value: float | None) -> None:
    assert against({"recall": 0.7}, measured(recall=(value, None, None))) == Findings((), None)


def test_a_metric_of_too_few_labels_is_no_evidence() -> None:
    assert against({"recall": 0.7}, measured(199, recall=(0.1, 0.0, 0.2))) == Findings((), None)
    of_none = [measured(recall=(0.1, 0.0, 0.2))]
    assert performance_findings(None, of_none, lambda _: "*", arrivals_are_whole=True) == Findings((), None)


def test_while_slow_labels_are_on_their_way_arrivals_speak_within_classes_only() -> None:
    floor = {"precision": 0.7, "recall": 0.7}
    low = {"precision": (0.4, 0.3, 0.5), "recall": (0.4, 0.3, 0.5)}

    def named(basis: str, *, whole: bool) -> set[str]:
        return {
            item.cause.name for item in against(floor, measured(basis=basis, **low), arrivals_are_whole=whole).evidence
        }

    assert named("arrival", whole=False) == {"recall"}
    assert named("arrival", whole=True) == named("cohort", whole=False) == {"precision", "recall"}
