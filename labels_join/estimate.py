"""How good is a model whose labels are not in yet? Its scores say, if they mean what they meant in the reference.

Confidence-based estimation: the reference says how the truth was shared out behind each predicted class and score; the
scores of a window say how often each occurs now. What is expected of the window follows, with two kinds of noise: that
of the reference's labels, and that of the window's own, which are still to be drawn. It holds as long as the relation
of score and truth does: a change of the inputs shows, a change of the relation does not, only labels tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from detectors.metrics import Estimate, undefined, wilson
from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, unpack_cells
from driftline.events import Floats

ROWS_A_GROUP_MIN = 20
"""Neighbouring score bins are one group of the calibration until it has so many labelled rows of the reference."""

CHANCE_ERRORS = 3.0
"""Two groups whose shares are in the wrong order by more standard errors are not so by chance."""

VARIANCE_MIN = 1e-15
"""Nothing is surer than this, where rounding leaves no variance at all."""


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


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of a window before any label.

    Parameters
    ----------
    predicted, score_bin, group
        int64 [cells]; of each cell of the window, the predicted class, the score bin and the calibration group.
    n
        float64 [cells]; predictions.
    confusion
        float64 [predicted, true]; expected counts.
    """

    calibration: Calibration
    predicted: Ints
    score_bin: Ints
    group: Ints
    n: Floats
    confusion: Floats

    @property
    def size(self) -> int:
        """How many predictions there are."""
        return int(self.n.sum())

    def estimate(self, value: float, gradient: Floats) -> Estimate:
        """Return a share with its 95 % interval for what labels will make of it.

        Parameters
        ----------
        gradient
            float64 [cells, true]; how the value moves with one more row of a true class in a cell.
        """
        calibration, of = self.calibration, self.group
        k = len(calibration.classes)
        # Shares of 0 and 1 are not certain: a row is added before their spread is taken.
        shares = (calibration.shares * calibration.n[:, None] + 1.0 / k) / (calibration.n[:, None] + 1.0)
        of_window = float((self.n * _spread(shares[of], gradient)).sum())
        pull = np.zeros_like(shares)
        np.add.at(pull, of, self.n[:, None] * gradient)
        of_reference = float((_spread(shares, pull) / calibration.n).sum())
        # Wilson's interval of as many rows as would be as unsure: it stays within 0 and 1.
        nearly = min(max(value, 0.5 / (self.size + 1)), 1.0 - 0.5 / (self.size + 1))
        worth = nearly * (1.0 - nearly) / max(of_window + of_reference, VARIANCE_MIN)
        return Estimate(value, *wilson(value * worth, worth), self.size)


def _spread(shares: Floats, weights: Floats) -> Floats:
    """Return the variance of the weight of one row's true class."""
    mean: Floats = (shares * weights).sum(axis=1)
    spread: Floats = np.maximum((shares * weights * weights).sum(axis=1) - mean * mean, 0.0)
    return spread


def expected_of(cells: Ints, profile: Profile, positive_class: str | None) -> Expected | None:
    """Return what is expected of a window, or None where the reference says nothing or the window is empty.

    Parameters
    ----------
    cells
        Packed cells of the window's histogram of predicted class x score bin, see `streams.panes`.
    """
    calibration = calibration_of(profile, positive_class)
    if calibration is None or not len(cells):
        return None
    cell, n = unpack_cells(cells)
    n_bins = profile.unscored_bin + 1
    predicted, score_bin = calibration.class_of[cell // n_bins], cell % n_bins
    group = calibration.group[predicted, score_bin]
    confusion = np.zeros((len(calibration.classes), len(calibration.classes)))
    np.add.at(confusion, predicted, n[:, None] * _shared_out(calibration, predicted, group, n))
    return Expected(calibration, predicted, score_bin, group, n.astype(np.float64), confusion)


def _shared_out(calibration: Calibration, predicted: Ints, group: Ints, n: Ints) -> Floats:
    """Return float64 [cells, true]: the shares of the true classes behind the predictions of each cell.

    The score says how often an answer is right; of several classes it does not say which one is, where it is wrong.
    A class that is predicted more often than in the reference is more often the truth behind other answers as well,
    though less so, as an answer goes to the likeliest class: in proportion to the root. Right answers keep their share.
    """
    shares = calibration.shares[group]
    k = len(calibration.classes)
    if k < 3:  # whatever is not right is the other class
        return shares
    now = np.bincount(predicted, weights=n, minlength=k)
    usual = calibration.predicted
    more_often = (now + 0.5) / (now.sum() + 0.5 * k) * (usual.sum() + 0.5 * k) / (usual + 0.5)
    own = np.arange(len(shares)), predicted
    weights = shares * np.sqrt(more_often)
    weights[own] = 0.0
    wrong, weight = 1.0 - shares[own], weights.sum(axis=1)
    shared: Floats = weights * np.divide(wrong, weight, out=np.zeros_like(wrong), where=weight > 0)[:, None]
    shared[own] = shares[own]
    return shared


def estimated_metrics(
    cells: Ints, profile: Profile, positive_class: str | None, wanted: Iterable[str]
) -> dict[str, Estimate]:
    """Estimate the metrics of a window from its scores.

    Parameters
    ----------
    cells
        Packed cells of the window's histogram of predicted class x score bin, see `streams.panes`.
    positive_class
        For binary tasks, its canonical text.
    wanted
        Names of metrics.

    Returns
    -------
    Those of them that can be estimated: accuracy; for binary tasks precision, recall, specificity, f1 and roc_auc; for
    multiclass precision, recall and f1, as mean (`macro_`), by the share of each true class (`weighted_`) or of one
    class (`recall.CLASS`). None values where nothing of the kind is expected.

    Notes
    -----
    The intervals are for what labels will make of the metric: they hold the noise of the reference's labels and that
    of the window's own, by the delta method over each group's multinomial shares.

    References
    ----------
    .. [1] J. Białek et al., "Estimating model performance under covariate shift without labels", 2024 (the idea).
    """
    expected = expected_of(cells, profile, positive_class)
    if expected is None:
        return {}
    found = {}
    for name in wanted:
        if name == "roc_auc":
            if (by_score := expected.calibration.by_score) is not None:
                found[name] = _area(expected, by_score)
        elif name == "accuracy":
            found[name] = _accuracy(expected)
        elif (averaged := _averaged(name, expected)) is not None:
            found[name] = _mean_of_classes(expected, *averaged)
    return found


_OF_BINARY = {"precision": ("precision", 1), "recall": ("recall", 1), "specificity": ("recall", 0), "f1": ("f1", 1)}
_DENOMINATOR_MOVES = {"precision": 0.0, "recall": 1.0, "f1": 0.5}
"""How far a class's denominator moves with one more row that truly is of it; what is predicted is known."""


def _averaged(name: str, expected: Expected) -> tuple[str, Floats | None] | None:
    """Return of which kind of class metric a metric is the mean, and how classes weigh; None for their true shares."""
    classes, confusion = expected.calibration.classes, expected.confusion
    if name in _OF_BINARY:
        kind, place = _OF_BINARY[name]
        return kind, np.eye(len(classes))[place]
    kind, _, of_class = name.partition(".")
    if of_class:
        return (kind, np.eye(len(classes))[classes.index(of_class)]) if of_class in classes else None
    how, _, kind = name.partition("_")
    if kind not in _DENOMINATOR_MOVES:
        return None
    if how == "weighted":
        return kind, None
    seen = (confusion.sum(axis=1) > 0) | (confusion.sum(axis=0) >= 0.5)
    return kind, seen / seen.sum()


def _mean_of_classes(expected: Expected, kind: str, weights: Floats | None) -> Estimate:
    confusion = expected.confusion
    predicted, true = confusion.sum(axis=1), confusion.sum(axis=0)
    below = {"precision": predicted, "recall": true, "f1": (predicted + true) / 2.0}[kind]
    share_of_class = true / true.sum()
    weighs = share_of_class if weights is None else weights
    if not (below[weighs > 0] > 0).any():
        return undefined("nothing is expected to be of the class", expected.size)
    safe = np.where(below > 0, below, 1.0)
    values = np.diagonal(confusion) / safe
    # Column t holds how class t's metric moves with one more row that truly is of t, by predicted class.
    slopes = (np.eye(len(values)) - _DENOMINATOR_MOVES[kind] * values) / safe
    by_class = slopes * weighs
    if weights is None:
        by_class = by_class + (values - values @ share_of_class) / true.sum()
    return expected.estimate(float(values @ weighs), by_class[expected.predicted])


def _accuracy(expected: Expected) -> Estimate:
    by_class = np.eye(len(expected.confusion)) / expected.size
    return expected.estimate(float(np.trace(expected.confusion)) / expected.size, by_class[expected.predicted])


def _area(expected: Expected, by_score: Calibration) -> Estimate:
    """Estimate the area under the ROC curve: rows of one score bin are tied, those without a score are left out.

    It asks what a score says, not what was made of it: pooled over predicted classes, shares near the limit are surer.
    """
    expected = replace(expected, calibration=by_score, group=by_score.group[0, expected.score_bin])
    shares = by_score.shares[expected.group]
    n = np.where(expected.score_bin < expected.calibration.group.shape[1] - 1, expected.n, 0.0)
    by_bin = np.zeros((expected.calibration.group.shape[1], 2))
    np.add.at(by_bin, expected.score_bin, n[:, None] * shares)
    negatives, positives = by_bin.sum(axis=0)
    if min(negatives, positives) < 1.0:  # labels would most likely leave it undefined
        return undefined("all labels are expected to be of one side", expected.size)
    below = np.cumsum(by_bin[:, 0]) - by_bin[:, 0] / 2.0
    above = positives - np.cumsum(by_bin[:, 1]) + by_bin[:, 1] / 2.0
    area = float((below * by_bin[:, 1]).sum()) / (negatives * positives)
    slopes = np.stack([above / positives - area, below / negatives - area], axis=1) / (negatives, positives)
    gradient = np.where(n[:, None] > 0, slopes[expected.score_bin], 0.0)
    return expected.estimate(area, gradient)
