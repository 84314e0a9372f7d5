"""Pairs of predictions and labels of one window, summed up as in the store."""

from typing import Any

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import merge_vectors
from labels_join.outcomes import Pairs, outcome_sums, summarise_outcomes
from tests.support.profiles import event, profile_of


def pairs_of(predicted: Any, truth: Any, score: Any, reward: np.ndarray | None, weight: np.ndarray) -> Pairs:
    """Make pairs of one version and one window, in no segment."""
    n = len(predicted)
    same = np.zeros(n, np.int64)
    predicted, truth, score = (np.asarray(column, np.float64) for column in (predicted, truth, score))
    return Pairs(same, np.empty((n, 0), np.int64), same, same, predicted, truth, score, same > 0, weight, reward)


def vector_of(profile: Profile, predicted: Any, truth: Any, score: Any, names: list[str]) -> np.ndarray:
    """Summarise pairs of one window."""
    made = pairs_of(predicted, truth, score, None, np.ones(len(predicted), np.int64))
    deltas = summarise_outcomes(made, profile, names, 1_000, 1_000, "1")
    return merge_vectors(deltas.vectors, outcome_sums(profile.task).width)


def multiclass_profile(*names: str) -> Profile:
    """Make a reference that knows these classes, as often each."""
    return profile_of([event(row, row, names[row % len(names)]) for row in range(60)], "multiclass")
