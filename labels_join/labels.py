"""Which of several labels of one id holds, and what do its pairs count for? Pure functions.

Nearly every id has one label; those are never looked at one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from driftline.events import NO_TIME, Bytes, Floats, Ints, Mask


@dataclass(frozen=True, slots=True)
class KeyedLabels:
    """Labels as the store keeps them; all columns of one length.

    Parameters
    ----------
    predicted_ms
        int64; when the prediction was made, or `NO_TIME` where the label does not tell.
    """

    key: Bytes
    time_ms: Ints
    label: Floats
    reward: Floats
    late: Mask
    predicted_ms: Ints

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Mask | Ints) -> KeyedLabels:
        """Keep some rows, or arrange them."""
        return KeyedLabels(
            self.key[rows],
            self.time_ms[rows],
            self.label[rows],
            self.reward[rows],
            self.late[rows],
            self.predicted_ms[rows],
        )


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a prediction id.

    Parameters
    ----------
    late
        Kept from sequential detectors: it came late, or it corrects another one.
    text
        Canonical text of the value, by which two labels of one moment are told apart.
    reward
        NaN where there is none.
    predicted_ms
        When the prediction was made, or `NO_TIME` if the label does not tell.
    """

    time_ms: int
    value: float
    late: bool
    text: str
    reward: float = field(default=math.nan, compare=False)
    predicted_ms: int = NO_TIME

    @property
    def rank(self) -> tuple[int, str]:
        """The greatest one holds, in whatever order labels come."""
        return self.time_ms, self.text


Counted = tuple[Label, int]
"""A label and what its pairs count for: 1, or -1 where they are taken back."""


def counted_labels(labels: Sequence[Label]) -> list[Counted]:
    """Return how all labels of one key count, at least one: the greatest holds.

    Sequential detectors see each prediction once, with the label that came first; corrections reach windows only.

    Examples
    --------
    >>> first, correction = Label(5, 1.0, False, "1"), Label(7, 0.0, True, "0")
    >>> [(label.text, label.late, weight) for label, weight in counted_labels([first, correction])]
    [('1', False, 1), ('1', True, -1), ('0', True, 1)]
    """
    holding = max(labels, key=lambda label: label.rank)
    in_time = next((label for label in labels if not label.late), holding)
    return [(in_time, 1)] if in_time == holding else [(in_time, 1), *correction(in_time, holding)]


def correction(before: Label, after: Label) -> list[Counted]:
    """Return how a label counts that takes the place of another one."""
    return [(replace(before, late=True), -1), (replace(after, late=True), 1)]


def what_changes(known: Sequence[Label], came: Sequence[Label]) -> tuple[list[Counted], int]:
    """Return how labels of one key count that come when others are known, and how many of them change nothing.

    Examples
    --------
    >>> known, repeat = [Label(5, 1.0, False, "1")], Label(5, 1.0, True, "1")
    >>> what_changes(known, [repeat])
    ([], 1)
    """
    holding = before = max(known, key=lambda label: label.rank, default=None)
    repeats = 0
    for label in came:
        if holding is None or label.rank > holding.rank:
            holding = label
        else:
            repeats += 1
    if before is None:
        return counted_labels(came), repeats
    return correction(before, holding) if holding is not None and holding != before else [], repeats


@dataclass(frozen=True, slots=True)
class LabelsOfIds:
    """Labels of some ids; all columns of one length.

    Parameters
    ----------
    row
        int64; which id each is of, rising.
    """

    row: Ints
    time_ms: Ints
    label: Floats
    reward: Floats
    late: Mask
    predicted_ms: Ints

    def take(self, rows: Mask | Ints) -> LabelsOfIds:
        """Keep some rows, or arrange them."""
        return LabelsOfIds(
            self.row[rows],
            self.time_ms[rows],
            self.label[rows],
            self.reward[rows],
            self.late[rows],
            self.predicted_ms[rows],
        )

    def one_by_one(self, class_names: Sequence[str] | None) -> list[Label]:
        """Return them as single labels."""
        texts = texts_of(self.label, class_names)
        columns = (column.tolist() for column in (self.time_ms, self.label, self.late))
        return list(map(Label, *columns, texts, self.reward.tolist(), self.predicted_ms.tolist()))


def count_stored(known: LabelsOfIds, class_names: Sequence[str] | None) -> tuple[LabelsOfIds, Ints]:
    """Return how labels count for predictions that come after them: the labels, and what each counts for."""
    ids, first, n = np.unique(known.row, return_index=True, return_counts=True)
    several = zip(ids[n > 1].tolist(), first[n > 1].tolist(), n[n > 1].tolist(), strict=True)
    counted = [
        (row, *of)
        for row, start, length in several
        for of in counted_labels(known.take(np.arange(start, start + length)).one_by_one(class_names))
    ]
    return _together(known.take(first[n == 1]), counted)


def count_new(
    labels: LabelsOfIds, known: LabelsOfIds, class_names: Sequence[str] | None
) -> tuple[LabelsOfIds, Ints, int]:
    """Return how labels count that come when others are known: which, what for, and how many change nothing."""
    ids, first, n = np.unique(labels.row, return_index=True, return_counts=True)
    alone = (n == 1) & ~np.isin(ids, known.row)
    counted, repeats = [], 0
    for row, start, length in zip(ids[~alone].tolist(), first[~alone].tolist(), n[~alone].tolist(), strict=True):
        came = labels.take(np.arange(start, start + length)).one_by_one(class_names)
        before = known.take(np.arange(*np.searchsorted(known.row, (row, row + 1)))).one_by_one(class_names)
        changes, n_repeats = what_changes(before, came)
        repeats += n_repeats
        counted += [(row, *of) for of in changes]
    return *_together(labels.take(first[alone]), counted), repeats


def said_before(labels: LabelsOfIds, known: LabelsOfIds) -> Mask:
    """Return bool [rows]: labels whose id has the same value of the same time already, among known ones or before them.

    Examples
    --------
    >>> def of_one_id(*time_ms):
    ...     no = np.zeros(len(time_ms), np.int64)
    ...     return LabelsOfIds(no, np.array(time_ms), no, no, no > 0, no)
    >>> said_before(of_one_id(5, 7, 8, 7), of_one_id(5)).tolist()
    [True, False, False, True]
    """
    row, time_ms, value = (
        np.append(before, came)
        for before, came in (
            (known.row, labels.row),
            (known.time_ms, labels.time_ms),
            (known.label, labels.label),
        )
    )
    order = np.lexsort((value, time_ms, row))
    same = np.zeros(len(order), np.bool_)
    same[order[1:]] = np.all([of[order[1:]] == of[order[:-1]] for of in (row, time_ms, value)], axis=0)
    return same[len(known.row) :]


def _together(alone: LabelsOfIds, counted: Sequence[tuple[int, Label, int]]) -> tuple[LabelsOfIds, Ints]:
    """Put labels that count once among those that were looked at one by one."""
    labels = [label for _, label, _ in counted]
    both = LabelsOfIds(
        np.append(alone.row, np.array([row for row, _, _ in counted], np.int64)),
        np.append(alone.time_ms, np.array([label.time_ms for label in labels], np.int64)),
        np.append(alone.label, np.array([label.value for label in labels], np.float64)),
        np.append(alone.reward, np.array([label.reward for label in labels], np.float64)),
        np.append(alone.late, np.array([label.late for label in labels], np.bool_)),
        np.append(alone.predicted_ms, np.array([label.predicted_ms for label in labels], np.int64)),
    )
    weight = np.append(np.ones(len(alone.row), np.int64), np.array([weight for _, _, weight in counted], np.int64))
    order = np.argsort(both.row, kind="stable")
    return both.take(order), weight[order]


def near(predicted_ms: Ints, time_ms: Ints, window_ms: int) -> Mask:
    """Return bool [rows]: labels that may belong to a prediction of a time, because they tell none or about that one.

    Examples
    --------
    >>> near(np.array([NO_TIME, 100, 100]), np.array([5, 90, 89]), 10).tolist()
    [True, True, False]
    """
    told = np.where(predicted_ms == NO_TIME, time_ms, predicted_ms)
    return np.abs(told - time_ms) <= window_ms


def texts_of(values: Floats, class_names: Sequence[str] | None) -> list[str]:
    """Return the canonical texts of label values: the class name, or the number itself.

    Parameters
    ----------
    class_names
        What class codes stand for; None for regression.
    """
    if class_names is None:
        return [repr(float(value)) for value in values]
    return [class_names[int(value)] for value in values]
