"""Does a stream whose events resemble their neighbours alarm no more than one of independent events?"""

import numpy as np
import pytest
from scipy import signal, stats

from detectors.noise.dependence import Dispersion, compare_means, compare_shares
from detectors.noise.swings import PIECES_A_SLIDE, FeatureSwings, SeriesSwings
from detectors.sequential.registry import SEQUENTIAL, make_bank
from detectors.windows.distances import DISTANCES, Histograms, histograms
from detectors.windows.drift import judge

BINS, FEATURES, WINDOWS, N_REFERENCE = 10, 60, 50, 10_000
EDGES = stats.norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1])
STARTS, FREEDOMS = np.arange(FEATURES) * BINS, np.full(FEATURES, BINS - 1.0)
THREE = np.array([3.0])
WIDTHS = np.tile(np.concatenate([[0.0], np.diff(EDGES), [0.0]]), FEATURES)
DELTA = 0.002
SEEDS = (17, 18, 19, 20)


def autoregressive(phi: float, n: int, chance: np.random.Generator) -> np.ndarray:
    """[features, n] of a stationary first-order process with variance 1."""
    steps = chance.normal(size=(FEATURES, n + 300)) * np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], steps, axis=1)[:, 300:]


def counted(values: np.ndarray, pieces: int) -> np.ndarray:
    """[pieces, features * bins]."""
    bins = np.searchsorted(EDGES, values).reshape(FEATURES, pieces, -1)
    counts = (bins[..., None] == np.arange(BINS)).sum(axis=2)
    return counts.transpose(1, 0, 2).reshape(pieces, -1).astype(np.int64)


def alarms(
    detector: str, phi: float, n: int, significance: float, *, aware: bool, windows: int = WINDOWS, seed: int = 17
) -> np.ndarray:
    """Which windows of an unchanged stream are called significant, before any effect gate: [windows, features]."""
    chance = np.random.default_rng(seed)
    reference = counted(autoregressive(phi, N_REFERENCE, chance), 1)[0]
    parts = counted(autoregressive(phi, windows * n, chance), windows * PIECES_A_SLIDE).reshape(
        windows, -1, reference.size
    )
    swings, found = FeatureSwings.unknown(FEATURES, reference.size, 0), []
    for number, of_window in enumerate(parts):
        swings = swings.after(of_window, number, STARTS)
        known = swings.known(FREEDOMS) if aware else None
        of = Histograms(reference, of_window.sum(axis=0), STARTS, WIDTHS, np.zeros(WIDTHS.size))
        verdicts = judge(detector, of, effect=1e-9, significance=significance, seed=1, dependence=known)
        found.append([verdict.p_value <= significance for verdict in verdicts])
    return np.array(found)


def in_a_row(found: np.ndarray) -> int:
    """How often a window and the next of a feature both alarm, of [seeds, windows, features]."""
    return int((found[:, 1:] & found[:, :-1]).sum())


@pytest.mark.parametrize(
    ("detector", "n", "significance"),
    [("psi", 1_200, 0.05), *((each, 500, 0.01) for each in ("psi", "linf", "ks", "wasserstein"))],
)
def test_an_autocorrelated_stream_alarms_no_more_than_a_white_one(detector: str, n: int, significance: float) -> None:
    """Of 12,000 looks each; `docs/benchmarks/detection.md` tells of them."""
    looks = len(SEEDS) * WINDOWS * FEATURES
    white, half, strong = (
        np.stack([alarms(detector, phi, n, significance, aware=True, seed=seed) for seed in SEEDS])
        for phi in (0.0, 0.5, 0.9)
    )

    assert alarms(detector, 0.9, n, significance, aware=False).mean() > 10 * significance
    assert strong.sum() <= white.sum()
    assert half.sum() <= white.sum() + 2.0 * np.sqrt(white.sum() + half.sum())
    assert half.sum() <= max(white.sum(), stats.binom.isf(0.01, looks, 0.8 * significance))
    assert in_a_row(strong) <= in_a_row(white) + 2.0 * np.sqrt(in_a_row(white) + in_a_row(strong))
    # Not paid for with blindness: a white stream keeps half of its alarms and more.
    assert white.sum() >= stats.binom.ppf(0.001, looks, 0.5 * significance)


@pytest.mark.parametrize(("detector", "phi"), [("ks", 0.2), ("psi", 0.5), ("wasserstein", 0.5)])
def test_a_weak_swing_alarms_no_more_while_little_is_known_of_it(detector: str, phi: float) -> None:
    """All features tell of it together, where each by itself could not yet be told from chance."""
    windows, seeds, significance = 6, range(10), 0.01
    found = sum(
        alarms(detector, phi, 400, significance, aware=True, windows=windows, seed=seed).sum() for seed in seeds
    )

    # Windows of a feature share its reference, so alarms come in bursts: twice the variance of independent ones.
    looks = FEATURES * windows * len(seeds)
    assert found <= stats.nbinom.isf(0.001, looks * significance, 0.5)


@pytest.mark.parametrize("pairs", [6, 40, 200])
def test_one_feature_that_swings_by_nature_makes_no_other_one_blind(pairs: int) -> None:
    """An hour of the day differs from window to window as nothing else does."""
    means, freedoms = np.ones(20), np.full(20, 9.0)
    means[7] = 100.0
    together = Dispersion(means, np.full(20, pairs, np.int64)).known_together(3, freedoms)
    assert together[7] >= 100.0
    assert np.delete(together, 7).max() <= 1.1


def test_the_other_window_statistics_have_the_p_values_of_psi() -> None:
    """So what is counted of PSI, here and in the calibration table, is counted of them."""
    chance = np.random.default_rng(18)
    counts = [chance.multinomial(n, [0.5, 0.3, 0.15, 0.04, 0.01], FEATURES).ravel() for n in (400, 60)]
    of = histograms(*counts, np.arange(FEATURES) * 5)
    by_detector = [
        [found.p_value for found in judge(detector, of, effect=1e-9, significance=0.05, seed=1)]
        for detector in DISTANCES
        if detector not in ("linf", "ks", "wasserstein")
    ]
    assert len(by_detector) == 4
    assert by_detector == [by_detector[0]] * 4


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_pairs_of_pieces_tell_the_variance_inflation(phi: float) -> None:
    """The mean of an AR(1) stream varies (1 + phi) / (1 - phi) times as much as one of independent values."""
    chance = np.random.default_rng(3)
    values = autoregressive(phi, 400 * 200, chance).reshape(FEATURES, 400, 200)
    sums, squares = values.sum(axis=2).T, (values**2).sum(axis=2).T

    found = Dispersion.unknown(FEATURES).after(compare_means(np.full_like(sums, 200), sums, squares))

    # Pieces of 200 see a twentieth less of it than endless ones would; a pair beyond four times the usual is clipped.
    assert found.means.mean() == pytest.approx((1 + phi) / (1 - phi), rel=0.15)
    assert found.pairs.tolist() == [399] * FEATURES


def test_the_comparison_of_shares_is_pearsons_statistic_over_its_mean() -> None:
    chance = np.random.default_rng(4)
    pieces = chance.multinomial(300, np.full(5, 0.2), 4)
    found = compare_shares(pieces, np.zeros(1, np.int64))

    for pair, ratio in enumerate(found.ratios[:, 0]):
        statistic = stats.chi2_contingency(pieces[pair : pair + 2], correction=False).statistic
        assert ratio == pytest.approx(statistic / 4 * 599 / 600, rel=1e-12)
    assert found.freedoms.tolist() == [4.0]


def test_a_change_is_no_dispersion() -> None:
    """Ten quiet slides, then all events in one bin: what is known hardly moves, so the change is seen."""
    chance, starts = np.random.default_rng(5), np.zeros(1, np.int64)
    swings = FeatureSwings.unknown(1, 4, 0)
    for number in range(10):
        swings = swings.after(chance.multinomial(200, [0.25] * 4, 4), number, starts)
    changed = swings
    for number in range(10, 13):
        changed = changed.after(np.tile([800, 0, 0, 0], (4, 1)), number, starts)

    assert changed.known(THREE)[0] < swings.known(THREE)[0] + 0.8
    of = histograms(np.full(4, 1_000), np.array([800, 0, 0, 0]), starts)
    assert judge("psi", of, effect=0.1, significance=1e-4, seed=1, dependence=changed.known(THREE))[0].level == "drift"


def test_what_is_known_survives_storing_and_odd_pieces() -> None:
    starts = np.array([0, 3])
    nothing, all_alike = np.zeros((4, 5), np.int64), np.tile([9, 0, 0, 0, 5], (4, 1))
    swings = FeatureSwings.unknown(2, 5, 0)
    for number, parts in enumerate((nothing, all_alike, nothing, np.arange(20).reshape(4, 5), all_alike)):
        swings = swings.after(parts, number, starts)
        stored = FeatureSwings.from_bytes(swings.to_bytes())
        assert stored.to_bytes() == swings.to_bytes()
        assert np.isfinite(stored.known(np.array([2.0, 1.0]))).all()
        assert (stored.known(np.array([2.0, 1.0])) >= 1.0).all()


@pytest.mark.parametrize("detector", SEQUENTIAL)
def test_an_autocorrelated_series_changes_no_more_than_a_white_one_and_its_change_is_found(detector: str) -> None:
    chance, panes, per_pane, series = np.random.default_rng(6), 300, 100, FEATURES
    cuts = {}
    for phi, aware, shift in ((0.0, True, 0.0), (0.9, True, 0.0), (0.9, False, 0.0), (0.9, True, 1.5)):
        values = autoregressive(phi, panes * per_pane, chance)
        values[:, panes * per_pane // 2 :] += shift
        steps = np.rint(np.clip(values, -8, 8) * 4096).astype(np.int64).reshape(series, panes, per_pane)
        sums, squares = steps.sum(axis=2).T, (steps**2).sum(axis=2).T
        counts = np.full_like(sums, per_pane)
        bank = make_bank(detector, DELTA, np.full(series, 16.0), np.full(series, 1 / 4096), np.full(series, 0.25))
        swings, found = SeriesSwings(series, None), np.zeros(series, np.int64)
        for first in range(0, panes, 60):
            batch = slice(first, first + 60)
            known = swings.learn(counts[batch], sums[batch], squares[batch])
            if aware:
                bank.disperse(known)
            for pane in range(first, first + 60):
                found += bank.update(counts[pane], sums[pane], squares[pane]).detected
            swings = SeriesSwings(series, swings.to_bytes())
        cuts[phi, aware, shift] = found

    assert cuts[0.0, True, 0.0].sum() == cuts[0.9, True, 0.0].sum() == 0
    without, found = cuts[0.9, False, 0.0].sum(), np.count_nonzero(cuts[0.9, True, 1.5])
    assert without > {"adwin": 300, "page_hinkley": 300, "cusum": 300, "ddm": 30}.get(detector, -1)
    # HDDM-A goes by the range of the values, 16 scales: it sees neither such swings nor such a shift.
    assert found >= {"adwin": series, "page_hinkley": series, "cusum": series // 2, "ddm": 5}.get(detector, 0)
