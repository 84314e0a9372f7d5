"""How good is a model whose labels are not in yet? Its scores say, if they mean what they meant in the reference.

Confidence-based estimation: the reference says how the truth was shared out behind each predicted class and score; the
scores of a window say how often each occurs now. What is expected of the window follows, with two kinds of noise: that
of the reference's labels, and that of the window's own, which are still to be drawn. It holds as long as the relation
of score and truth does: a change of the inputs shows, a change of the relation does not, only labels tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from detectors.metrics import (
    DENOMINATORS,
    WEIGHTED,
    Estimate,
    area_slopes,
    class_weights,
    rows_as_unsure,
    undefined,
    wilson,
)
from detectors.reference.profile import Profile
from detectors.reference.summaries import Ints, unpack_cells
from driftline.events import Floats
from labels_join.calibration import Calibration, calibration_of


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
        worth = rows_as_unsure(value, of_window + of_reference, self.size)
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
        elif (mean := _mean_of_classes(expected, name)) is not None:
            found[name] = mean
    return found


def _mean_of_classes(expected: Expected, name: str) -> Estimate | None:
    confusion = expected.confusion
    predicted, true = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = (predicted > 0) | (true >= 0.5)  # of what is expected, the nearest whole row
    averaged = class_weights(name, expected.calibration.classes, true, seen)
    if averaged is None:
        return None
    kind, weighs = averaged
    of_predicted, of_true = DENOMINATORS[kind]
    below = of_predicted * predicted + of_true * true
    if not (below[weighs > 0] > 0).any():
        return undefined("nothing is expected to be of the class", expected.size)
    safe = np.where(below > 0, below, 1.0)
    values = np.diagonal(confusion) / safe
    # Column t holds how class t's metric moves with one more row that truly is of t; what is predicted is known.
    slopes = (np.eye(len(values)) - of_true * values) / safe
    by_class = slopes * weighs
    if name.startswith(WEIGHTED):
        by_class = by_class + (values - values @ weighs) / true.sum()
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
    area = area_slopes(by_bin)
    gradient = np.where(n[:, None] > 0, area.slopes[expected.score_bin], 0.0)
    return expected.estimate(area.value, gradient)
