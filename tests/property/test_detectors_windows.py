"""Whatever the counts, a verdict is finite, consistent and the same however it was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.windows.distances import DISTANCES, Histograms, psi
from detectors.windows.drift import Drift, judge

counts = st.one_of(st.integers(0, 5), st.integers(0, 3000), st.sampled_from([0, 10**6, 10**10]))
features = st.lists(
    st.integers(1, 6).flatmap(lambda k: st.lists(st.tuples(counts, counts), min_size=k, max_size=k)),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("detector", DISTANCES)
@given(features, st.sampled_from([0.0, 0.02, 0.1]), st.sampled_from([0.05, 0.01]))
@settings(max_examples=60, deadline=None)
def test_a_verdict_is_finite_consistent_and_independent_of_its_neighbours(
    detector: str, bins: list[list[tuple[int, int]]], effect: float, significance: float
) -> None:
    flat = np.array([pair for feature in bins for pair in feature], dtype=np.int64)
    starts = np.cumsum([0, *(len(feature) for feature in bins[:-1])])
    widths, jumps = np.ones((2, len(flat)))

    def judged(reference: np.ndarray, current: np.ndarray, starts: np.ndarray) -> list[Drift]:
        of = Histograms(reference, current, starts, widths[: reference.size], jumps[: reference.size])
        return judge(detector, of, effect=effect, significance=significance, seed=3)

    for feature, verdict in zip(bins, judged(flat[:, 0], flat[:, 1], starts), strict=True):
        reference, current = np.array(feature, dtype=np.int64).T.copy()
        assert judged(reference, current, np.zeros(1, np.int64)) == [verdict]
        assert np.isfinite([verdict.score, verdict.threshold, verdict.p_value]).all()
        assert 0 < verdict.p_value <= 1
        if verdict.level == "not_ready":
            assert reference.sum() == 0 or current.sum() == 0
            continue
        significant = verdict.p_value <= significance
        assert (verdict.level == "drift") == (verdict.score >= verdict.threshold)
        if detector == "wasserstein":  # its gate is wider by what the bins hide
            assert verdict.level != "drift" or (significant and verdict.score >= effect)
            continue
        assert (verdict.level == "drift") == (significant and verdict.score >= effect)
        assert (verdict.level == "warning") == (significant and effect / 2 <= verdict.score < effect)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=12))
@settings(deadline=None)
def test_psi_is_symmetric_not_negative_and_zero_for_equal_histograms(pairs: list[tuple[int, int]]) -> None:
    reference, current = np.array(pairs, dtype=np.int64).T.copy()
    assert psi(reference, current) >= 0
    assert np.isclose(psi(reference, current), psi(current, reference), rtol=1e-9, atol=1e-12)
    assert psi(reference, reference) == 0
