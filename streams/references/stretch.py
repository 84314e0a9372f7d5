"""Which profile do the rollups of a stretch of event time make, and how far is it from the old one? Pure functions.

Invariant: the new profile bins as the old one, so vectors that were made under either mean the same under both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from detectors.reference.profile import FeatureProfile, Profile, SegmentCounts
from detectors.reference.summaries import Ints, unpack_cells
from detectors.windows.distances import psi
from labels_join.outcomes import outcome_histogram, outcome_shape
from streams.panes import PaneLayout, odd_values, pane_layout, scored_cells


def bins_of(profile: Profile) -> Profile:
    """Return what of a profile says how events are binned: all but its counts."""
    features = tuple(replace(feature, counts=(), outside=0) for feature in profile.features)
    return replace(profile, n=0, features=features, score_counts=(), segments=())


def profile_of_stretch(old: Profile, n: int, features: Ints, segments: Mapping[str, Ints], outcomes: Ints) -> Profile:
    """Give a profile the counts of a stretch; edges, categories, centres, scales and the label delay stay.

    The range stays, too, with how many of the stretch lay outside of it: by how much they did, nobody knows any more.

    Parameters
    ----------
    n
        Predictions in the stretch.
    features
        int64; their merged pane vector, as `streams.panes` lays it out under the old profile.
    segments
        The same by segment, such as `SEX=1`.
    outcomes
        int64; for classification the merged outcome vector of those whose label is known, see `labels_join.outcomes`.
    """
    layout = pane_layout(old)
    counts = features[: layout.n_bins].tolist()
    bounds = pairwise(layout.starts.tolist())
    odd = odd_values(features, layout).tolist()
    return replace(
        old,
        n=n,
        features=tuple(
            replace(feature, counts=tuple(counts[start:end]), outside=_outside(feature, n_odd))
            for feature, (start, end), n_odd in zip(old.features, bounds, odd, strict=True)
        ),
        score_counts=() if old.task == "regression" else _score_counts(layout, features, outcomes),
        segments=tuple(
            SegmentCounts(name, tuple(segments[name][: layout.n_bins].tolist())) for name in sorted(segments)
        ),
    )


def _outside(feature: FeatureProfile, n_odd: int) -> int:
    return 0 if feature.span is None else n_odd


def _score_counts(layout: PaneLayout, features: Ints, outcomes: Ints) -> tuple[tuple[int, int, int, int], ...]:
    """Count (score bin, predicted class, true class); the true class is -1 where no label, or an unknown one, is in."""
    n_classes, _, n_score_bins = outcome_shape(layout.profile)
    counts: Counter[tuple[int, int, int]] = Counter()
    scored = unpack_cells(scored_cells(features[layout.width :], layout))
    for cell, n in zip(*(part.tolist() for part in scored), strict=True):
        counts[cell % layout.score_bins, cell // layout.score_bins, -1] += n
    for cell, n in zip(*(part.tolist() for part in outcome_histogram(outcomes, layout.profile)), strict=True):
        score, predicted, truth = (
            cell % n_score_bins,
            cell // n_score_bins % n_classes,
            cell // n_score_bins // n_classes,
        )
        if predicted < n_classes - 1 and truth < n_classes - 1:
            counts[score, predicted, truth] += n
            counts[score, predicted, -1] -= n
    return tuple((*cell, counts[cell]) for cell in sorted(counts) if counts[cell] > 0)


def changes(old: Profile, new: Profile) -> list[tuple[str, float]]:
    """Return the PSI of each feature from the old to the new counts, the largest first."""
    found = [
        (before.name, psi(np.array(before.counts, np.int64), np.array(after.counts, np.int64)))
        for before, after in zip(old.features, new.features, strict=True)
    ]
    return sorted(found, key=lambda change: (-change[1], change[0]))
