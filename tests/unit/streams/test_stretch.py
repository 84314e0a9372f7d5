"""Is a stretch's profile that of its events, whatever the task, and of the reference's own events the reference?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC, Ints, merge_vectors
from driftline.events import Coded, FeatureColumn, Numeric, PredictionBatch
from driftline.settings.models import Task
from labels_join.outcomes import Pairs, summarise_outcomes
from streams.counting import summarise_predictions
from streams.panes import pane_layout
from streams.references.reference import profile_from_batch
from streams.references.stretch import bins_of, changes, profile_of_stretch
from tests.support.profiles import TYPES, batch_of, random_events

CLASSES: dict[Task, list[object]] = {
    "binary": [0, 1],
    "multiclass": ["ant", "bee", "cat"],
    "regression": [1.5, -2.0, 1e6, 0.0],
}
PANE_MS = 500


def labels_for(batch: PredictionBatch, seed: int) -> FeatureColumn:
    """Make labels like the predictions, in another order, for two of three."""
    chance = np.random.default_rng(seed)
    unknown = chance.random(len(batch)) < 1 / 3
    order = chance.permutation(len(batch))
    if isinstance(batch.prediction, Numeric):
        values = np.where(unknown, np.nan, batch.prediction.values[order])
        return Numeric(values, unknown)
    return Coded(np.where(unknown, -1, batch.prediction.codes[order]).astype(np.int32), batch.prediction.values)


def features_of(batch: PredictionBatch, profile: Profile) -> Ints:
    """Summarise a batch into panes, and merge them."""
    nothing = np.zeros(len(batch), np.int64)
    layout = pane_layout(profile)
    deltas = summarise_predictions(batch, nothing, nothing[:, np.newaxis], nothing > 0, layout, PANE_MS)
    whole = [vector for vector, segment in zip(deltas.vectors, deltas.segment, strict=True) if segment == ALL_TRAFFIC]
    return merge_vectors(whole, layout.width)


def outcomes_of(batch: PredictionBatch, labels: FeatureColumn, profile: Profile) -> Ints:
    """Pair a batch with its labels, and merge what comes of it."""
    prediction = batch.prediction
    if isinstance(prediction, Numeric) or isinstance(labels, Numeric):
        return merge_vectors([], 0)
    known = (labels.codes >= 0) & (prediction.codes >= 0)
    n = int(known.sum())
    nothing, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    predicted, true = (column.codes[known].astype(np.float64) for column in (prediction, labels))
    pairs = Pairs(
        nothing, nothing[:, np.newaxis], nothing, nothing, predicted, true, batch.score[known], nothing > 0, ones
    )
    deltas = summarise_outcomes(pairs, profile, list(prediction.values), PANE_MS, PANE_MS)
    whole = [vector for vector, segment in zip(deltas.vectors, deltas.segment, strict=True) if segment == ALL_TRAFFIC]
    return merge_vectors(whole, 0)


@pytest.mark.parametrize("task", CLASSES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stretch_of_the_events_of_the_reference_is_the_reference_bit_for_bit(task: Task, seed: int) -> None:
    batch = batch_of(random_events(seed, 300, CLASSES[task]), task)
    labels = labels_for(batch, seed)
    old = profile_from_batch(batch, TYPES, labels, task=task, bins=5, categories_max=50)
    emptied = replace(bins_of(old), n=1)  # nothing of what is counted may come from the old one

    new = profile_of_stretch(emptied, len(batch), features_of(batch, old), {}, outcomes_of(batch, labels, old))

    assert new == old
    assert new.digest == old.digest


@pytest.mark.parametrize("task", CLASSES)
def test_other_events_keep_the_bins_and_change_what_differs_most_first(task: Task) -> None:
    old = profile_from_batch(
        batch_of(random_events(1, 300, CLASSES[task]), task), TYPES, task=task, bins=5, categories_max=9
    )
    moved = [{**each, "features": {"x": 9.0, "c": "a"}} for each in random_events(2, 200, CLASSES[task])]
    batch = batch_of(moved, task)

    vector = features_of(batch, old)
    new = profile_of_stretch(old, len(batch), vector, {"s=2": vector, "s=1": vector * 0}, merge_vectors([], 0))

    assert bins_of(new) == bins_of(old)
    assert new.digest != old.digest
    assert (new.n, [segment.name for segment in new.segments]) == (200, ["s=1", "s=2"])
    assert new.counts_of("s=2") == new.counts_of(None)
    found = changes(old, new)
    assert [name for name, _ in found[:2]] == ["x", "c"]
    assert [change for _, change in found] == sorted((change for _, change in found), reverse=True)
    assert {change for _, change in changes(new, new)} == {0.0}
