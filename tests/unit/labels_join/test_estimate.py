"""Do estimates before labels say what labels will say, as long as scores mean what they meant in the reference?"""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from detectors.reference.building import Coded, build_profile, categorical_feature, numeric_feature
from detectors.reference.profile import Profile, bin_score
from detectors.reference.summaries import pack_cells
from labels_join.calibration import ROWS_A_GROUP_MIN, calibration_of, why_not_estimated
from labels_join.estimate import estimated_metrics

BINARY = ("accuracy", "precision", "recall", "specificity", "f1", "roc_auc")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Predicted classes, scores, true classes."""


def reference_of(rows: Rows, names: list[str], task: str = "binary", *, labelled: bool = True) -> Profile:
    predicted, score, truth = rows
    features = [
        categorical_feature("@prediction", predicted.astype(np.int32), names, 50),
        numeric_feature("@score", score, np.isnan(score), 10),
    ]
    label = Coded(truth.astype(np.int32), names) if labelled else None
    return build_profile(task, features, prediction=Coded(predicted.astype(np.int32), names), score=score, label=label)


def cells_of(profile: Profile, predicted: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Count a window's predictions the way its panes do."""
    cells, n = np.unique(predicted * (profile.unscored_bin + 1) + bin_score(profile, score), return_counts=True)
    return pack_cells(cells, n)


def binary_rows(chance: np.random.Generator, n: int, shift: float = 0.0) -> Rows:
    """Draw rows whose score is too sure of itself, but rises with the probability."""
    x = chance.normal(shift - 1.5, 1.2, n)
    score = 1 / (1 + np.exp(-1.3 * x - 0.2))
    return (score > 0.5).astype(np.int64), score, (chance.random(n) < 1 / (1 + np.exp(-x))).astype(np.int64)


def multiclass_rows(chance: np.random.Generator, n: int, shift: float = 0.0) -> Rows:
    """Draw rows of three classes; the score is the predicted class's probability, which is a bit too high."""
    odds = np.exp(chance.normal([0.0, shift, -1.0], 1.2, (n, 3)))
    shares = odds / odds.sum(axis=1, keepdims=True)
    predicted = shares.argmax(axis=1)
    truth = (chance.random((n, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return predicted, shares.max(axis=1) ** 0.8, truth


def of_binary(rows: Rows) -> dict[str, float]:
    predicted, score, truth = rows
    return {
        "accuracy": accuracy_score(truth, predicted),
        "precision": precision_score(truth, predicted),
        "recall": recall_score(truth, predicted),
        "specificity": recall_score(truth, predicted, pos_label=0),
        "f1": f1_score(truth, predicted),
        "roc_auc": roc_auc_score(truth, score),
    }


def of_multiclass(rows: Rows) -> dict[str, float]:
    predicted, _, truth = rows
    scores = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    averaged = {
        f"{how}_{name}": score(truth, predicted, average=how, zero_division=0)
        for how in ("macro", "weighted")
        for name, score in scores.items()
    }
    each = {f"{name}.b": score(truth, predicted, average=None, labels=[1])[0] for name, score in scores.items()}
    return {"accuracy": accuracy_score(truth, predicted)} | averaged | each


def test_of_the_reference_itself_the_estimate_is_what_its_labels_say() -> None:
    rows = binary_rows(np.random.default_rng(1), 3_000)
    profile = reference_of(rows, ["0", "1"])
    found = estimated_metrics(cells_of(profile, *rows[:2]), profile, "1", BINARY)
    expected = of_binary(rows)
    for name in BINARY[:-1]:
        assert found[name].value == pytest.approx(expected[name], abs=1e-12)
    assert found["roc_auc"].value == pytest.approx(expected["roc_auc"], abs=0.01)  # the calibration is in steps


def test_an_estimate_is_what_the_shares_of_each_group_of_scores_come_to() -> None:
    # Two groups of the negative side and one of the positive: 10 % and 30 % positives, and 80 %.
    n = ROWS_A_GROUP_MIN
    score = np.concatenate([np.linspace(0, 0.2, n), np.linspace(0.21, 0.4, n), np.linspace(0.6, 0.9, n)])
    truth = np.concatenate([np.arange(n) < share * n for share in (0.1, 0.3, 0.8)]).astype(np.int64)
    profile = reference_of(((score > 0.5).astype(np.int64), score, truth), ["0", "1"])
    window = np.repeat([0.1, 0.35, 0.7], [50, 30, 20])
    found = estimated_metrics(cells_of(profile, (window > 0.5).astype(np.int64), window), profile, "1", BINARY)

    tp, fp, fn = 20 * 0.8, 20 * 0.2, 50 * 0.1 + 30 * 0.3
    tn = 50 * 0.9 + 30 * 0.7
    pairs = 16 * (45 + 21) + 9 * 45 + (16 * 4 + 9 * 21 + 5 * 45) / 2
    assert {name: estimate.value for name, estimate in found.items()} == {
        "accuracy": pytest.approx((tp + tn) / 100),
        "precision": pytest.approx(0.8),
        "recall": pytest.approx(tp / (tp + fn)),
        "specificity": pytest.approx(tn / (tn + fp)),
        "f1": pytest.approx(2 * tp / (2 * tp + fp + fn)),
        "roc_auc": pytest.approx(pairs / ((tp + fn) * (fp + tn))),
    }


def test_shares_that_fall_by_chance_where_the_score_rises_are_pooled_as_isotonic_regression_does() -> None:
    rows = binary_rows(np.random.default_rng(3), 4_000)
    predicted, score, truth = rows
    profile = reference_of(rows, ["0", "1"])
    found = calibration_of(profile, "1")
    assert found is not None
    for place in (0, 1):
        own = predicted == place
        order = np.argsort(score[own], kind="stable")
        bins = bin_score(profile, score[own][order])
        said = found.shares[found.group[place, bins], 1]
        assert (np.diff(said) >= 0).all()
        # Pooled once more, in groups of one bin each, it can only be what it is: rows of a block share their mean.
        expected = IsotonicRegression().fit(said, truth[own][order]).predict(said)
        np.testing.assert_allclose(said, expected, atol=1e-12)
        assert len(np.unique(said)) < own.sum() / ROWS_A_GROUP_MIN / 2


def test_a_score_that_rises_where_the_truth_falls_is_taken_at_its_word() -> None:
    # The truth is rarest in the middle of the scores; a window from one end is not told the mean of all.
    chance = np.random.default_rng(4)
    score = chance.random(20_000)
    truth = (chance.random(len(score)) < 4 * (score - 0.5) ** 2).astype(np.int64)
    profile = reference_of((np.zeros(len(score), np.int64), score, truth), ["0", "1"])
    for low in (0.0, 0.1, 0.2, 0.4):
        window = chance.uniform(low, low + 0.1, 5_000)
        found = estimated_metrics(cells_of(profile, np.zeros(5_000, np.int64), window), profile, "1", ["accuracy"])
        assert found["accuracy"].value == pytest.approx(1 - np.mean(4 * (window - 0.5) ** 2), abs=0.08)


Case = tuple[Callable[..., Rows], Callable[[Rows], dict[str, float]], list[str], str]
CASES: dict[str, Case] = {
    "binary": (binary_rows, of_binary, ["0", "1"], "1"),
    "multiclass": (multiclass_rows, of_multiclass, ["a", "b", "c"], ""),
}


@pytest.mark.parametrize(("task", "shift"), [("binary", 1.0), ("multiclass", 0.0), ("multiclass", 1.0)])
def test_when_inputs_shift_the_estimate_follows_and_its_interval_holds_what_labels_say(task: str, shift: float) -> None:
    draw, measure, names, positive = CASES[task]
    chance = np.random.default_rng(7)
    within, off, off_reference = [], [], []
    for _ in range(25):
        reference = draw(chance, 4_000)
        profile, of_reference = reference_of(reference, names, task), measure(reference)
        window = draw(chance, 1_500, shift)
        truth = measure(window)
        if shift:  # how wrong answers are shared out among the other classes, the predicted class's score can't tell
            truth = {name: value for name, value in truth.items() if name not in ("recall.b", "f1.b")}
        found = estimated_metrics(cells_of(profile, *window[:2]), profile, positive or None, truth)
        assert found.keys() == truth.keys()
        within += [found[name].low <= truth[name] <= found[name].high for name in truth]
        off.append([found[name].value - truth[name] for name in truth])
        off_reference.append([of_reference[name] - truth[name] for name in truth])
    assert np.mean(within) > 0.92  # 95 % of 240 or more that depend on one another
    assert (np.abs(np.mean(off, axis=0)) < 0.012).all()
    assert not shift or np.abs(off).mean() < np.abs(off_reference).mean() / 2


def test_without_labels_scores_or_classes_nothing_is_estimated_and_it_says_why() -> None:
    rows = binary_rows(np.random.default_rng(2), 200)
    unlabelled = reference_of(rows, ["0", "1"], labelled=False)
    unscored = reference_of((rows[0], np.full(200, np.nan), rows[2]), ["0", "1"])
    for profile, why in ((unlabelled, "the reference has no labels"), (unscored, "the reference has no scores")):
        assert why_not_estimated(profile) == why
        assert estimated_metrics(cells_of(profile, *rows[:2]), profile, "1", BINARY) == {}
    assert why_not_estimated(reference_of(rows, ["0", "1"])) is None


def test_odd_windows_have_estimates_that_are_shares_or_nothing() -> None:
    rows = binary_rows(np.random.default_rng(3), 500)
    profile = reference_of(rows, ["0", "1"])
    one_sided = reference_of((np.zeros(500, np.int64), rows[1], np.zeros(500, np.int64)), ["0", "1"])
    unscored = np.full(5, np.nan)
    for of in (profile, one_sided):
        for predicted, score in (
            (np.ones(1, np.int64), np.array([0.5])),
            (np.zeros(5, np.int64), unscored),
            (np.zeros(9, np.int64), np.full(9, 1.0)),
        ):
            if predicted.max() < len(of.classes):
                for estimate in estimated_metrics(cells_of(of, predicted, score), of, "1", BINARY).values():
                    assert estimate.value is None or 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimated_metrics(np.empty(0, np.int64), profile, "1", BINARY) == {}
    nothing_positive = estimated_metrics(
        cells_of(profile, np.zeros(9, np.int64), np.full(9, 0.1)), profile, "1", BINARY
    )
    assert nothing_positive["precision"].value is None
    # Where scores are missing, all rows of the predicted class say what to expect.
    found = estimated_metrics(cells_of(profile, np.zeros(5, np.int64), unscored), profile, "1", ["accuracy"])
    negatives = rows[0] == 0
    assert found["accuracy"].value == pytest.approx((rows[2][negatives] == 0).mean())


@pytest.mark.parametrize("shift", [-1.0, 0.5])
def test_wrong_answers_are_shared_out_among_the_classes_that_are_predicted_more_often(shift: float) -> None:
    # Shared out as in the reference, recall of the three classes would be off by up to 0.05 and 0.025.
    chance, names = np.random.default_rng(9), ["a", "b", "c"]
    metrics = [f"recall.{name}" for name in names]
    off = []
    for _ in range(20):
        profile = reference_of(multiclass_rows(chance, 4_000), names, "multiclass")
        window = multiclass_rows(chance, 3_000, shift)
        truth = recall_score(window[2], window[0], average=None)
        found = estimated_metrics(cells_of(profile, *window[:2]), profile, None, metrics)
        off.append([found[name].value - real for name, real in zip(metrics, truth, strict=True)])
    assert np.abs(np.mean(off, axis=0)).max() <= 0.02
    assert np.abs(np.mean(off, axis=0)).mean() <= 0.012
