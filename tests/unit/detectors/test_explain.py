"""Are the bins that moved named, and broken pipelines told from a world that changed?"""

import numpy as np
import pytest
from scipy import stats

from detectors.reference.building import categorical_feature, numeric_feature
from detectors.reference.profile import bin_numeric, standardised_steps
from detectors.windows.distances import psi
from detectors.windows.explain import Break, moved_bins, pipeline_break

CHANCE = np.random.default_rng(11)
REFERENCES = {
    "normal": CHANCE.normal(50.0, 10.0, 5_000),
    "around zero": CHANCE.normal(0.0, 1.0, 5_000),
    "skewed": CHANCE.lognormal(0.0, 1.0, 5_000),
    "whole numbers": CHANCE.poisson(6.0, 5_000).astype(np.float64),
}


def broken(name: str, values: np.ndarray) -> Break | None:
    reference = REFERENCES[name]
    feature = numeric_feature(name, reference, np.isnan(reference), 10)
    counts = np.bincount(bin_numeric(feature, values, np.isnan(values)), minlength=feature.n_bins)
    steps = standardised_steps(feature, values)
    return pipeline_break(feature, np.array(feature.counts), counts, int(steps.sum()), int((steps**2).sum()))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("factor", [1000.0, 0.001, -1000.0])
def test_another_unit_is_a_broken_pipeline(name: str, factor: float) -> None:
    assert broken(name, REFERENCES[name][:500] * factor) == "unit"


@pytest.mark.parametrize("name", REFERENCES)
def test_values_that_are_missing_never_seen_or_stand_still_are_broken_pipelines(name: str) -> None:
    values = REFERENCES[name][:500]
    few = np.arange(500) % 20 == 0

    assert broken(name, np.where(few, values, np.nan)) == "missing"
    assert broken(name, np.full(500, np.nan)) == "missing"
    assert broken(name, np.where(few, values, np.inf)) == "unseen"
    assert broken(name, np.full(500, np.median(REFERENCES[name]))) == "constant"


def test_all_values_missing_is_a_broken_pipeline_also_where_some_always_were() -> None:
    feature = numeric_feature("x", np.arange(950.0), np.zeros(950, np.bool_), 10)
    reference = np.array([*feature.counts[:-2], 50, 0])

    assert pipeline_break(feature, reference, np.array([*[0] * 10, 500, 0])) == "missing"
    assert pipeline_break(feature, reference, np.array([*[0] * 10, 0, 500])) == "unseen"


@pytest.mark.parametrize("name", REFERENCES)
def test_a_world_that_changes_is_no_broken_pipeline(name: str) -> None:
    reference = REFERENCES[name]
    spread = stats.iqr(reference) / 1.349

    assert broken(name, reference[:500]) is None
    assert broken(name, reference[:500] + spread) is None
    assert broken(name, reference[:500] + 3 * spread) is None
    assert broken(name, np.median(reference) + 0.3 * (reference[:500] - np.median(reference))) is None
    assert broken(name, np.where(np.arange(500) % 20 == 0, np.nan, reference[:500] + spread)) is None


def test_categories_that_are_new_or_all_alike_are_broken_pipelines() -> None:
    feature = categorical_feature("city", np.arange(900, dtype=np.int32) % 3, ["a", "b", "c"], 50)
    reference = np.array(feature.counts)

    assert pipeline_break(feature, reference, np.array([20, 20, 20, 0, 300])) == "unseen"
    assert pipeline_break(feature, reference, np.array([0, 200, 0, 0, 0])) == "constant"
    assert pipeline_break(feature, reference, np.array([150, 50, 0, 0, 0])) is None
    assert pipeline_break(feature, reference, np.array([0, 0, 0, 0, 0])) is None


def test_the_parts_of_all_bins_add_up_to_the_score() -> None:
    reference, current = CHANCE.multinomial(1_000, np.full(12, 1 / 12)), CHANCE.multinomial(300, np.arange(12) / 66)
    moved = moved_bins(reference, current)

    assert sum(of.contribution for of in moved) == pytest.approx(psi(reference, current), abs=1e-12)
    assert sorted(of.bin for of in moved) == list(range(12))
    assert [of.contribution for of in moved] == sorted((of.contribution for of in moved), reverse=True)
    first = moved[0]
    assert (first.reference_share, first.current_share) == (reference[first.bin] / 1_000, current[first.bin] / 300)
