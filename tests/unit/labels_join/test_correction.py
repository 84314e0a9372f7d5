"""Are metrics corrected for late labels what all labels will say, and does it say so where that can't be known?"""

import os
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
from sklearn import metrics as sk

from detectors.metrics import Estimate
from detectors.reference.profile import Profile, bin_score
from driftline.settings.metrics import METRICS, Metric
from labels_join.correction import NO_LABEL, NOT_BY_CLASS, TOO_YOUNG, LateGrain, corrected
from labels_join.delays import YOUNG, DelayCurves, delay_curves
from labels_join.performance import metrics_of
from tests.support.late_labels import (
    A_DAY,
    DAY,
    LATE_POSITIVES,
    SLOW_MISTAKES,
    SPEC,
    Deployment,
    corrected_of,
    history,
    reference,
    two_weeks_on,
)
from tests.support.outcomes import multiclass_profile, vector_of
from tests.support.profiles import event, profile_of

SEEDS = 10 * int(os.environ.get("DRIFTLINE_TEST_SEEDS", "20"))
"""Histories; `make test-long` takes 2,000."""

DAYS = 5
"""Of each history, to count more of what chance does to a day."""

AGES = len(SPEC.ages_ms)


def calibration_error(true: np.ndarray, score: np.ndarray, profile: Profile) -> float:
    """Return the error in fifteen groups of the reference's bins, from the scores themselves."""
    starts = np.arange(15) * (len(profile.score_edges) + 1) // 15
    group = np.searchsorted(starts, bin_score(profile, score), side="right")
    inside = [group == place for place in np.unique(group)]
    return sum(abs(true[of].mean() - score[of].mean()) * of.mean() for of in inside)


def of_flags(metric: Callable[..., float]) -> Callable[..., float]:
    return lambda true, score: metric(true, score > 0.5)


TRUTH: dict[Metric, Callable[..., float]] = {
    "accuracy": of_flags(sk.accuracy_score),
    "precision": of_flags(sk.precision_score),
    "recall": of_flags(sk.recall_score),
    "specificity": of_flags(partial(sk.recall_score, pos_label=0)),
    "f1": of_flags(sk.f1_score),
    "roc_auc": sk.roc_auc_score,
    "pr_auc": sk.average_precision_score,
    "log_loss": sk.log_loss,
    "brier": sk.brier_score_loss,
}
UNHARMED = {
    LATE_POSITIVES: {"recall", "specificity", "roc_auc", "ece"},
    SLOW_MISTAKES: {"ece"},
}
"""What is of each class by itself is well where labels are late by class only; chance makes every ECE too large."""


@cache
def known_of(of: Deployment) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, list[Estimate]]]:
    """Return of each metric what a million labels say, what those of each day that are in say, and the corrected."""
    true, score = of.evenly(1_000_000)
    truth = {name: metric(true, score) for name, metric in TRUTH.items()}
    truth["ece"] = calibration_error(true, score, reference(of))
    days = [day for seed in range(SEEDS) for day in two_weeks_on(of, seed, list(truth), DAYS)]
    assert {late.reason for _, late in days} == {None}
    naive = {name: np.array([told[name].value for told, _ in days]) for name in truth}
    return truth, naive, {name: [late.metrics[name] for _, late in days] for name in truth}


@pytest.mark.parametrize("metric", [*TRUTH, "ece"])
@pytest.mark.parametrize("of", [LATE_POSITIVES, SLOW_MISTAKES], ids=["late positives", "slow mistakes"])
def test_two_weeks_on_a_metric_is_corrected_without_bias_and_its_interval_covers(of: Deployment, metric: str) -> None:
    truth, naive, found = (known[metric] for known in known_of(of))
    bias, naive_bias = np.mean([each.value for each in found]) - truth, naive.mean() - truth
    assert abs(bias) <= 0.02
    if metric in UNHARMED[of]:
        assert abs(bias) <= 0.005
    else:
        assert abs(bias) <= 0.1 * abs(naive_bias)
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93


def test_naive_precision_is_a_sixth_too_low_two_weeks_on_and_naive_areas_and_losses_flatter() -> None:
    truth, naive, _ = known_of(LATE_POSITIVES)
    assert naive["precision"].mean() < truth["precision"] - 0.15
    assert naive["ece"].mean() > truth["ece"] + 0.01
    truth, naive, _ = known_of(SLOW_MISTAKES)
    assert naive["roc_auc"].mean() > truth["roc_auc"] + 0.03
    assert naive["log_loss"].mean() < truth["log_loss"] - 0.05
    assert naive["brier"].mean() < truth["brier"] - 0.02


def test_each_pair_tells_less_than_one_of_a_window_of_which_all_labels_are_in() -> None:
    _, _, found = known_of(LATE_POSITIVES)
    # Each positive that is in stands for two: they tell less than as many pairs of which all are in.
    flagged = A_DAY * (0.05 * 0.6 + 0.95 * 0.0169)
    assert 0.5 * flagged < np.mean([each.n for each in found["precision"]]) < 0.85 * flagged
    for name in ("roc_auc", "pr_auc", "log_loss", "brier"):
        assert 0.4 * A_DAY < np.mean([each.n for each in found[name]]) < 0.85 * A_DAY


def test_what_is_expected_to_be_in_and_when_most_will_be() -> None:
    found = [two_weeks_on(LATE_POSITIVES, seed, ["precision"])[0][1] for seed in range(10)]
    assert np.mean([of.expected_coverage for of in found]) == pytest.approx(0.97, abs=0.01)
    assert np.mean([of.mature_after_ms or 0 for of in found]) == pytest.approx(
        59 * DAY, abs=6 * DAY
    )  # exp(-59/20): 5 %


def all_in(classes: int = 2, groups: int = 5) -> DelayCurves:
    """Return the delays of labels that are in at once."""
    shape = AGES, classes, groups
    return DelayCurves(SPEC, np.ones(shape), np.zeros(shape), np.ones((classes, groups), bool), np.ones(AGES), 0)


BINARY = [name for name in METRICS["binary"] if not name.startswith("reward")]


def test_once_all_labels_are_in_the_correction_is_the_metric_itself() -> None:
    true, score = LATE_POSITIVES.drawn(np.random.default_rng(7), 3_000)
    naive, of = corrected_of(reference(LATE_POSITIVES), all_in(), true, score, 90, BINARY)
    assert of.metrics.keys() == set(BINARY)
    for name in BINARY:
        assert of.metrics[name].value == pytest.approx(naive[name].value, rel=1e-9), name
    for name in ("accuracy", "precision", "recall", "roc_auc", "pr_auc", "ece", "tp"):
        assert of.metrics[name][1:3] == pytest.approx(naive[name][1:3], rel=1e-6), name
    assert (of.expected_coverage, of.reason) == (1.0, None)


def test_values_are_scikit_learns_with_weights_by_class_and_quarter_of_the_score() -> None:
    chance, profile = np.random.default_rng(8), reference(SLOW_MISTAKES)
    share = chance.uniform(0.1, 1.0, (2, 5))
    in_all = np.broadcast_to(share, (AGES, 2, 5))
    curves = all_in()._replace(share=in_all)
    true, score = SLOW_MISTAKES.drawn(chance, 2_000)
    _, of = corrected_of(profile, curves, true, score, 14, BINARY)
    code = bin_score(profile, score)
    weight = 1.0 / share[true, code * 4 // (len(profile.score_edges) + 1)]
    flagged = score > 0.5
    expected = {
        "accuracy": sk.accuracy_score(true, flagged, sample_weight=weight),
        "precision": sk.precision_score(true, flagged, sample_weight=weight),
        "f1": sk.f1_score(true, flagged, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(true, code, sample_weight=weight),
        "pr_auc": sk.average_precision_score(true, code, sample_weight=weight),
        "fn": weight[(true == 1) & ~flagged].sum(),
    }
    assert {name: of.metrics[name].value for name in expected} == pytest.approx(expected)
    # Within a bin nobody knows of which class which score was; there are a thousand bins.
    assert of.metrics["brier"].value == pytest.approx(sk.brier_score_loss(true, score, sample_weight=weight), abs=2e-4)
    assert of.metrics["log_loss"].value == pytest.approx(sk.log_loss(true, score, sample_weight=weight), abs=2e-3)


def test_losses_of_few_distinct_scores_are_corrected_though_their_bins_are_wide() -> None:
    chance = np.random.default_rng(9)
    score = chance.choice([0.0, 0.1, 0.7, 1.0], 4_000)
    true = (chance.random(4_000) < 0.1 + 0.8 * score).astype(int)
    told = zip(true.tolist(), score.tolist(), strict=True)
    profile = profile_of([event(0, 0, int(p > 0.5), label=t, score=p) for t, p in told], "binary")
    share = np.broadcast_to([[0.9] * 5, [0.3] * 5], (AGES, 2, 5))
    _, of = corrected_of(profile, all_in()._replace(share=share), true, score, 14, ["brier", "log_loss"])
    weight = np.where(true == 1, 1 / 0.3, 1 / 0.9)
    brier = sk.brier_score_loss(true, score, sample_weight=weight)
    assert of.metrics["brier"].value == pytest.approx(brier, abs=0.001)
    surprise = -np.log(np.clip(np.where(true == 1, score, 1 - score), np.finfo(float).eps, 1))
    assert of.metrics["log_loss"].value == pytest.approx((weight * surprise).sum() / weight.sum(), rel=0.01)


def test_with_less_history_than_the_horizon_nothing_is_corrected() -> None:
    true, score = LATE_POSITIVES.drawn(np.random.default_rng(1), 100)
    profile = reference(LATE_POSITIVES)
    vector = vector_of(profile, score > 0.5, true, score, ["0", "1"])
    naive = metrics_of([(vector, profile)], "1", ["precision", "roc_auc"])
    of = corrected(YOUNG, [LateGrain.of(DAY, vector, profile, "1")], naive, profile)
    assert of == ({}, None, None, YOUNG)
    assert of.why_not("roc_auc") == YOUNG


def curves_of(seed: int) -> DelayCurves:
    curves = delay_curves(SPEC, history(LATE_POSITIVES, np.random.default_rng(seed), 182), 182 * DAY)
    assert isinstance(curves, DelayCurves)
    return curves


def test_labels_that_can_hardly_be_in_are_not_made_up_for() -> None:
    nothing = np.empty(0)
    naive, of = corrected_of(reference(LATE_POSITIVES), curves_of(3), nothing.astype(int), nothing, 0, ["roc_auc"])
    assert (of.metrics, of.reason) == ({}, TOO_YOUNG)
    assert of.expected_coverage == pytest.approx(0.2, abs=0.05)
    assert naive["roc_auc"].value is None


def test_a_window_without_a_label_says_so() -> None:
    curves = curves_of(3)
    assert corrected(curves, [], {}, reference(LATE_POSITIVES)) == ({}, None, curves.mature_after_ms, NO_LABEL)


@pytest.mark.parametrize(("true", "score"), [([1] * 20, [0.9] * 20), ([0] * 20, [0.1] * 20), ([1, 0], [0.9, 0.1])])
def test_windows_of_one_class_or_without_a_mistake_have_numbers_or_nothing(true: list[int], score: list[float]) -> None:
    naive, of = corrected_of(reference(LATE_POSITIVES), curves_of(4), np.array(true), np.array(score), 14, BINARY)
    assert of.metrics.keys() == {name for name in BINARY if naive[name].value is not None}
    for name, found in of.metrics.items():
        assert np.isfinite(found[:3]).all(), name
        assert found.low <= found.value <= found.high, name


def test_the_loss_of_a_single_label_has_no_interval() -> None:
    _, of = corrected_of(reference(LATE_POSITIVES), curves_of(4), np.array([1]), np.array([0.9]), 14, ["brier"])
    assert of.metrics["brier"][:3] == (pytest.approx(0.01, abs=1e-6), None, None)


@pytest.mark.parametrize("predicted", [[2, 2, 0, 1, 1, 0], [2, 2, 2]])
def test_of_several_classes_too_also_where_nobody_knows_them(predicted: list[int]) -> None:
    profile = multiclass_profile("ant", "bee")
    truth = [2, 3, 0, 0, 1, 3][: len(predicted)]
    vector = vector_of(profile, predicted, truth, [np.nan] * len(truth), ["ant", "bee", "cat", "dog"])
    wanted: list[Metric] = [
        "accuracy",
        *(f"{how}_{kind}" for how in ("macro", "weighted") for kind in ("recall", "precision", "f1")),
    ]
    naive = metrics_of([(vector, profile)], None, wanted)
    of = corrected(all_in(3), [LateGrain.of(90 * DAY, vector, profile, None)], naive, profile)
    told = {name: found.value for name, found in naive.items() if found.value is not None}
    assert {name: found.value for name, found in of.metrics.items()} == pytest.approx(told)
    assert (of.expected_coverage, of.reason) == (1.0, None)


def test_what_is_not_kept_by_class_and_score_is_not_corrected_and_says_so() -> None:
    profile = profile_of([event(row, row, float(row), label=float(row)) for row in range(40)], "regression")
    vector = vector_of(profile, [1.0, 2.0], [1.5, 2.0], [np.nan] * 2, [])
    naive = metrics_of([(vector, profile)], None, ["mae", "rmse"])
    grain = LateGrain.of(14 * DAY, vector, profile, None)
    curves = all_in(1, 1)
    of = corrected(curves._replace(share=curves.share * 0.5), [grain], naive, profile)
    assert (of.metrics, of.expected_coverage, of.reason) == ({}, 0.5, None)
    assert of.why_not("mae") == NOT_BY_CLASS
