"""Restoring a snapshot changes nothing, and series do not see one another."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.adwin import AdwinBank, AdwinSpec, Cut

SPEC = AdwinSpec(max_buckets=2)
RANGES, UNITS, EFFECTS = np.array([1.0, 16.0, 1.0]), np.array([1.0, 1 / 4096, 1.0]), np.array([0.0, 0.1, 0.05])
panes = st.lists(st.tuples(*[st.tuples(st.integers(0, 2000), st.floats(0, 1))] * 3), min_size=1, max_size=60)


def bank() -> AdwinBank:
    return AdwinBank(SPEC, RANGES, UNITS, EFFECTS)


def add(target: AdwinBank, pane: tuple[tuple[int, float], ...], start_ms: int) -> Cut:
    counts = np.array([count for count, _ in pane])
    steps = np.array([1, 4096, 1])
    ones = np.array([int(count * share) for count, share in pane])
    return target.update(counts, ones * steps, ones * steps**2, start_ms)


def same(one: Cut, other: Cut) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


@given(panes, st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_restoring_a_snapshot_mid_window_is_the_identity(stream: list, cut_at: int) -> None:
    kept, restored = bank(), bank()
    for index, pane in enumerate(stream):
        if index == cut_at:
            snapshot = kept.snapshot()
            restored = AdwinBank.restore(SPEC, RANGES, UNITS, EFFECTS, snapshot)
            assert restored.snapshot() == snapshot
        assert same(add(kept, pane, index), add(restored, pane, index))
    assert kept.snapshot() == restored.snapshot()


@given(panes)
@settings(max_examples=100, deadline=None)
def test_a_series_is_never_changed_by_what_its_neighbours_measure(stream: list) -> None:
    together, alone = bank(), bank()
    for index, pane in enumerate(stream):
        # The same pane boundaries, but the neighbours see nothing unusual.
        calm = (pane[0], (pane[1][0], 0.5), (pane[2][0], 0.5))
        one, other = add(together, pane, index), add(alone, calm, index)
        assert one.detected[0] == other.detected[0]
        if one.detected[0]:
            assert (one.n_old[0], one.n_new[0]) == (other.n_old[0], other.n_new[0])


@given(panes)
@settings(max_examples=100, deadline=None)
def test_a_cut_is_finite_within_range_and_at_least_epsilon_and_effect(stream: list) -> None:
    target = bank()
    for index, pane in enumerate(stream):
        for cut in (add(target, pane, index), target.clearest()):
            assert np.isfinite([cut.gap, cut.epsilon]).all()
            assert (np.abs(cut.gap) <= RANGES).all()
            assert (cut.epsilon >= EFFECTS).all()
            assert (cut.detected == ((np.abs(cut.gap) >= cut.epsilon) & (cut.n_old > 0))).all()
            assert (cut.since_ms <= index).all()


@given(panes)
@settings(max_examples=100, deadline=None)
def test_what_stands_after_a_pane_is_no_change_that_was_overlooked(stream: list) -> None:
    target = bank()
    for index, pane in enumerate(stream):
        add(target, pane, index)
        assert not target.clearest().detected.any()
