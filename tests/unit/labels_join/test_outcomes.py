"""Do outcome deltas count every pair at its two times, and take back exactly what a correction takes back?"""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from detectors.metrics import LIMBS, limbs_value
from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC, merge_vectors
from labels_join.outcomes import (
    OutcomeDeltas,
    Pairs,
    outcome_histogram,
    outcome_shape,
    outcome_sums,
    summarise_outcomes,
)
from tests.support.profiles import event, profile_of

GRAIN_MS, PANE_MS = 10_000, 1_000
CLASSES = ["ant", "bee", "cat", "unheard of", "unheard of as well"]


def profile(task: str = "multiclass") -> Profile:
    outcomes = [1.0, 2.0, 4.0] if task == "regression" else CLASSES[:3]
    rest = {} if task == "regression" else {"probabilities": {}}
    events = [event(row, row, outcomes[row % 3], **rest, score=row / 99) for row in range(99)]
    return profile_of(events, task)


def pairs(seed: int, n: int, task: str = "multiclass") -> Pairs:
    chance = np.random.default_rng(seed)
    made_ms = chance.integers(0, 30_000, n)
    if task == "regression":
        prediction, truth = chance.normal(0, 3, n), chance.normal(0, 3, n)
    else:
        prediction, truth = (chance.integers(0, len(CLASSES), n).astype(np.float64) for _ in range(2))
    return Pairs(
        chance.integers(0, 2, n),
        np.stack([chance.integers(0, 2, n), chance.integers(4, 6, n)], axis=1),
        made_ms,
        made_ms + chance.integers(-15_000, 15_000, n),
        prediction,
        truth,
        np.where(chance.random(n) < 0.2, np.nan, chance.random(n)),
        chance.random(n) < 0.2,
        np.ones(n, np.int64),
    )


Key = tuple[int, int, int, int, bool]


def rows_of(of: Pairs) -> dict[Key, list[int]]:
    """Return, by (version, segment, cohort, arrival, late), the pairs that belong there."""
    found: dict[Key, list[int]] = {}
    for row in range(len(of)):
        cohort = of.prediction_ms[row] // GRAIN_MS * GRAIN_MS
        arrival = max(of.prediction_ms[row], of.label_ms[row]) // PANE_MS * PANE_MS
        for segment in (ALL_TRAFFIC, *of.segments[row].tolist()):
            key = (int(of.version[row]), segment, int(cohort), int(arrival), bool(of.late[row]))
            found.setdefault(key, []).append(row)
    return found


def keys(deltas: OutcomeDeltas) -> list[Key]:
    columns = (deltas.version, deltas.segment, deltas.cohort_ms, deltas.arrival_ms, deltas.late)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_every_pair_counts_at_its_cohort_and_its_arrival_by_class_and_score() -> None:
    of, made = profile(), pairs(1, 400)
    deltas = summarise_outcomes(made, of, CLASSES, GRAIN_MS, PANE_MS)
    expected = rows_of(made)

    assert len(set(keys(deltas))) == len(deltas)
    assert set(keys(deltas)) == set(expected)
    n_classes, _, n_bins = outcome_shape(of)
    assert n_classes == 3 + 1
    for key, n, vector in zip(keys(deltas), deltas.n.tolist(), deltas.vectors, strict=True):
        inside = expected[key]
        assert n == len(inside)
        cells, counts = outcome_histogram(np.frombuffer(vector, np.int64), of)
        by_hand: Counter[tuple[int, int, int]] = Counter()
        for row in inside:
            score = made.score[row]
            score_bin = n_bins - 1 if np.isnan(score) else sum(score > edge for edge in of.score_edges)
            by_hand[min(int(made.label[row]), 3), min(int(made.prediction[row]), 3), int(score_bin)] += 1
        found = zip(cells // n_bins // n_classes, cells // n_bins % n_classes, cells % n_bins, counts, strict=True)
        assert {tuple(map(int, cell)): int(count) for *cell, count in found} == by_hand


def test_class_codes_are_told_apart_by_name_not_by_number() -> None:
    of, one = profile(), pairs(2, 50)
    other_codes = np.array([3, 4, 0, 1, 2])
    names = [CLASSES[code] for code in np.argsort(other_codes)]
    other = replace(
        one,
        prediction=other_codes[one.prediction.astype(int)].astype(float),
        label=other_codes[one.label.astype(int)].astype(float),
    )
    first = summarise_outcomes(one, of, CLASSES, GRAIN_MS, PANE_MS)
    assert summarise_outcomes(other, of, names, GRAIN_MS, PANE_MS).vectors == first.vectors


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_what_is_taken_back_leaves_nothing(task: str) -> None:
    of, made = profile(task), pairs(3, 100, task)
    taken_back = replace(made, weight=-made.weight)
    width = outcome_sums(of.task).width
    merged: dict[Key, list[bytes]] = {}
    n: Counter[Key] = Counter()
    for each in (made, taken_back):
        deltas = summarise_outcomes(each, of, CLASSES, GRAIN_MS, PANE_MS)
        for key, size, vector in zip(keys(deltas), deltas.n.tolist(), deltas.vectors, strict=True):
            merged.setdefault(key, []).append(vector)
            n[key] += size

    assert set(n.values()) == {0}
    assert {tuple(merge_vectors(vectors, width).tolist()) for vectors in merged.values()} == {(0,) * width}


def test_a_batch_may_hold_pairs_and_their_taking_back_together() -> None:
    of, made = profile("regression"), pairs(4, 60, "regression")
    weight = np.where(np.arange(60) % 3 == 0, -1, 1)
    mixed = summarise_outcomes(replace(made, weight=weight), of, CLASSES, 10**6, 10**6)
    [everything] = [
        vector for key, vector in zip(keys(mixed), mixed.vectors, strict=True) if key == (0, -1, 0, 0, False)
    ]
    chosen = (made.version == 0) & ~made.late
    numbers = np.frombuffer(everything, np.int64)
    assert numbers[0] == weight[chosen].sum()
    scale = Fraction(of.error_scale) / 2**32
    errors = (made.prediction - made.label)[chosen]
    limbs_of = numbers[outcome_sums("regression").errors].reshape(3, LIMBS)
    sums = [limbs_value(limbs) * scale for limbs in limbs_of[[0, 2]]]
    assert float(sums[0]) == pytest.approx((weight[chosen] * np.abs(errors)).sum(), abs=1e-6)
    assert float(sums[1] * scale) == pytest.approx((weight[chosen] * errors**2).sum(), abs=1e-6)


def test_the_watched_error_is_standardised_and_clipped() -> None:
    of = profile("regression")
    made = replace(
        pairs(5, 3, "regression"),
        prediction=np.array([0.0, of.error_scale, 1e300]),
        label=np.zeros(3),
        version=np.zeros(3, np.int64),
        segments=np.empty((3, 0), np.int64),
        late=np.zeros(3, np.bool_),
    )
    [vector] = summarise_outcomes(made, of, CLASSES, 10**6, 10**6).vectors
    numbers = np.frombuffer(vector, np.int64)
    assert numbers[:3].tolist() == [3, 0 + 4096 + 8 * 4096, 4096**2 + (8 * 4096) ** 2]
