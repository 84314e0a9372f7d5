"""What do a model's scores mean? The reference says how the truth was shared out behind each predicted class and score.

Score bins of few labelled rows are put together with their neighbours, and groups that are out of order by no more than
chance: so that each share is of enough rows, and a higher score never says less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints
from driftline.events import Floats

ROWS_A_GROUP_MIN = 20
"""Neighbouring score bins are one group of the calibration until it has so many labelled rows of the reference."""

CHANCE_ERRORS = 3.0
"""Two groups whose shares are in the wrong order by more standard errors are not so by chance."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How the truth was shared out in the reference, by predicted class and score.

    Parameters
    ----------
    classes
        What predicted and true classes are told apart: those of the profile, or `negative` and `positive`.
    class_of
        int64 [classes of the profile]; which of `classes` each is.
    group
        int64 [predicted, score bins]; the group of rows that a prediction is compared with.
    shares
        float64 [groups, true]; the share of each true class.
    n
        float64 [groups]; labelled rows of the reference that a group's shares rest on.
    predicted
        float64 [predicted]; labelled rows of the reference by predicted class.
    """

    classes: tuple[str, ...]
    class_of: Ints
    group: Ints
    shares: Floats
    n: Floats
    predicted: Floats
    by_score: Calibration | None = None
    """Of a binary task, what the score alone says: `group` has one row, whatever is predicted."""


def why_not_estimated(profile: Profile) -> str | None:
    """Return why performance can't be estimated under a reference, or None where it can.

    Examples
    --------
    >>> why_not_estimated(Profile("regression", (), 0, (), (), (), 1.0, None))
    'only classes have a probability to be right'
    """
    if profile.task == "regression":
        return "only classes have a probability to be right"
    if all(score_bin == profile.unscored_bin for score_bin, *_ in profile.score_counts):
        return "the reference has no scores"
    if all(true < 0 for _, _, true, _ in profile.score_counts):
        return "the reference has no labels"
    return None


@lru_cache(maxsize=256)
def calibration_of(profile: Profile, positive_class: str | None) -> Calibration | None:
    """Return what the reference says of the truth behind a score, or None where it says nothing.

    Parameters
    ----------
    positive_class
        For binary tasks, its canonical text; whatever is another class is negative.

    Notes
    -----
    Within each predicted class, neighbouring score bins are put together until each group has `ROWS_A_GROUP_MIN`
    labelled rows: sums over a window then are as unbiased as with finer groups. Then groups are put together that are
    in the wrong order by chance, which takes most of the noise of the reference's labels out. Predictions without a
    score, and those of a class that the reference never predicted, are compared with all rows of their class, or of
    all classes.

    References
    ----------
    .. [1] M. Ayer et al., "An empirical distribution function for sampling with incomplete information", Annals of
       Mathematical Statistics 26, 1955: pooling of adjacent violators.
    """
    if why_not_estimated(profile) is not None:
        return None
    classes, class_of = profile.classes, np.arange(len(profile.classes))
    task_is_binary = profile.task == "binary"
    if task_is_binary:
        classes = ("negative", "positive")
        class_of = np.array([int(name == positive_class) for name in profile.classes], np.int64)
    score_bin, predicted, true, count = np.array(profile.score_counts, np.int64).reshape(-1, 4).T
    labelled = true >= 0
    counts = np.zeros((len(classes), profile.unscored_bin + 1, len(classes)), np.int64)
    at = class_of[predicted[labelled]], score_bin[labelled], class_of[true[labelled]]
    np.add.at(counts, at, count[labelled])
    if not task_is_binary:
        return _calibrated(classes, class_of, counts, range(len(classes)))
    by_score = _calibrated(classes, class_of, counts.sum(axis=0, keepdims=True), (1,))
    return replace(_calibrated(classes, class_of, counts, (1, 1)), by_score=by_score)


def _calibrated(classes: tuple[str, ...], class_of: Ints, counts: Ints, rising: Iterable[int]) -> Calibration:
    """Put score bins together, of each predicted class, or of all as one.

    Parameters
    ----------
    counts
        int64 [predicted, score bins, true]; labelled rows of the reference.
    rising
        Of each predicted class the true class that the score is of: of a binary task the positive one, else itself.
    """
    group = np.zeros(counts.shape[:2], np.int64)
    pooled: list[Floats] = []
    for place, (of, true) in enumerate(zip(counts, rising, strict=True)):
        whole = of.sum(axis=0) if of.any() else counts.sum(axis=(0, 1)) / counts.sum()
        scored = _in_order(_groups(of[:-1].sum(axis=1)), of[:-1], true)
        rows = np.zeros((int(scored.max()) + 1, len(classes)))
        np.add.at(rows, scored, of[:-1])
        rows = np.vstack([rows if of[:-1].any() else whole[None, :], of[-1] if of[-1].any() else whole])
        group[place] = sum(map(len, pooled)) + np.append(scored, len(rows) - 1)
        pooled.append(rows)
    of_group = np.vstack(pooled)
    n = of_group.sum(axis=1)
    return Calibration(classes, class_of, group, of_group / n[:, None], n, counts.sum(axis=(1, 2)).astype(np.float64))


def _groups(rows: Ints) -> Ints:
    """Return int64 [bins]: neighbouring bins in groups of nearly the same number of rows, as many as there may be."""
    n = int(rows.sum())
    n_groups = max(1, n // ROWS_A_GROUP_MIN)
    middle = np.cumsum(rows) - rows / 2.0
    wanted = np.minimum(middle * n_groups / max(n, 1), n_groups - 1).astype(np.int64)
    # A bin of many rows leaves groups out; those that no row is in must not be there.
    occupied = np.unique(wanted[rows > 0])
    return np.clip(np.searchsorted(occupied, wanted, side="right") - 1, 0, None)


def _in_order(group: Ints, of: Ints, rising: int) -> Ints:
    """Put neighbouring groups together until the share of a class rises with the score.

    Parameters
    ----------
    group
        int64 [bins]; each bin's group.
    of
        int64 [bins, true]; labelled rows.
    rising
        The true class whose share should rise.

    Returns
    -------
    int64 [bins]; groups in the wrong order by more than chance explains stay apart: there the score means something
    else, and is taken at its word.
    """
    rows, hits = (np.bincount(group, weights=rows) for rows in (of.sum(axis=1), of[:, rising]))
    blocks: list[_Block] = []
    for n, n_hits in zip(rows.tolist(), hits.tolist(), strict=True):
        block = _Block(n, n_hits, 1)
        while blocks and _are_out_of_order_by_chance(blocks[-1], block):
            lower = blocks.pop()
            block = _Block(lower.rows + block.rows, lower.hits + block.hits, lower.groups + block.groups)
        blocks.append(block)
    ordered: Ints = np.repeat(np.arange(len(blocks)), [block.groups for block in blocks])
    return ordered[group]


class _Block(NamedTuple):
    """Neighbouring groups: their rows, those of them that are of the rising class, and how many groups they are."""

    rows: float
    hits: float
    groups: int


def _are_out_of_order_by_chance(lower: _Block, higher: _Block) -> bool:
    excess = lower.hits * higher.rows - higher.hits * lower.rows
    rows = lower.rows + higher.rows
    hits = lower.hits + higher.hits
    chance = hits * (rows - hits) * lower.rows * higher.rows / max(rows, 1.0)
    return excess >= 0.0 and excess * excess <= CHANCE_ERRORS * CHANCE_ERRORS * chance
