"""Binning is exact under any batching, and a profile survives any data and any round trip."""

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.canonical import canonical
from detectors.reference.building import build_profile, categorical_feature, numeric_feature
from detectors.reference.profile import FeatureProfile, Profile, bin_categorical, bin_numeric, standardised_steps

numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float), max_size=60)
scalars = st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def numeric(values: list[float], bins: int) -> FeatureProfile:
    array = np.array(values, dtype=np.float64)
    return numeric_feature("x", array, np.isnan(array), bins)


@given(scalars)
@settings(deadline=None)
def test_canonical_text_is_stable_and_survives_json(value: str | float) -> None:
    text = canonical(value)
    assert canonical(text) == text
    assert canonical(json.loads(json.dumps(value))) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_canonical_text_of_a_number_keeps_its_value(value: float) -> None:
    assert float(canonical(value)) == value or math.isclose(value, 0.0)


@given(numbers, st.integers(2, 20))
@settings(deadline=None)
def test_every_value_is_in_the_bin_whose_edges_hold_it(values: list[float], bins: int) -> None:
    feature = numeric(values, bins)
    bounds = [-math.inf, *feature.edges, math.inf]
    array = np.array(values, dtype=np.float64)
    for value, code in zip(values, bin_numeric(feature, array, np.isnan(array)).tolist(), strict=True):
        if math.isnan(value):
            assert code == feature.missing_index
        elif math.isinf(value):
            assert code == feature.other_index
        else:
            assert bounds[code] < value <= bounds[code + 1]
    assert sum(feature.counts) == len(values)
    assert len(feature.bin_labels()) == feature.n_bins
    assert math.isfinite(feature.centre)
    assert 0 < feature.scale < math.inf


@given(numbers, numbers, st.randoms())
@settings(deadline=None)
def test_bin_counts_and_step_sums_of_batches_add_up_to_those_of_all_rows(
    reference: list[float], values: list[float], random
) -> None:
    feature = numeric(reference, 10)
    shuffled = np.array(random.sample(values, len(values)), dtype=np.float64)

    def summary(rows: np.ndarray) -> tuple[list[int], int, int]:
        steps = standardised_steps(feature, rows)
        counts = np.bincount(bin_numeric(feature, rows, np.isnan(rows)), minlength=feature.n_bins)
        return counts.tolist(), int(steps.sum()), int((steps * steps).sum())

    half = len(values) // 2
    parts, whole = (summary(shuffled[:half]), summary(shuffled[half:])), summary(np.array(values, dtype=np.float64))
    assert [a + b for a, b in zip(parts[0][0], parts[1][0], strict=True)] == whole[0]
    assert (parts[0][1] + parts[1][1], parts[0][2] + parts[1][2]) == whole[1:]


@given(st.lists(st.integers(-2, 4), max_size=60), st.permutations(range(5)), st.integers(0, 6))
@settings(deadline=None)
def test_categories_do_not_depend_on_the_order_of_rows_or_dictionary(
    codes: list[int], order: list[int], categories_max: int
) -> None:
    texts = ["a", "b", "1", "true", "z"]
    renamed = [code if code < 0 else order.index(code) for code in reversed(codes)]
    columns = [
        (np.array(codes, dtype=np.int32), texts),
        (np.array(renamed, dtype=np.int32), [texts[place] for place in order]),
    ]
    one, other = (categorical_feature("c", *column, categories_max) for column in columns)
    assert one == other
    counts = np.bincount(bin_categorical(one, *columns[1]), minlength=one.n_bins)
    assert tuple(counts.tolist()) == one.counts
    assert len(one.categories) <= categories_max


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=40), st.none() | st.integers(0, 10**9))
@settings(deadline=None)
def test_a_profile_survives_json_bit_for_bit(values: list[float], delay: int | None) -> None:
    array = np.array(values)
    feature = numeric_feature("@prediction", array, np.zeros(array.size, bool), 10)
    profile = build_profile("regression", [feature], prediction=array, label_delay_p90_ms=delay)
    again = Profile.from_json(profile.to_json())
    assert again == profile
    assert again.to_json() == profile.to_json()
    assert again.digest == profile.digest
