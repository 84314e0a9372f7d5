"""Every window statistic behaves on bad input, and finds what was planted."""

import numpy as np
import pytest

from detectors.reference.building import numeric_feature
from detectors.reference.profile import FeatureProfile, bin_numeric
from detectors.windows.distances import DISTANCES, Histograms, histograms, line
from detectors.windows.drift import Drift, judge
from driftline.settings.detectors import WINDOW_DETECTORS, WindowDetector
from driftline.settings.models import DriftSettings

EFFECTS = DriftSettings(detectors=WINDOW_DETECTORS).window_effects
START = np.zeros(1, np.int64)

pytestmark = pytest.mark.parametrize("detector", WINDOW_DETECTORS)


def found(detector: WindowDetector, feature: FeatureProfile, values: np.ndarray) -> Drift:
    values = np.asarray(values, np.float64)
    current = np.bincount(bin_numeric(feature, values, np.isnan(values)), minlength=feature.n_bins)
    of = Histograms(np.array(feature.counts), current, START, *line(feature))
    return judge(detector, of, effect=EFFECTS[detector], significance=0.001, seed=1)[0]


def normal(n: int, shift: float = 0.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, n)


def numbers(values: np.ndarray) -> FeatureProfile:
    return numeric_feature("x", values, np.isnan(values), 10)


def test_the_registry_and_the_settings_name_the_same(detector: WindowDetector) -> None:
    assert set(DISTANCES) == set(WINDOW_DETECTORS) == set(EFFECTS)
    assert detector in DISTANCES


def test_nulls_from_none_to_95_percent_are_drift(detector: WindowDetector) -> None:
    current = normal(1000, seed=2)
    current[:950] = np.nan
    assert found(detector, numbers(normal(5000)), current).level == "drift"


def test_a_shift_by_a_scale_is_drift_and_none_is_not(detector: WindowDetector) -> None:
    feature = numbers(normal(5000))
    assert found(detector, feature, normal(1000, 1.0, seed=2)).level == "drift"
    assert found(detector, feature, normal(1000, seed=2)).level == "ok"


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (np.ones(500), np.ones(200)),
        (np.full(500, np.nan), np.full(200, np.nan)),
        (normal(500), normal(1)),
        (normal(500), np.array([np.inf])),
        (normal(10), normal(200, seed=3)),
        (normal(10), normal(1, seed=3)),
        (np.append(normal(500), 1e300), np.append(normal(300, seed=3), [-1e300, np.inf])),
        (np.array([-1e300, 1e300] * 20), np.array([1e300, -1e300] * 20)),
    ],
    ids=["constant", "missing", "one row", "one infinite row", "few", "few and one", "huge", "only huge"],
)
def test_odd_data_are_no_drift_and_never_nan(
    detector: WindowDetector, reference: np.ndarray, current: np.ndarray
) -> None:
    verdict = found(detector, numbers(reference), current)
    assert verdict.level in ("ok", "not_ready")
    assert np.isfinite([verdict.score, verdict.threshold, verdict.p_value]).all()


@pytest.mark.parametrize("rows", [0, 1, 4, 9, 30, 499])
def test_one_odd_row_is_no_drift_whatever_the_window(detector: WindowDetector, rows: int) -> None:
    # A million rows of one value, and a single other one among few: by itself rarer than any significance.
    reference, current = np.array([10**6, 0, 0]), np.array([rows, 1, 0])
    of = Histograms(reference, current, START, np.ones(3), np.ones(3))
    assert judge(detector, of, effect=1e-9, significance=0.001, seed=1)[0].level == "ok"
    several = of._replace(current=np.array([rows, 20, 0]))
    assert judge(detector, several, effect=1e-9, significance=0.001, seed=1)[0].level == "drift"


@pytest.mark.parametrize("chance", [0.5, 1.0, 1.2, 2.0, 4.0, 6.0])
def test_one_row_is_no_drift_however_near_its_chance_is_to_the_significance(
    detector: WindowDetector, chance: float
) -> None:
    # Tables are simulated where a single row's chance is near the significance, and a simulation may be off.
    for rows in range(20):
        reference = np.array([round(1000 / chance) + rows, 0, 0])
        of = Histograms(reference, np.array([0, 1, 0]), START, np.ones(3), np.ones(3))
        assert judge(detector, of, effect=1e-9, significance=0.001, seed=1)[0].level == "ok"


def test_a_window_of_new_categories_only_is_drift(detector: WindowDetector) -> None:
    of = histograms(np.array([400, 300, 300, 0, 0]), np.array([0, 0, 0, 0, 200]), START)
    of = of._replace(jumps=np.ones(5))
    assert judge(detector, of, effect=EFFECTS[detector], significance=0.001, seed=1)[0].level == "drift"


def test_a_hundred_thousand_categories_are_judged_without_simulating_each(detector: WindowDetector) -> None:
    generator = np.random.default_rng(4)
    shares = generator.dirichlet(np.full(100_000, 0.5))
    reference, same = generator.multinomial(50_000, shares), generator.multinomial(20_000, shares)
    for current, level in ((same, "ok"), (np.roll(same, 1), None)):
        verdict = judge(
            detector, histograms(reference, current, START), effect=EFFECTS[detector], significance=0.001, seed=1
        )[0]
        assert level is None or verdict.level == level
        assert np.isfinite([verdict.score, verdict.threshold, verdict.p_value]).all()


def test_rows_that_go_together_are_worth_fewer(detector: WindowDetector) -> None:
    # A share that varies four times as much from window to window as it would by chance.
    of = histograms(np.array([5000, 5000, 0, 0]), np.array([560, 440, 0, 0]), START)._replace(jumps=np.ones(4))
    alone, together = (
        judge(detector, of, effect=1e-9, significance=0.01, seed=1, dependence=dependence)[0]
        for dependence in (None, np.array([4.0]))
    )
    assert (alone.level, together.level) == ("drift", "ok")
    assert alone.score == together.score
    assert alone.p_value < together.p_value


def test_one_drifted_feature_among_a_hundred_is_found(detector: WindowDetector) -> None:
    generator = np.random.default_rng(5)
    feature = numbers(generator.normal(size=20_000))
    levels = [found(detector, feature, normal(2000, 0.6 * (place == 37), seed=place)).level for place in range(100)]
    assert [place for place, level in enumerate(levels) if level == "drift"] == [37]
