"""Do main effects say what each feature does to right answers, and do the parts add up to what is said of the whole?"""

import numpy as np
import pytest

from detectors.reference.effects import BINS_MAX, Effects, explained_by_inputs, fit_effects, sum_of

UNIT = 2.0**20


def drawn(seed: int, n: int, n_bins: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw bins, counted over all features, of which the second goes with the first; and right answers."""
    chance = np.random.default_rng(seed)
    bins = chance.integers(0, n_bins, (n, n_features))
    bins[:, 1] = np.where(chance.random(n) < 0.5, bins[:, 0], bins[:, 1])
    right = chance.random(n) < 0.9 - 0.4 * (bins[:, 0] == n_bins - 1) - 0.2 * (bins[:, 2] == 0)
    return bins + n_bins * np.arange(n_features), right.astype(np.float64)


def effects_of(found: Effects, place: int = 0) -> np.ndarray:
    return np.array(found.by_bin[place]) / UNIT


def test_effects_are_those_of_a_ridge_regression_on_the_bins() -> None:
    """As least squares find them, with a row of each bin alone for which nothing is to be explained."""
    codes, right = drawn(1, 5_000, 6, 4)
    found = fit_effects(codes, 24, {"right": right, "wrong": 1.0 - right})
    assert found is not None
    dummies = (codes[:, :, None] == np.arange(24)).any(axis=1).astype(float)
    centred = np.vstack([dummies - dummies.mean(axis=0), np.eye(24)])
    expected = np.linalg.lstsq(centred, np.concatenate([right - right.mean(), np.zeros(24)]), rcond=None)[0]

    assert (found.of, found.bins) == (("right", "wrong"), tuple(range(24)))
    assert effects_of(found) == pytest.approx(expected, abs=1e-6)
    assert effects_of(found, 1) == pytest.approx(-expected, abs=1e-6)
    base = right.mean() - dummies.mean(axis=0) @ expected
    assert np.array(found.bases) / UNIT == pytest.approx([base, 1.0 - base], abs=1e-6)


def test_features_that_are_the_same_share_what_goes_with_both() -> None:
    side = np.arange(2_000) % 2
    found = fit_effects(np.stack([side, 2 + side], axis=1), 4, {"right": 1.0 - 0.5 * side})
    assert found is not None
    assert effects_of(found) == pytest.approx([0.125, -0.125, 0.125, -0.125], abs=1e-3)


def test_what_features_did_adds_up_to_what_the_sums_make_of_the_ratio() -> None:
    codes, hit = drawn(2, 5_000, 6, 4)
    wanted = {"hit": hit, "predicted": np.maximum(hit, np.random.default_rng(3).random(5_000) < 0.3)}
    found = fit_effects(codes, 24, wanted)
    assert found is not None
    counts = np.bincount(codes.ravel(), minlength=24).reshape(4, 6)
    sums = sum_of(found, {"hit": 1.0}, 0.0, counts.tolist()), sum_of(found, {"predicted": 1.0}, 0.0, counts.tolist())
    before, now = (np.random.default_rng(seed).dirichlet(np.ones(6), 4).ravel() for seed in (4, 5))

    did = explained_by_inputs(sums, before, now, np.arange(0, 25, 6))

    means = hit.mean(), wanted["predicted"].mean()
    first, last = (
        [
            mean + (shares - (counts / 5_000).ravel()) @ np.array(of) / UNIT
            for mean, of in zip(means, found.by_bin, strict=True)
        ]
        for shares in (before, now)
    )
    assert did is not None
    assert did.sum() == pytest.approx(last[0] / last[1] - first[0] / first[1], abs=1e-5)


def test_only_the_feature_that_moved_did_anything_also_if_others_go_with_it() -> None:
    """What moves by itself, while its neighbours stay, is known from rows in which it went without them."""
    codes, right = drawn(6, 20_000, 6, 4)
    found = fit_effects(codes, 24, {"right": right})
    assert found is not None
    counts = np.bincount(codes.ravel(), minlength=24).reshape(4, 6)
    sums = sum_of(found, {"right": 1.0}, 0.0, counts.tolist()), sum_of(found, {}, 1.0, counts.tolist())
    before = (counts / 20_000).ravel()
    now = before.copy()
    now[:6] = [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]

    did = explained_by_inputs(sums, before, now, np.arange(0, 25, 6))

    assert did is not None
    assert did[1:].tolist() == [0.0, 0.0, 0.0]
    assert did[0] == pytest.approx(-0.4 * (0.5 - 1 / 6), abs=0.02)


def test_a_bin_that_the_reference_has_no_row_of_counts_as_the_mean_of_its_feature() -> None:
    codes, right = drawn(7, 2_000, 6, 3)
    found = fit_effects(np.where(codes < 12, codes, codes + 1), 19, {"right": right})
    assert found is not None
    counts = [[*np.bincount(codes[:, at] - 6 * at, minlength=6).tolist(), *([0] if at == 1 else [])] for at in range(3)]
    effect = sum_of(found, {"right": 1.0}, 0.0, counts).effect

    assert effect[12] == pytest.approx(np.array(counts[1]) @ effect[6:13] / 2_000, abs=1e-9)


def test_few_rows_and_no_features_have_no_effects_and_many_bins_as_many_as_allowed() -> None:
    codes, right = drawn(8, 199, 6, 3)
    assert fit_effects(codes, 18, {"right": right}) is None
    assert fit_effects(np.zeros((1_000, 0), np.int64), 0, {"right": np.ones(1_000)}) is None
    many = np.arange(60_000)[:, None] % 1_500
    found = fit_effects(many, 1_500, {"right": np.ones(60_000)})
    assert found is not None
    assert len(found.bins) == BINS_MAX
    assert fit_effects(np.arange(1_000)[:, None], 1_000, {"right": np.ones(1_000)}) == Effects(
        ("right",), (2**20,), (), ((),)
    )


def test_where_effects_leave_no_denominator_nothing_is_said() -> None:
    sums = sum_of(Effects(("hit",), (2**19,), (0, 1), ((2**20, -(2**20)),)), {"hit": 1.0}, 0.0, [[50, 50]])
    assert explained_by_inputs((sums, sums), np.array([0.5, 0.5]), np.array([0.0, 1.0]), np.array([0, 2])) is None
