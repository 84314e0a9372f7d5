"""Which labels of a batch were said before, by value and by time?"""

from itertools import product

import numpy as np

from labels_join.labels import LabelsOfIds, said_before

CAME = [*product((0, 1, 2), (5, 6), (0.0, 1.0)), (0, 5, 0.0), (2, 6, 1.0), (1, 5, -0.0)]
KNOWN = [(1, 6, 1.0), (2, 5, 0.0), (1, 6, 0.5)]


def labels_of(rows: list[tuple[int, int, float]]) -> LabelsOfIds:
    row, time_ms, value = zip(*rows, strict=True) if rows else ((), (), ())
    nothing = np.zeros(len(rows))
    return LabelsOfIds(
        np.array(row, np.int64), np.array(time_ms, np.int64), np.array(value), nothing, nothing > 0, nothing.astype(int)
    )


def test_a_label_was_said_before_if_the_same_is_known_or_stands_before_it() -> None:
    for seed, known in product(range(20), ([], KNOWN)):
        came = [CAME[place] for place in np.random.default_rng(seed).permutation(len(CAME))]

        expected, said = [], set(known)
        for label in came:
            expected.append(label in said)
            said.add(label)

        assert said_before(labels_of(came), labels_of(known)).tolist() == expected


def test_of_no_labels_none_was_said_before() -> None:
    assert said_before(labels_of([]), labels_of(KNOWN)).tolist() == []
    assert said_before(labels_of([]), labels_of([])).tolist() == []
