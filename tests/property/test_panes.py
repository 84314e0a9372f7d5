"""Do summaries of parts always add up to the summary of the whole?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.metrics import LIMBS, limbs_value
from detectors.reference.summaries import merge_vectors
from labels_join.outcomes import Pairs, outcome_sums, summarise_outcomes
from streams.counting import summarise_predictions
from streams.panes import PaneDeltas, pane_layout
from tests.support.profiles import batch_of, event, profile_of, random_events

PANE_MS, GRAIN_MS, N = 1_000, 5_000, 120
OUTCOMES = {"binary": (0, 1, 2), "multiclass": ("ant", "bee", "cat"), "regression": (0.5, 2.5, -1e6)}

parts = st.lists(st.integers(0, 3), min_size=N, max_size=N)
seeds = st.integers(0, 2**32 - 1)


def reference(task: str):
    outcomes = OUTCOMES[task][:2]
    rest = [{"score": (row + 0.5) / 60} if task == "binary" else {} for row in range(60)]
    return profile_of([event(row, row, outcomes[row % 2], **rest[row]) for row in range(60)], task)


PROFILES = {task: reference(task) for task in OUTCOMES}


def added_up(deltas: list[PaneDeltas], width: int) -> dict[tuple[int, ...], tuple[int, list[int]]]:
    vectors: dict[tuple[int, ...], list[bytes]] = {}
    n: dict[tuple[int, ...], int] = {}
    for each in deltas:
        names = ["version", "segment", "late"]
        names += ["start_ms"] if isinstance(each, PaneDeltas) else ["cohort_ms", "arrival_ms"]
        keys = zip(*(getattr(each, name).tolist() for name in names), strict=True)
        for key, size, vector in zip(keys, each.n.tolist(), each.vectors, strict=True):
            vectors.setdefault(key, []).append(vector)
            n[key] = n.get(key, 0) + size
    return {key: (n[key], canonical(merge_vectors(of, width), width)) for key, of in vectors.items()}


def canonical(vector: np.ndarray, width: int) -> list[int]:
    """Exact sums of errors may be spread over their limbs in several ways; what they come to is one number."""
    at = outcome_sums("regression")
    if width != at.width:
        return vector.tolist()
    limbs = [vector[at.errors], vector[at.relative][1:], vector[at.truths], vector[at.rewards][1:]]
    return [*vector[:3].tolist(), *map(limbs_value, np.concatenate(limbs).reshape(-1, LIMBS))]


@pytest.mark.parametrize("task", list(OUTCOMES))
@given(seed=seeds, part=parts)
@settings(max_examples=25, deadline=None)
def test_panes_of_any_parts_add_up_to_the_pane_of_all(task: str, seed: int, part: list[int]) -> None:
    chance = np.random.default_rng(seed)
    layout = pane_layout(PROFILES[task])
    batch = batch_of(random_events(seed, N, OUTCOMES[task]), task)
    version, segments = chance.integers(0, 2, N), chance.integers(0, 3, (N, 1))
    late, of = chance.random(N) < 0.2, np.array(part)

    def summarised(rows: np.ndarray) -> PaneDeltas:
        chosen = batch.pick(rows)
        return summarise_predictions(chosen, version[rows], segments[rows], late[rows], layout, PANE_MS)

    whole = added_up([summarised(np.arange(N))], layout.width)
    in_parts = [summarised(chance.permutation(np.flatnonzero(of == number))) for number in set(part)]
    assert added_up(in_parts, layout.width) == whole


@pytest.mark.parametrize("task", list(OUTCOMES))
@given(seed=seeds, part=parts)
@settings(max_examples=25, deadline=None)
def test_outcomes_of_any_parts_add_up_and_what_is_taken_back_is_gone(task: str, seed: int, part: list[int]) -> None:
    chance = np.random.default_rng(seed)
    profile, of = PROFILES[task], np.array(part)
    regression = task == "regression"

    def outcome() -> np.ndarray:
        return chance.normal(0, 1e3, N) if regression else chance.integers(0, 3, N).astype(np.float64)

    made_ms = chance.integers(0, 20_000, N)
    pairs = Pairs(
        chance.integers(0, 2, N), chance.integers(0, 3, (N, 1)), made_ms, made_ms + chance.integers(0, 9_000, N),
        outcome(), outcome(), np.where(chance.random(N) < 0.3, np.nan, chance.random(N)), chance.random(N) < 0.2,
        np.ones(N, np.int64),
    )  # fmt: skip
    names, width = [str(name) for name in OUTCOMES[task]], outcome_sums(task).width

    def summarised(rows: np.ndarray, weight: int = 1):
        chosen = pairs.take(rows)
        return summarise_outcomes(replace(chosen, weight=chosen.weight * weight), profile, names, GRAIN_MS, PANE_MS)

    whole = added_up([summarised(np.arange(N))], width)
    kept = np.flatnonzero(of > 0)
    in_parts = [summarised(np.flatnonzero(of == number)) for number in set(part)]
    assert added_up(in_parts, width) == whole
    if len(gone := np.flatnonzero(of == 0)) and len(kept):
        left = {key: found for key, found in added_up([*in_parts, summarised(gone, -1)], width).items() if found[0]}
        assert left == added_up([summarised(kept)], width)
