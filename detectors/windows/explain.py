"""Why is a window's feature called drifted: which bins moved, and does it look like a broken pipeline?

A pipeline breaks at once: values go missing, arrive as something never seen, in another unit, or stand still. A world
that changes hardly does that, and retraining on what a broken pipeline delivers makes things worse.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from detectors.reference.profile import STEPS_PER_SCALE, FeatureProfile, IntArray
from detectors.windows.distances import SMOOTHING

Break = Literal["missing", "unseen", "unit", "constant"]
"""Values that are missing; that were never seen or are of a wrong type; in another unit; all the same."""

BINS_TOLD_MAX = 3
BREAK_SHARE = 0.5
"""A bin makes a break if it alone makes up at least this part of the score."""

ALL_BUT_ALL_SHARE = 0.9
"""It does, too, if it has risen to this share: what all other bins lost then makes up most of the score."""

OUTSIDE_SHARE = 0.9
OUTSIDE_REFERENCE_MAX = 0.5
FAR_SCALES = 5.0
"""Values are typically so many of the reference's scales from its centre, or beyond: of its own, next to none are."""

STILL_SCALES = 0.01


class MovedBin(NamedTuple):
    """A bin, its share in the reference and in the window, and its part of the population stability index."""

    bin: int
    reference_share: float
    current_share: float
    contribution: float


def moved_bins(reference: IntArray, current: IntArray) -> list[MovedBin]:
    """Return all bins of a feature, those that moved most first; their contributions add up to its PSI.

    Examples
    --------
    >>> [moved.bin for moved in moved_bins(np.array([50, 30, 20]), np.array([52, 8, 40]))]
    [1, 2, 0]
    """
    k = reference.size
    n, m = int(reference.sum()), int(current.sum())
    p, q = ((counts + SMOOTHING) / (total + SMOOTHING * k) for counts, total in ((reference, n), (current, m)))
    contributions = (q - p) * np.log(q / p)
    shares = reference / max(n, 1), current / max(m, 1)
    order = np.argsort(-contributions, kind="stable").tolist()
    return [MovedBin(at, float(shares[0][at]), float(shares[1][at]), float(contributions[at])) for at in order]


def pipeline_break(
    feature: FeatureProfile, reference: IntArray, current: IntArray, total: int = 0, squares: int = 0
) -> Break | None:
    """Say which kind of broken pipeline a drifted feature looks like, or None.

    Parameters
    ----------
    reference, current
        Counts by bin.
    total, squares
        Numeric features: sum of the window's standardised steps, and of their squares.

    Examples
    --------
    >>> age = FeatureProfile("age", "numeric", (40.0,), (), 40.0, 10.0, (50, 50, 0, 0))
    >>> pipeline_break(age, np.array(age.counts), np.array([2, 3, 95, 0]))
    'missing'
    """
    moved = moved_bins(reference, current)
    score = sum(of.contribution for of in moved)
    risen = {
        of.bin
        for of in moved
        if of.current_share > of.reference_share
        and (of.contribution >= BREAK_SHARE * score or of.current_share >= ALL_BUT_ALL_SHARE)
    }
    if feature.missing_index in risen:
        return "missing"
    if feature.other_index in risen:
        return "unseen"
    values = current[:-2]
    n = int(values.sum())
    if not n or np.count_nonzero(reference[:-2]) < 2:
        return None
    if feature.kind == "categorical":
        stands_still = np.count_nonzero(values) == 1 and reference[:-2].max() < OUTSIDE_SHARE * reference[:-2].sum()
        return "constant" if stands_still else None
    mean, square = total / n / STEPS_PER_SCALE, squares / n / STEPS_PER_SCALE**2
    outside, outside_before = (
        (counts[0] + counts[len(feature.edges)]) / counts[:-2].sum() for counts in (current, reference)
    )
    if outside >= OUTSIDE_SHARE and outside_before < OUTSIDE_REFERENCE_MAX and square >= FAR_SCALES**2:
        return "unit"
    if n * squares == total * total:
        return "constant"
    return "unit" if square - mean * mean < STILL_SCALES**2 else None
