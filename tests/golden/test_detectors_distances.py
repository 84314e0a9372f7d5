"""The seven distances, and their p-values, are what scipy computes of the same binned data."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from detectors.reference.building import numeric_feature
from detectors.reference.profile import FeatureProfile, bin_numeric
from detectors.windows.distances import DISTANCES, Histograms, histograms, line
from detectors.windows.drift import judge
from detectors.windows.tables import simulated_tables

START = np.zeros(1, np.int64)


def tables(seed: int) -> tuple[np.ndarray, np.ndarray, FeatureProfile]:
    """Bin two samples of which the second has moved, has missing values and comes in other numbers."""
    generator = np.random.default_rng(seed)
    values = generator.gamma(2.0, 3.0, 3000)
    feature = numeric_feature("x", values, np.zeros(values.size, np.bool_), int(generator.integers(3, 40)))
    current = generator.gamma(2.0, 3.0 + generator.random(), 700)
    current[generator.random(700) < 0.1 * generator.random()] = np.nan
    binned = bin_numeric(feature, current, np.isnan(current))
    return np.array(feature.counts), np.bincount(binned, minlength=feature.n_bins), feature


def distance(name: str, reference: np.ndarray, current: np.ndarray, feature: FeatureProfile | None = None) -> float:
    of = histograms(reference, current, START)
    if feature is not None:
        of = Histograms(reference, current, START, *line(feature))
    return float(DISTANCES[name].score(of)[0])


def places(feature: FeatureProfile) -> np.ndarray:
    """Say where each bin stands: inner bins in their middle, outer ones at their edge, then missing, then other."""
    edges = np.clip((np.array(feature.edges) - feature.centre) / feature.scale, -8, 8)
    middles = [edges[0], *((edges[1:] + edges[:-1]) / 2), edges[-1]]
    return np.array([*middles, edges[-1] + 1, edges[-1] + 2])


def cramers_v_of_equal_samples(reference: np.ndarray, current: np.ndarray) -> float:
    """Ask scipy of both samples' shares, each as if it had as many rows as the other."""
    table = np.stack([reference * current.sum(), current * reference.sum()])
    return float(stats.contingency.association(table[:, table.any(axis=0)], method="cramer"))


@pytest.mark.parametrize("seed", range(20))
def test_distances_are_scipys(seed: int) -> None:
    reference, current, feature = tables(seed)
    codes = np.arange(reference.size)
    p, q = reference / reference.sum(), current / current.sum()
    ks = stats.ks_2samp(np.repeat(codes, reference), np.repeat(codes, current), method="asymp").statistic
    where = places(feature)
    expected = {
        "js": jensenshannon(p, q, base=2),
        "hellinger": np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / 2**0.5,
        "chi2": cramers_v_of_equal_samples(reference, current),
        "linf": np.abs(p - q).max(),
        "ks": ks,
        "wasserstein": stats.wasserstein_distance(where, where, reference, current),
    }
    assert {name: distance(name, reference, current, feature) for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_chi_square_is_cramers_v_of_samples_of_one_size_and_scipys_test(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reference = generator.multinomial(900, generator.dirichlet(np.full(8, 5.0)))
    current = generator.multinomial(900, generator.dirichlet(np.full(8, 5.0)))
    table = np.stack([reference, current])
    found = judge("chi2", histograms(reference, current, START), effect=0.1, significance=0.01, seed=1)[0]

    assert found.score == pytest.approx(stats.contingency.association(table, method="cramer"), abs=1e-9)
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_binned_distances_overstate_those_of_the_values_by_no_more_than_they_say(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, current = generator.normal(size=4000), generator.normal(generator.random(), 1.0, 1500)
    feature = numeric_feature("x", values, np.zeros(4000, np.bool_), int(generator.integers(4, 30)))
    of = Histograms(
        np.array(feature.counts),
        np.bincount(bin_numeric(feature, current, np.isnan(current)), minlength=feature.n_bins),
        START,
        *line(feature),
    )
    overstated = DISTANCES["wasserstein"].overstated_at_most
    assert overstated is not None
    exact = stats.wasserstein_distance(values, current) / feature.scale
    assert DISTANCES["wasserstein"].score(of)[0] - overstated(of)[0] <= exact
    binned_ks = DISTANCES["ks"].score(of)[0]
    exact_ks = stats.ks_2samp(values, current).statistic
    largest_bin = max(of.reference.max() / 4000, of.current.max() / 1500)
    assert binned_ks <= exact_ks + 1e-12
    assert exact_ks <= binned_ks + largest_bin + 1e-12


@pytest.mark.parametrize(("moved_to", "level"), [(1.000001, "ok"), (2.000001, "drift")])
def test_a_change_is_no_drift_where_its_values_may_be_nearer_than_the_gate(moved_to: float, level: str) -> None:
    """All values stand beside an edge; a fifth go beyond it, by almost nothing or by the whole next bin."""
    gate, feature = 0.1, FeatureProfile("x", "numeric", (0.0, 1.0, 2.0, 3.0), (), 0.0, 1.0, ())
    values, current = np.full(10_000, 0.999999), np.repeat([0.999999, moved_to], [800, 200])
    counts = (np.bincount(bin_numeric(feature, of, np.isnan(of)), minlength=feature.n_bins) for of in (values, current))
    exact = stats.wasserstein_distance(values, current)

    found = judge("wasserstein", Histograms(*counts, START, *line(feature)), effect=gate, significance=0.001, seed=1)[0]

    assert found.p_value <= 0.001
    assert found.score >= gate
    assert (exact >= gate) == (found.level == "drift")
    assert found.level == level
    # However much the bins really overstate it here is more than the gate asks without them.
    assert found.threshold >= gate + found.score - exact - 1e-9


@pytest.mark.parametrize(
    ("pooled", "n_current"),
    [
        ([4000, 9000, 2500, 12, 1], 5000),
        ([3, 1, 2, 5] * 10, 30),
        ([300, 500, 200, 50, 9], 100),
        ([1_500_000_000, 700_000_000, 900, 3, 800_000_000], 1000),
        ([1_500_000_000, 700_000_000, 12, 3, 800_000_000], 1_000_000_000),
    ],
    ids=["dense", "shuffled", "one bin after the other", "of billions", "billions"],
)
def test_drawn_tables_have_the_margins_and_the_covariance_of_random_parts(pooled: list[int], n_current: int) -> None:
    size = 40_000
    drawn = simulated_tables(np.array(pooled), n_current, size, np.random.default_rng(3))
    assert np.allclose(drawn.sum(axis=1), n_current)
    # Of multivariate hypergeometric counts; scipy's own formula overflows beyond a million.
    n, shares = float(sum(pooled)), np.array(pooled) / sum(pooled)
    mean = n_current * shares
    covariance = (np.diag(shares) - np.outer(shares, shares)) * n_current * (n - n_current) / (n - 1)
    assert (np.abs(drawn.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / size)).max() < 5
    # A correlation of 40,000 draws has a standard error of 1/200, a variance of rare counts one of 1 / sqrt(their sum).
    common = mean > 0.01
    deviations = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    off = (np.cov(drawn.T) - covariance) / deviations
    assert np.abs(off[np.ix_(common, common)]).max() < 5 / min(200.0, (size * mean[common].min()) ** 0.5 / 1.5)


@pytest.mark.parametrize("current", [(2, 0, 2, 1), (0, 1, 4, 0), (3, 1, 1, 0)], ids=str)
def test_of_tables_with_the_same_largest_difference_those_with_more_of_pearsons_statistic_are_farther_away(
    current: tuple[int, ...],
) -> None:
    pooled, rows = np.array([3, 3, 4, 2]), 5
    every = np.array([table for table in itertools.product(*(range(of + 1) for of in pooled)) if sum(table) == rows])
    chance = stats.multivariate_hypergeom(pooled, rows).pmf(every)
    differences = np.abs(every / rows - (pooled - every) / (12 - rows)).max(axis=1).round(9)
    pearsons = np.array([stats.chi2_contingency([of, pooled - of], correction=False)[0] for of in every]).round(9)
    own = int(np.flatnonzero((every == current).all(axis=1))[0])
    equal = differences == differences[own]
    farther = (differences > differences[own]) | (equal & (pearsons > pearsons[own]))
    exact = chance @ (farther + 2 / 3 * (equal & (pearsons == pearsons[own])))

    of = histograms(pooled - np.array(current), np.array(current), START)
    found = [judge("linf", of, effect=0.01, significance=0.05, seed=seed)[0].p_value for seed in range(300)]
    # 300 times 80 simulated tables, and the observed one with each 80: five standard errors.
    assert np.mean(found) == pytest.approx((80 * exact + 1) / 81, abs=5 * (exact / 24_000) ** 0.5)


def test_the_p_value_of_few_rows_is_that_of_all_tables_with_these_margins() -> None:
    # Five of ten rows: 252 ways to part them; Kolmogorov-Smirnov counts those at least as far apart.
    reference, current = np.array([4, 1, 0, 0, 0]), np.array([0, 1, 2, 2, 0])
    codes = np.arange(5)
    exact = stats.permutation_test(
        (np.repeat(codes, reference), np.repeat(codes, current)),
        lambda x, y: stats.ks_2samp(x, y, method="asymp").statistic,
        alternative="greater",
    ).pvalue
    of = Histograms(reference, current, START, *np.zeros((2, 5)))
    found = judge("ks", of, effect=0.1, significance=0.01, seed=1)[0]
    # 400 simulated tables: five standard errors.
    assert found.p_value == pytest.approx(exact, abs=5 * (exact / 400) ** 0.5)
