"""Restoring a snapshot changes nothing, and series do not see one another."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sequential.adwin import AdwinBank
from detectors.sequential.cuts import AdwinSpec, Cut, Suspicion, Watched, best_cuts

SPEC = AdwinSpec(max_buckets=2)
RANGES, UNITS, EFFECTS = np.array([1.0, 16.0, 1.0]), np.array([1.0, 1 / 4096, 1.0]), np.array([0.0, 0.1, 0.05])
panes = st.lists(st.tuples(*[st.tuples(st.integers(0, 2000), st.floats(0, 1))] * 3), min_size=1, max_size=60)


def bank() -> AdwinBank:
    return AdwinBank(SPEC, RANGES, UNITS, EFFECTS)


def columns_of(stream: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = np.array([[count for count, _ in pane] for pane in stream])
    steps = np.array([1, 4096, 1])
    ones = np.array([[int(count * share) for count, share in pane] for pane in stream])
    return counts, ones * steps, ones * steps**2


def add(target: AdwinBank, pane: tuple[tuple[int, float], ...], start_ms: int) -> Cut:
    return target.update(*(of[0] for of in columns_of([pane])), start_ms)


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


@given(panes, st.integers(1, 64), st.integers(1, 3), st.floats(1, 5))
@settings(max_examples=100, deadline=None)
def test_many_panes_at_once_change_what_they_change_one_by_one(
    stream: list, at_once: int, clock: int, dispersion: float
) -> None:
    spec = AdwinSpec(max_buckets=2, delta=0.3, clock=clock)
    one_by_one, together = (AdwinBank(spec, RANGES, UNITS, EFFECTS) for _ in range(2))
    for target in (one_by_one, together):
        target.disperse(np.array([1.0, 1.0, dispersion]))
    for start in range(0, len(stream), at_once):
        some = stream[start : start + at_once]
        expected = [add(one_by_one, pane, start + number) for number, pane in enumerate(some)]
        found = together.update_many(*columns_of(some), start + np.arange(len(some)))
        changed = [cut for cut in expected if cut.detected.any()]
        assert len(found) == len(changed)
        assert all(map(same, found, changed))
        assert same(together.clearest(), one_by_one.clearest())
    assert together.snapshot() == one_by_one.snapshot()


@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([3, 200, 10**6, 2**25]))
@settings(max_examples=100, deadline=None)
def test_no_cut_is_overlooked_by_the_bound_that_leaves_out_most(seed: int, rows: int, size: int) -> None:
    generator, series = np.random.default_rng(seed), 8
    shares = np.clip(0.5 + generator.normal(0, 0.2, (rows, series)).cumsum(axis=0) * generator.random(series), 0, 1)
    counts = generator.integers(0, size, (rows, series))
    ones = generator.binomial(counts, shares)
    totals = np.zeros((3, rows + 1, series), np.int64)
    totals[:, 1:] = np.cumsum([counts, ones, ones], axis=1)
    watched = Watched(np.ones(series), np.ones(series), np.full(series, 0.01), generator.integers(1, 4, series) * 1.0)
    ends = np.arange(2, rows + 1)
    boundaries = np.where(np.arange(1, rows) < ends[:, None], np.arange(1, rows), 0)
    suspicion = Suspicion(SPEC, watched, totals, boundaries, ends)
    named = np.zeros((len(ends), series), np.bool_)
    for block in suspicion.blocks():
        named[suspicion.named(block, np.ones(series, np.bool_))] = True
    for end, is_named in zip(ends, named, strict=True):
        detected = best_cuts(SPEC, watched, totals[:, 1:end], totals[:, end]).detected
        assert not (detected & ~is_named).any()


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
