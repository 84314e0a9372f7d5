"""The reference profile bins everything, survives every column and has a name of its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors.reference.building import Coded, build_profile, categorical_feature, numeric_feature
from detectors.reference.effects import Effects
from detectors.reference.profile import (
    FeatureProfile,
    Profile,
    bin_categorical,
    bin_numeric,
    bin_score,
    standardised_steps,
)

ROOT = Path(__file__).parents[3]


def numeric(values: list[float], bins: int = 10) -> FeatureProfile:
    array = np.array(values, dtype=np.float64)
    return numeric_feature("x", array, np.isnan(array), bins)


def small_profile() -> Profile:
    codes = np.array([0, 1, 1, 0, -1], dtype=np.int32)
    score = np.array([0.1, 0.9, 0.6, 0.2, np.nan])
    return build_profile(
        "binary",
        [
            numeric_feature("@score", score, np.isnan(score), 10),
            categorical_feature("@prediction", codes, ["0", "1"], 10),
            numeric([1.0, 2.0, 3.0, 4.0, np.nan]),
        ],
        prediction=Coded(codes, ["0", "1"]),
        score=score,
        label=Coded(np.array([0, 1, -1, 2, 1], dtype=np.int32), ["0", "1.0", "2"]),
        label_delay_p90_ms=86_400_000,
    )


def test_a_value_on_an_edge_is_in_the_bin_below() -> None:
    feature = replace(numeric([0.0]), edges=(3.5, 7.0))
    values = np.array([3.4, 3.5, 3.6, 7.0, 7.1, -1e300, 1e300])
    assert bin_numeric(feature, values, np.zeros(7, bool)).tolist() == [0, 0, 1, 1, 2, 0, 2]
    assert feature.bin_labels() == ["(-inf, 3.5]", "(3.5, 7]", "(7, inf)", "missing", "other"]


def test_missing_and_not_finite_have_their_own_bins() -> None:
    feature = numeric([1.0, 2.0, 3.0], bins=2)
    values, missing = np.array([np.nan, np.nan, np.inf, -np.inf, 1.0]), np.array([True, False, False, False, True])
    expected = [feature.missing_index, *[feature.other_index] * 3, feature.missing_index]
    assert bin_numeric(feature, values, missing).tolist() == expected


def test_edges_are_numpys_linear_quantiles_of_the_finite_reference() -> None:
    values = np.random.default_rng(1).lognormal(size=1000)
    feature = numeric_feature("x", np.append(values, [np.inf, np.nan]), np.zeros(1002, bool), 10)
    assert feature.edges == tuple(np.quantile(values, np.linspace(0, 1, 11)[1:-1]))
    assert feature.counts == (*[100] * 10, 0, 2)
    assert feature.centre == np.median(values)
    assert feature.scale == (np.quantile(values, 0.75) - np.quantile(values, 0.25)) / 1.349


@pytest.mark.parametrize(
    ("values", "n_edges", "scale"),
    [
        ([0.1] * 10, 1, 1.0),
        ([], 0, 1.0),
        ([np.nan] * 3, 0, 1.0),
        ([7.0], 1, 1.0),
        ([0.0] * 97 + [1.0, 2.0, 3.0], 1, np.std([0.0] * 97 + [1.0, 2.0, 3.0])),
        ([5e-324] * 9 + [0.0], 1, 1.0),
    ],
)
def test_constant_single_empty_and_all_null_columns_are_features_like_any_other(
    values: list[float], n_edges: int, scale: float
) -> None:
    feature = numeric(values)
    assert len(feature.edges) == n_edges
    assert feature.scale == pytest.approx(scale)
    assert len(feature.counts) == feature.n_bins == len(feature.bin_labels()) == n_edges + 3
    assert sum(feature.counts) == len(values)


def test_duplicate_quantile_edges_on_zero_inflated_data_give_fewer_bins_and_matching_counts() -> None:
    values = np.concatenate([np.zeros(700), np.arange(1, 301)]).astype(np.float64)
    feature = numeric_feature("x", values, np.zeros(1000, bool), 10)
    assert feature.edges == tuple(np.unique(np.quantile(values, np.linspace(0, 1, 11)[1:-1])))
    assert len(feature.counts) == feature.n_bins == len(feature.edges) + 3
    assert feature.counts[0] == 700


@pytest.mark.parametrize("values", [[1e300, -1e300, 1.0, 2.0], [sys.float_info.max, -sys.float_info.max], [1e-320]])
def test_gigantic_and_tiny_values_make_finite_profiles_and_bounded_steps(values: list[float]) -> None:
    feature = numeric(values)
    assert np.isfinite([*feature.edges, feature.centre, feature.scale]).all()
    assert feature.scale > 0
    assert np.abs(standardised_steps(feature, np.array([*values, 1e308, -1e308]))).max() <= 8 * 4096


def test_steps_are_standardised_clipped_and_zero_where_not_finite() -> None:
    feature = replace(numeric([0.0]), centre=10.0, scale=2.0)
    values = np.array([10.0, 12.0, 9.0, 1e300, -1e300, np.nan, np.inf, -np.inf, 10.0 + 2.0 / 4096])
    assert standardised_steps(feature, values).tolist() == [0, 4096, -2048, 32768, -32768, 0, 0, 0, 1]


def test_categories_are_ranked_by_count_then_text_and_the_rest_is_other() -> None:
    codes = np.repeat(np.array([0, 1, 2, 3, 4, -1, -2], dtype=np.int32), [5, 3, 3, 1, 2, 4, 1])
    feature = categorical_feature("c", codes, ["b", "z", "a", "rare", "1.0"], 4)
    assert feature.categories == ("b", "a", "z", "1")
    assert feature.counts == (5, 3, 3, 2, 4, 2)
    assert feature.bin_labels() == ["b", "a", "z", "1", "missing", "other"]


def test_categories_compare_by_canonical_text_and_unseen_ones_are_other() -> None:
    feature = categorical_feature("c", np.array([0, 0, 1, 2], dtype=np.int32), ["1", "1.0", "True"], 10)
    assert feature.categories == ("1", "true")
    codes = np.array([0, 1, 2, -1, -2], dtype=np.int32)
    assert bin_categorical(feature, codes, ["true", "1.00", "1e0"]).tolist() == [1, 0, 3, 2, 3]


def test_a_category_that_the_dictionary_names_but_no_row_has_is_unknown() -> None:
    assert categorical_feature("c", np.zeros(3, dtype=np.int32), ["a", "ghost"], 10).categories == ("a",)


def test_the_model_output_is_profiled_last_and_classes_include_labels() -> None:
    profile = small_profile()
    assert [feature.name for feature in profile.features] == ["x", "@prediction", "@score"]
    assert profile.classes == ("0", "1", "2")
    assert profile.n == 5
    assert profile.error_scale == 1.0


def test_score_counts_hold_every_predicted_row_once_with_unknown_labels_as_minus_one() -> None:
    profile = small_profile()
    scores = np.array([0.1, 0.9, 0.6, 0.2])
    bins = bin_score(profile, scores).tolist()
    expected = sorted([(bins[0], 0, 0, 1), (bins[1], 1, 1, 1), (bins[2], 1, -1, 1), (bins[3], 0, 2, 1)])
    assert list(profile.score_counts) == expected
    assert bins[0] < bins[3] < bins[2] < bins[1]
    assert bin_score(profile, np.array([np.nan, np.inf])).tolist() == [profile.unscored_bin] * 2


def test_a_continuous_score_gets_1024_bins_and_each_discrete_score_its_own() -> None:
    codes = np.zeros(20_000, dtype=np.int32)
    prediction = categorical_feature("@prediction", codes, ["0"], 10)
    for scores, n_bins in ((np.random.default_rng(1).random(20_000), 1024), (np.arange(20_000) % 7 / 7, 8)):
        score = numeric_feature("@score", scores, np.zeros(20_000, bool), 10)
        profile = build_profile("binary", [prediction, score], prediction=Coded(codes, ["0"]), score=scores)
        assert profile.unscored_bin == n_bins
        assert np.unique(bin_score(profile, scores)).size == min(n_bins, np.unique(scores).size)


def test_the_error_scale_is_the_labels_else_the_predictions() -> None:
    predicted, label = np.arange(100.0), np.arange(100.0) * 3
    feature = numeric_feature("@prediction", predicted, np.zeros(100, bool), 10)
    assert build_profile("regression", [feature], prediction=predicted).error_scale == feature.scale
    assert build_profile("regression", [feature], prediction=predicted, label=label).error_scale == pytest.approx(
        feature.scale * 3
    )


def test_a_profile_without_its_model_output_is_refused() -> None:
    with pytest.raises(ValueError, match="@prediction"):
        build_profile("regression", [numeric([1.0])], prediction=np.array([1.0]))
    with pytest.raises(ValueError, match="exactly once"):
        build_profile("regression", [*small_profile().features, numeric([1.0])], prediction=np.array([1.0]))


def test_json_round_trip_is_exact_and_the_digest_names_everything() -> None:
    profile = small_profile()
    assert Profile.from_json(profile.to_json()) == profile
    assert Profile.from_json(profile.to_json()).digest == profile.digest
    changed = [
        replace(profile, label_delay_p90_ms=None),
        replace(profile, n=6),
        replace(profile, error_scale=np.nextafter(1.0, 2.0)),
        replace(profile, features=(replace(profile.features[0], name="y"), *profile.features[1:])),
    ]
    assert len({profile.digest, *(other.digest for other in changed)}) == 5


def test_effects_survive_json_and_leave_the_digest_alone_as_they_only_explain() -> None:
    profile = small_profile()
    explained = replace(profile, effects=Effects(("right",), (900,), (0, 2), ((5, -7),)))

    assert Profile.from_json(explained.to_json()) == explained
    assert explained.digest == profile.digest
    assert "effects" not in profile.to_json()


def test_the_digest_is_the_same_in_another_process() -> None:
    code = (
        "import sys; from detectors.reference.profile import Profile; print(Profile.from_json(sys.stdin.read()).digest)"
    )
    command = [sys.executable, "-c", code]
    profile = small_profile()
    other = subprocess.run(command, input=profile.to_json(), cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == profile.digest


def test_negative_zero_does_not_change_the_digest() -> None:
    assert repr(numeric([-0.0] * 20)) == repr(numeric([0.0] * 20))
