"""How late are labels, by true class and score? Pure functions.

Labels are counted by the block of cohorts they belong to and by how long after the end of their cohort's grain they
came. From cohorts that are too young for slow labels nothing follows about these (they are right-truncated), so the
share of labels that are in by some age is a product of reverse hazards: of the labels that cohorts of at least some age
had by then, how many came last. What no cohort was old enough to show is not known: then nothing can be corrected
(`labels_join.correction`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, Mask
from driftline.events import Floats
from labels_join.maturity import CLASS_LABELS_MIN
from labels_join.outcomes import outcome_histogram, outcome_shape

AGES_A_DOUBLING = 4
BLOCKS_A_HORIZON = 32
SCORE_GROUPS = 4
"""Quarters of the reference's scores, whose labels may be late in different ways; those without a score come behind."""

GROUPED_CLASSES_MAX = 10
"""With more classes, their delays are told apart but not by score."""

GROUP_LABELS_MIN = 100
"""With fewer labels of grown-up cohorts, a group of scores has the delays of all its class."""

MATURE_SHARE = 0.95
"""A window is mature when so many of each class's labels are in."""

YOUNG = "no cohort is as old as the horizon yet: nobody can know how many labels are still to come"
SPARSE = f"fewer than {CLASS_LABELS_MIN} labels of some class have come to cohorts as old as the horizon"


def strata_of(vector: Ints, profile: Profile, positive_class: str | None) -> Ints:
    """Return int64 [predicted, true, score groups]: a merged outcome vector's pairs, as far as delays tell them apart.

    Binary tasks have a negative and a positive class, multiclass those of the profile and last the unknown, regression
    one.
    """
    if profile.task == "regression":
        return vector[:1].reshape(1, 1, 1).copy()
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = outcome_histogram(vector, profile)
    place = _places(profile, positive_class)
    n_places = int(place.max(initial=1)) + 1
    n_groups = SCORE_GROUPS + 1 if n_places <= GROUPED_CLASSES_MAX else 1
    group = score_groups(profile) if n_groups > 1 else np.zeros(n_score_bins, int)
    counts = np.zeros((n_places, n_places, n_groups), np.int64)
    predicted, true = place[cells // n_score_bins % n_classes], place[cells // (n_score_bins * n_classes)]
    np.add.at(counts, (predicted, true, group[cells % n_score_bins]), n)
    return counts


def by_score_of(vector: Ints, profile: Profile, positive_class: str | None) -> Ints:
    """Return int64 [score bins, 2]: negatives and positives of a binary task's pairs that have a score."""
    n_classes, _, n_score_bins = outcome_shape(profile)
    cells, n = outcome_histogram(vector, profile)
    counts = np.zeros((n_score_bins, 2), np.int64)
    true = _places(profile, positive_class)[cells // (n_score_bins * n_classes)]
    np.add.at(counts, (cells % n_score_bins, true), n)
    return counts[:-1]


def score_groups(profile: Profile) -> Ints:
    """Return int64 [score bins + 1]: the group of scores that each bin is in; last is what has no score."""
    n_score_bins = profile.unscored_bin + 1
    return np.arange(n_score_bins) * SCORE_GROUPS // max(n_score_bins - 1, 1)


def _places(profile: Profile, positive_class: str | None) -> Ints:
    """Return what each class of the profile, and last the unknown, counts as: of a binary task, whether positive."""
    if profile.task != "binary":
        return np.arange(len(profile.classes) + 1)
    known = [name == positive_class for name in profile.classes]
    return np.array([*known, positive_class not in profile.classes], np.int64)


@dataclass(frozen=True)
class DelaySpec:
    """Along which ages delays are counted.

    Parameters
    ----------
    grain_ms
        Length of a cohort's grain.
    horizon_ms
        After so long no label counts.
    """

    grain_ms: int
    horizon_ms: int

    @property
    def ages_ms(self) -> Ints:
        """Ages of grains, in whole grains: 0 first, then four to every doubling, the horizon last."""
        last = -(-self.horizon_ms // self.grain_ms)
        steps = np.ceil(2.0 ** (np.arange(AGES_A_DOUBLING * last.bit_length()) / AGES_A_DOUBLING)).astype(np.int64)
        inner = steps[steps < last]
        return np.unique(np.concatenate(([0], inner, [last]))) * self.grain_ms

    @property
    def block_ms(self) -> int:
        """How many grains' cohorts are counted together."""
        return max(1, self.horizon_ms // BLOCKS_A_HORIZON // self.grain_ms) * self.grain_ms

    def block_of(self, cohort_ms: int) -> int:
        """Return where the block of a cohort begins."""
        return cohort_ms // self.block_ms * self.block_ms

    def age_index(self, age_ms: int) -> int:
        """Return at which age a label is in that came with a slide, so long after the end of its grain."""
        return min(int(np.searchsorted(self.ages_ms, age_ms)), len(self.ages_ms) - 1)


@dataclass
class Delays:
    """The labels of one version by block of cohorts, age, true class and score group.

    Parameters
    ----------
    since_ms
        Cohorts before it were not watched from their beginning and are left out.
    blocks
        By start: int64 [ages, true classes, score groups].
    """

    since_ms: int
    blocks: dict[int, Ints] = field(default_factory=dict)

    def add(self, spec: DelaySpec, block_ms: int, age: int, strata: Ints) -> None:
        """Count labels, [true classes, score groups], of one block that came at one age."""
        block = self.blocks.get(block_ms)
        if block is None or block.shape[1:] != strata.shape:
            block = self.blocks[block_ms] = np.zeros((len(spec.ages_ms), *strata.shape), np.int64)
        block[age] += strata

    def forget(self, spec: DelaySpec, now_ms: int) -> list[int]:
        """Drop blocks older than two horizons, and return which."""
        old = [start for start in self.blocks if start + spec.block_ms < now_ms - 2 * spec.horizon_ms - spec.block_ms]
        for start in old:
            del self.blocks[start]
        return old


class DelayCurves(NamedTuple):
    """What is known of delays at one moment.

    Parameters
    ----------
    share
        float64 [ages, true classes, score groups]; share of labels that are in by each age.
    log_variance
        The same shape; variance of the logarithm of the share.
    has_own
        bool [true classes, score groups]; whether a group has delays of its own. The others of a class share one
        estimate, so they are off together.
    of_all
        float64 [ages]; share of labels of whatever class.
    mature_after_ms
        The age from which on `MATURE_SHARE` of each class's labels are in.
    """

    spec: DelaySpec
    share: Floats
    log_variance: Floats
    has_own: Mask
    of_all: Floats
    mature_after_ms: int

    def at(self, age_ms: int) -> tuple[Floats, Floats, float]:
        """Return shares and variances by class and score group, and the share of all, at an age between those kept."""
        ages = self.spec.ages_ms
        right = min(max(int(np.searchsorted(ages, age_ms)), 1), len(ages) - 1)
        part = min(max((age_ms - ages[right - 1]) / (ages[right] - ages[right - 1]), 0.0), 1.0)
        share, variance, of_all = (
            of[right - 1] * (1.0 - part) + of[right] * part for of in (self.share, self.log_variance, self.of_all)
        )
        return share, variance, float(of_all)


def delay_curves(spec: DelaySpec, delays: Delays, now_ms: int) -> DelayCurves | str:
    """Return how late labels are, or why that can't be known.

    Notes
    -----
    The reverse product-limit estimator for right-truncated delays, by age: F(a) is the product over the ages b > a of
    1 - N(b) / R(b), with N(b) the labels that came at b to cohorts that are at least b old, and R(b) those that came to
    the same cohorts by b. Its logarithm has the variance sum N / (R (R - N)). A class with too few labels is taken to
    be as late as all, a score group as late as its class.

    References
    ----------
    .. [1] S. W. Lagakos, L. M. Barraj and V. De Gruttola, "Nonparametric analysis of truncated survival data, with
       application to AIDS", Biometrika 75, 1988.
    """
    starts = sorted(start for start in delays.blocks if start >= delays.since_ms)
    ages = spec.ages_ms
    grown = [start for start in starts if now_ms >= start + spec.block_ms + ages[-1]]
    if not grown:
        return YOUNG
    counts = np.stack([delays.blocks[start] for start in starts])
    old_enough = np.array(starts)[:, None] + spec.block_ms + ages <= now_ms
    came = np.maximum((counts * old_enough[:, :, None, None]).sum(axis=0), 0)
    by_then = np.maximum((np.cumsum(counts, axis=1) * old_enough[:, :, None, None]).sum(axis=0), 0)
    matured = by_then[-1].sum(axis=1)
    present = matured > 0
    if (matured[present] < CLASS_LABELS_MIN).any() or present.sum() < min(2, len(matured)):
        return SPARSE
    of_all, all_variance = _product(came.sum(axis=(1, 2)), by_then.sum(axis=(1, 2)))
    of_class, class_variance = _product(came.sum(axis=2), by_then.sum(axis=2))
    share, variance = _product(came, by_then)
    known = by_then[-1] >= GROUP_LABELS_MIN
    of_class[:, ~present], class_variance[:, ~present] = of_all[:, None], all_variance[:, None]
    share = np.where(known, share, of_class[:, :, None])
    variance = np.where(known, variance, class_variance[:, :, None])
    ripe = np.flatnonzero((of_class[:, present] >= MATURE_SHARE).all(axis=1))
    return DelayCurves(spec, share, variance, known, of_all, int(ages[ripe[0]]))


def _product(came: Ints, by_then: Ints) -> tuple[Floats, Floats]:
    """Return the share that is in by each age, and the variance of its logarithm; ages are the first axis."""
    left = np.where(by_then > 0, 1.0 - came / np.maximum(by_then, 1), 1.0)
    left[0] = 1.0
    spread = np.where(left > 0, came / np.maximum(by_then * left, 1.0) / np.maximum(by_then, 1), 0.0)
    spread[0] = 0.0
    after = np.cumprod(left[::-1], axis=0)[::-1]
    variance = np.cumsum(spread[::-1], axis=0)[::-1]
    ends = np.ones((1, *came.shape[1:]))
    return np.concatenate((after[1:], ends)), np.concatenate((variance[1:], ends * 0.0))
