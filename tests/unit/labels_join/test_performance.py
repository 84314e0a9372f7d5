"""Are metrics of merged outcomes scikit-learn's, also where classes are unknown and references change?"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_absolute_percentage_error,
    precision_recall_fscore_support,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from detectors.metrics import Estimate
from detectors.reference.profile import Profile
from detectors.reference.summaries import merge_vectors
from driftline.settings import DEFAULT_METRICS, METRICS
from labels_join.outcomes import outcome_sums, summarise_outcomes
from labels_join.performance import confusion_of, error_series, labels_by_class, metrics_of, watched_errors
from tests.support.outcomes import multiclass_profile, pairs_of, vector_of
from tests.support.profiles import event, profile_of


def binary_profile(classes: tuple[int, ...] = (0, 1), power: float = 1.0) -> Profile:
    n = 400
    return profile_of(
        [event(row, row, classes[row % len(classes)], score=((row + 0.5) / n) ** power) for row in range(n)]
    )


def values(parts: list[tuple[np.ndarray, Profile]], positive: str | None) -> dict[str, float | None]:
    wanted = DEFAULT_METRICS[parts[0][1].task]
    return {name: estimate.value for name, estimate in metrics_of(parts, positive, wanted).items()}


def half_widths(of: Estimate) -> list[float]:
    """How far an interval reaches below the value and above it."""
    return [of.value - of.low, of.high - of.value]


def binary_case(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    score = chance.random(n)
    return (score > 0.4).astype(int), (chance.random(n) < score).astype(int), score


def expected_binary(predicted: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    return {
        "accuracy": pytest.approx(accuracy_score(truth, predicted)),
        "precision": pytest.approx(precision_score(truth, predicted)),
        "recall": pytest.approx(recall_score(truth, predicted)),
        "f1": pytest.approx(f1_score(truth, predicted)),
    }


def test_binary_metrics_are_scikit_learns() -> None:
    profile, (predicted, truth, score) = binary_profile(), binary_case(1)
    found = values([(vector_of(profile, predicted, truth, score, ["0", "1"]), profile)], "1")

    binned = np.searchsorted(profile.score_edges, score)
    assert found == expected_binary(predicted, truth) | {"roc_auc": pytest.approx(roc_auc_score(truth, binned))}
    assert abs((found["roc_auc"] or 0) - roc_auc_score(truth, score)) < 0.005


@pytest.mark.parametrize("classes", [(0,), (1,), (0, 1)])
def test_a_reference_that_knows_one_class_only_changes_no_metric(classes: tuple[int, ...]) -> None:
    profile, (predicted, truth, score) = binary_profile(classes), binary_case(2)
    found = values([(vector_of(profile, predicted, truth, score, ["0", "1"]), profile)], "1")

    binned = np.searchsorted(profile.score_edges, score)
    assert found == expected_binary(predicted, truth) | {"roc_auc": pytest.approx(roc_auc_score(truth, binned))}


def test_every_label_but_the_positive_class_is_negative() -> None:
    profile = binary_profile()
    vector = vector_of(profile, [1, 1, 0], [1, 2, 2], [np.nan] * 3, ["0", "1", "fraud"])

    found = values([(vector, profile)], "1")
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "roc_auc": None,
    }


def test_nothing_has_no_metrics() -> None:
    profile = binary_profile()
    empty = np.zeros(outcome_sums("binary").width, np.int64)
    assert set(values([(empty, profile)], "1").values()) == {None}
    regression = profile_of([event(row, row, float(row)) for row in range(9)], "regression")
    assert set(values([(np.zeros(outcome_sums("regression").width, np.int64), regression)], None).values()) == {None}


def test_outcomes_under_two_references_add_up() -> None:
    # The second reference knows another class first, so places differ; scores are binned alike.
    first, second = binary_profile((0, 1)), binary_profile((1,))
    cases = [binary_case(3), binary_case(4)]
    parts = [
        (vector_of(profile, *case, ["0", "1"]), profile) for profile, case in zip((first, second), cases, strict=True)
    ]
    predicted, truth, score = (np.concatenate(columns) for columns in zip(*cases, strict=True))

    binned = np.searchsorted(first.score_edges, score)
    assert values(parts, "1") == expected_binary(predicted, truth) | {
        "roc_auc": pytest.approx(roc_auc_score(truth, binned))
    }


def test_scores_that_are_binned_differently_do_not_add_up() -> None:
    first, second = binary_profile(), binary_profile(power=2.0)
    cases = [binary_case(5), binary_case(6)]
    parts = [
        (vector_of(profile, *case, ["0", "1"]), profile) for profile, case in zip((first, second), cases, strict=True)
    ]
    predicted, truth, _ = (np.concatenate(columns) for columns in zip(*cases, strict=True))

    assert values(parts, "1") == expected_binary(predicted, truth) | {"roc_auc": None}


NAMES = ["ant", "bee", "cat", "unheard of"]


def test_multiclass_metrics_are_scikit_learns_also_under_two_references() -> None:
    chance = np.random.default_rng(7)
    profiles = [multiclass_profile("ant", "bee", "cat"), multiclass_profile("cat", "bee")]
    cases = [(chance.integers(0, n, 200) + 3 - n, chance.integers(0, n, 200) + 3 - n) for n in (3, 2)]
    none = np.full(200, np.nan)
    parts = [(vector_of(profile, *case, none, NAMES), profile) for profile, case in zip(profiles, cases, strict=True)]
    predicted, truth = (np.concatenate(columns) for columns in zip(*cases, strict=True))

    macro = {"average": "macro"}
    assert values(parts, None) == {
        "accuracy": pytest.approx(accuracy_score(truth, predicted)),
        "macro_precision": pytest.approx(precision_score(truth, predicted, **macro)),
        "macro_recall": pytest.approx(recall_score(truth, predicted, **macro)),
        "macro_f1": pytest.approx(f1_score(truth, predicted, **macro)),
    }


def test_whether_one_unknown_class_is_another_can_not_be_told_and_such_pairs_are_told_of() -> None:
    profile = multiclass_profile("ant", "bee")
    vector = vector_of(profile, [0, 0, 2, 2], [0, 3, 1, 3], [np.nan] * 4, NAMES)
    # One is right, one is taken for an ant, one bee is taken for something else, and the last is left out.
    found = metrics_of([(vector, profile)], None, ["accuracy", "recall.ant", "recall.unheard of"])
    told = "pairs left out, since the reference knows neither the predicted nor the true class"
    assert found["accuracy"].value == pytest.approx(1 / 3)
    assert [of.reason for of in found.values()] == [
        f"{told}: 1", f"{told}: 1", f"neither reference nor labels know the class; {told}: 1"
    ]  # fmt: skip
    assert metrics_of([(vector_of(profile, [2, 2], [3, 2], [np.nan] * 2, NAMES), profile)], None, ["accuracy"]) == {
        "accuracy": (None, None, None, 0, f"{told}: 2")
    }
    known = metrics_of([(vector_of(profile, [0, 0, 2], [0, 3, 1], [np.nan] * 3, NAMES), profile)], None, ["accuracy"])
    assert known["accuracy"].reason is None


def test_regression_metrics_are_scikit_learns_also_under_two_references() -> None:
    chance = np.random.default_rng(8)
    profiles = [
        profile_of([event(row, row, spread * (row % 17)) for row in range(60)], "regression") for spread in (1.0, 37.5)
    ]
    cases = [(chance.normal(0, 9, 150), chance.normal(1, 9, 150)) for _ in profiles]
    none = np.full(150, np.nan)
    parts = [(vector_of(profile, *case, none, []), profile) for profile, case in zip(profiles, cases, strict=True)]
    predicted, truth = (np.concatenate(columns) for columns in zip(*cases, strict=True))

    found = values(parts, None)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, predicted), abs=1e-6)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(truth, predicted), abs=1e-6)


@pytest.mark.parametrize("spreads", [(1.0, 37.5), (1.0, 0.1), (0.7, 2.9)])
def test_errors_and_labels_that_never_vary_have_metrics_under_two_references_too(spreads: tuple[float, float]) -> None:
    profiles = [
        profile_of([event(row, row, spread * (row % 17)) for row in range(60)], "regression") for spread in spreads
    ]
    for error in (1.0, 0.1, 3.3, 0.5):
        cases = [([5.3 + error], [5.3]), ([5.3 + error, 5.3 - error], [5.3, 5.3])]
        parts = [
            (vector_of(profile, *case, [np.nan] * len(case[0]), []), profile)
            for profile, case in zip(profiles, cases, strict=True)
        ]

        found = metrics_of(parts, None, ["mae", "rmse", "r2"])
        assert found["mae"][:3] == pytest.approx([error] * 3, abs=1e-6)
        assert found["rmse"].value == pytest.approx(error, abs=1e-6)
        assert found["r2"] == (None, None, None, 3, "all labels are the same")


def test_errors_are_watched_within_each_true_class() -> None:
    profile = binary_profile()
    vector = vector_of(profile, [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [np.nan] * 5, ["0", "1"])
    cases, wrong, squares = watched_errors(vector, profile)

    assert error_series(profile) == ("@error.0", "@error.1")
    assert (cases.tolist(), wrong.tolist(), squares.tolist()) == ([3, 2], [2, 1], [2, 1])


def test_errors_of_classes_that_nobody_knows_are_not_watched() -> None:
    profile = multiclass_profile("ant", "bee")
    vector = vector_of(profile, [0, 3, 3, 0], [0, 1, 3, 3], [np.nan] * 4, NAMES)
    cases, wrong, _ = watched_errors(vector, profile)

    assert (cases.tolist(), wrong.tolist()) == ([1, 1], [0, 1])
    assert confusion_of(vector, profile).counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]


def test_labels_are_counted_by_the_classes_that_the_task_tells_apart() -> None:
    predicted, truth = [0, 1, 1, 0, 2, 0], [0, 1, 0, 0, 2, 2]
    names, score = ["0", "1", "odd"], [0.5] * 6
    both, one = binary_profile(), binary_profile((0,))
    for profile in (both, one):  # where the reference knows no positive class, what it does not know is positive
        rest = 2 if profile is both else 0
        found = labels_by_class(vector_of(profile, predicted, truth, score, names), profile, "1")
        assert found == {"positive": 3 - rest, "negative": 3 + rest}
    assert labels_by_class(vector_of(both, [0, 1], [0, 0], [0.5] * 2, names), both, "1") == {"negative": 2}

    many = profile_of([event(row, row, "abc"[row % 3]) for row in range(90)], "multiclass")
    letters = vector_of(many, predicted, [0, 1, 0, 3, 3, 1], [np.nan] * 6, ["a", "b", "c", "unheard of"])
    assert labels_by_class(letters, many, None) == {"a": 2, "b": 2}
    numbers = profile_of([event(row, row, float(row)) for row in range(90)], "regression")
    assert labels_by_class(vector_of(numbers, predicted, truth, score, []), numbers, None) == {"": 6}


def test_losses_are_scikit_learns_to_the_ninth_digit_also_of_certain_scores() -> None:
    profile, (predicted, truth, score) = binary_profile(), binary_case(11, 2_000)
    score[:4] = (0.0, 1.0, 1.0, 0.0)
    truth[:4] = (0, 1, 0, 1)  # two of them certain and wrong, which costs all that a float can say
    score[4:20] = np.nan
    scored = ~np.isnan(score)
    vector = vector_of(profile, predicted, truth, score, ["0", "1"])
    found = metrics_of([(vector, profile)], "1", ["log_loss", "brier", "pr_auc", "ece"])

    losses = -np.log(np.clip(np.where(truth == 1, score, 1 - score)[scored], np.finfo(float).eps, 1))
    assert found["log_loss"].value == pytest.approx(log_loss(truth[scored], score[scored]), abs=4e-9)
    assert found["log_loss"].value - found["log_loss"].low == pytest.approx(1.96 * stats.sem(losses), rel=1e-3)
    assert found["brier"].value == pytest.approx(brier_score_loss(truth[scored], score[scored]), abs=1e-9)
    assert {estimate.n for estimate in found.values()} == {2_000 - 16}
    binned = np.searchsorted(profile.score_edges, score[scored])
    assert found["pr_auc"].value == pytest.approx(average_precision_score(truth[scored], binned))
    # Calibration by the scores themselves, in 15 groups of as many bins.
    group = np.searchsorted(np.arange(15) * (len(profile.score_edges) + 1) // 15, binned, side="right") - 1
    excess = truth[scored] - score[scored]
    gaps = [abs(excess[group == number].mean()) * (group == number).mean() for number in range(15)]
    assert found["ece"].value == pytest.approx(sum(gaps), abs=1 / 400)


def test_one_class_among_several_has_metrics_of_its_own() -> None:
    profile, chance = multiclass_profile("ant", "bee", "cat"), np.random.default_rng(12)
    predicted, truth = chance.integers(0, 3, 200), chance.integers(0, 3, 200)
    names = [f"{kind}.{name}" for kind in ("precision", "recall", "f1") for name in ("ant", "cat")]
    vector = vector_of(profile, predicted, truth, np.full(200, np.nan), NAMES)
    found = metrics_of([(vector, profile)], None, [*names, "recall.unheard of", "weighted_f1"])

    expected = precision_recall_fscore_support(truth, predicted, labels=[0, 2])
    assert [found[name].value for name in names] == pytest.approx(np.concatenate(expected[:3]))
    assert found["weighted_f1"].value == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert found["recall.unheard of"] == (None, None, None, 0, "neither reference nor labels know the class")


def test_relative_and_signed_errors_are_scikit_learns_also_under_two_references() -> None:
    chance = np.random.default_rng(13)
    profiles = [
        profile_of([event(row, row, spread * (row % 17)) for row in range(60)], "regression") for spread in (1.0, 37.5)
    ]
    cases = [(chance.normal(20, 9, 150), chance.normal(21, 9, 150)) for _ in profiles]
    cases[0][1][:5] = 0.0
    none = np.full(150, np.nan)
    parts = [(vector_of(profile, *case, none, []), profile) for profile, case in zip(profiles, cases, strict=True)]
    predicted, truth = (np.concatenate(columns) for columns in zip(*cases, strict=True))

    found = metrics_of(parts, None, ["r2", "bias", "mape"])
    assert found["r2"].value == pytest.approx(r2_score(truth, predicted), abs=1e-6)
    assert found["bias"].value == pytest.approx((predicted - truth).mean(), abs=1e-6)
    known = truth != 0  # a relative error of 0 is not defined
    assert found["mape"].value == pytest.approx(
        mean_absolute_percentage_error(truth[known], predicted[known]), abs=1e-6
    )
    assert found["mape"].n == 295
    relative = np.abs((predicted[known] - truth[known]) / truth[known])
    assert half_widths(found["mape"]) == pytest.approx([1.96 * stats.sem(relative)] * 2, rel=1e-3)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_rewards_add_up_whatever_the_task_and_what_is_taken_back_is_gone(task: Any) -> None:
    profile = {
        "binary": binary_profile(),
        "multiclass": multiclass_profile("ant", "bee"),
        "regression": profile_of([event(row, row, float(row)) for row in range(9)], "regression"),
    }[task]
    reward = np.array([12.5, -3.25, np.nan, 0.1, 7.0])
    made = pairs_of([0, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0.5] * 5, reward, np.array([1, 1, 1, 1, 1]))
    back = pairs_of([0], [0], [0.5], np.array([7.0]), np.array([-1]))
    deltas = [summarise_outcomes(of, profile, ["0", "1"], 1_000, 1_000, "1") for of in (made, back)]
    vector = merge_vectors([vector for of in deltas for vector in of.vectors], outcome_sums(task).width)

    found = metrics_of([(vector, profile)], "1", ["reward_sum", "reward_mean"])
    rewards = np.array([12.5, -3.25, 0.1])
    assert found["reward_sum"].value == pytest.approx(rewards.sum(), abs=1e-5)
    assert half_widths(found["reward_sum"]) == pytest.approx([3 * 1.96 * stats.sem(rewards)] * 2, rel=1e-3)
    assert found["reward_mean"].value == pytest.approx(rewards.mean(), abs=1e-6)
    assert found["reward_mean"].high - found["reward_mean"].value == pytest.approx(1.96 * stats.sem(rewards), rel=1e-3)
    without = summarise_outcomes(replace(made, reward=None), profile, ["0", "1"], 1_000, 1_000, "1").vectors
    nothing = metrics_of([(merge_vectors(without, outcome_sums(task).width), profile)], "1", ["reward_mean"])
    assert nothing["reward_mean"] == (None, None, None, 0, "no label carries a reward")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("window", ["empty", "one pair", "one class", "unknown labels", "constant scores", "no scores"])
def test_odd_windows_have_values_or_reasons_never_nan(task: Any, window: str) -> None:
    profile = {
        "binary": binary_profile(),
        "multiclass": multiclass_profile("ant", "bee"),
        "regression": profile_of([event(row, row, float(row)) for row in range(9)], "regression"),
    }[task]
    predicted, truth, score = {
        "empty": ([], [], []),
        "one pair": ([1], [0], [0.3]),
        "one class": ([0] * 5, [0] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]),
        "unknown labels": ([0, 1, 0], [2, 2, 2], [0.1, 0.9, 0.5]),
        "constant scores": ([0, 1, 0, 1], [0, 1, 1, 0], [0.5] * 4),
        "no scores": ([0, 1, 0, 1], [0, 1, 1, 0], [np.nan] * 4),
    }[window]
    vector = vector_of(profile, predicted, truth, score, ["0", "1", "unheard of"])
    found = metrics_of([(vector, profile)], "1" if task == "binary" else None, METRICS[task])

    assert list(found) == list(METRICS[task])
    for name, (value, low, high, _, reason) in found.items():
        assert (value is None) <= (reason is not None), name
        if value is None:
            assert low is high is None
        elif low is not None:
            assert math.isfinite(value), name
            assert low - 1e-12 <= value <= high + 1e-12, name
