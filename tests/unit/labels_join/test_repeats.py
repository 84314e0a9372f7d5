"""Which of several events that say the same counts? A slow loop over the log says so."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from labels_join.labels import (
    Label,
    LabelsOfIds,
    correction,
    count_new,
    count_stored,
    counted_labels,
    texts_of,
    what_changes,
)
from labels_join.repeats import comes_after, first_in_batch, key_order, repeated_in_batch, same_keys


def keys(numbers: list[int]) -> np.ndarray:
    return np.array([[0] * 7 + [number % 256] + [number // 256] * 8 for number in numbers], np.uint8).reshape(-1, 16)


def test_rows_of_the_same_key_are_found_however_often_it_comes_on_either_side() -> None:
    chance = np.random.default_rng(2)
    for n, n_others in ((0, 5), (5, 0), (40, 60), (60, 40)):
        # Bytes 0 and 255 at every place, so that nothing that is cut, padded or signed would do.
        made, others = (chance.choice([0, 255], (of, 16)).astype(np.uint8) for of in (n, n_others))
        made[:, 2:14], others[:, 2:14] = 0, 0
        row, other = same_keys(made, others)
        pairs = list(zip(row.tolist(), other.tolist(), strict=True))
        expected = {(i, j) for i in range(n) for j in range(n_others) if made[i].tobytes() == others[j].tobytes()}
        assert len(pairs) == len(expected)
        assert set(pairs) == expected
        assert bool(expected) == bool(n and n_others)


def test_keys_are_ordered_as_bytes_and_equal_ones_as_they_came() -> None:
    chance = np.random.default_rng(1)
    made = chance.integers(0, 2, (200, 16)).astype(np.uint8) * 255
    made[:, 2:14] = 7
    order = key_order(made).tolist()
    assert order == sorted(range(200), key=lambda row: (made[row].tobytes(), row))
    assert first_in_batch(made).tolist() == [made[row].tobytes() not in map(bytes, made[:row]) for row in range(200)]


@pytest.mark.parametrize("seed", range(10))
def test_a_prediction_repeats_one_that_counts_at_about_the_same_time(seed: int) -> None:
    chance = np.random.default_rng(seed)
    n, window_ms = 80, 10
    name, version, variant = chance.integers(0, 4, n), chance.integers(0, 2, n), chance.integers(0, 2, n)
    time_ms = chance.integers(0, 60, n)
    kept: list[int] = []
    expected = []
    for row in range(n):
        same = [
            other
            for other in kept
            if (name[other], version[other], variant[other]) == (name[row], version[row], variant[row])
        ]
        expected.append(any(abs(time_ms[other] - time_ms[row]) <= window_ms for other in same))
        if not expected[-1]:
            kept.append(row)

    found = repeated_in_batch(keys(name.tolist()), version, variant, time_ms, window_ms)
    assert found.tolist() == expected


def test_what_comes_after_stands_behind_the_first_of_its_key() -> None:
    one, other = keys([1, 2, 1, 3]), keys([1, 1, 2])
    order, other_order = np.array([0, 3, 5, 9]), np.array([2, 4, 7])
    assert comes_after(one, order, other, other_order).tolist() == [False, False, True, False]
    assert comes_after(one, order, keys([]), np.empty(0, np.int64)).tolist() == [False] * 4
    assert comes_after(keys([]), np.empty(0, np.int64), other, other_order).tolist() == []


FIRST = Label(5, 1.0, late=False, text="1")
CORRECTION = Label(7, 0.0, late=True, text="0")
OLDER = Label(3, 2.0, late=True, text="2")


def net(counted: list[tuple[Label, int]], late: tuple[bool, ...] = (False, True)) -> dict[tuple[int, str], int]:
    """What labels count for, by (time, value), without those that come to nothing."""
    total: dict[tuple[int, str], int] = {}
    for label, weight in counted:
        if label.late in late:
            total[label.rank] = total.get(label.rank, 0) + weight
    return {rank: weight for rank, weight in total.items() if weight}


def test_the_greatest_label_holds_and_detectors_see_the_first() -> None:
    for labels in permutations([FIRST, CORRECTION, OLDER]):
        counted = counted_labels(labels)
        assert net(counted) == {CORRECTION.rank: 1}
        assert net(counted, late=(False,)) == {FIRST.rank: 1}
    assert counted_labels([FIRST]) == [(FIRST, 1)]
    assert counted_labels([OLDER, CORRECTION]) == [(CORRECTION, 1)]


def test_of_one_moment_the_greater_text_holds() -> None:
    ten, nine = Label(5, 10.0, late=False, text="10"), Label(5, 9.0, late=True, text="9")
    assert net(counted_labels([ten, nine])) == {(5, "9"): 1}
    assert net(counted_labels([nine, ten])) == {(5, "9"): 1}


@pytest.mark.parametrize("seed", range(20))
def test_labels_come_to_the_same_in_one_batch_or_in_several(seed: int) -> None:
    chance = np.random.default_rng(seed)
    log = [
        Label(int(chance.integers(0, 4)), float(value), late=bool(row), text=str(value))
        for row, value in enumerate(chance.integers(0, 3, 8).tolist())
    ]
    cuts = [0, *sorted(chance.choice(7, 3, replace=False) + 1), 8]
    counted, repeats = [], 0
    for start, end in pairwise(cuts):
        changes, n_repeats = what_changes(log[:start], log[start:end])
        counted += changes
        repeats += n_repeats

    whole, whole_repeats = what_changes([], log)
    for late in ((False,), (True,)):
        assert net(counted, late) == net(whole, late) == net(counted_labels(log), late)
    assert (
        repeats == whole_repeats == 8 - len({i for i in range(8) if all(log[j].rank < log[i].rank for j in range(i))})
    )


def test_a_correction_takes_back_and_adds_out_of_sight_of_detectors() -> None:
    assert net(correction(FIRST, CORRECTION)) == {FIRST.rank: -1, CORRECTION.rank: 1}
    assert net(correction(FIRST, CORRECTION), late=(False,)) == {}


def test_class_codes_have_names_and_numbers_are_themselves() -> None:
    assert texts_of(np.array([1.0, 0.0]), ["no", "yes"]) == ["yes", "no"]
    assert texts_of(np.array([1.0, 0.1]), None) == ["1.0", "0.1"]


def test_labels_count_as_columns_as_they_do_one_by_one() -> None:
    """Ids with one label are counted together; the answer is that of looking at every id."""
    chance = np.random.default_rng(3)
    for _ in range(300):
        known, came = labels_of_ids(chance), labels_of_ids(chance)
        before, new = by_id(known), by_id(came)
        found, weight = count_stored(known, NAMES)
        assert as_rows(found, weight) == rows_of({row: counted_labels(labels) for row, labels in before.items()})

        changes = {row: what_changes(before.get(row, []), labels) for row, labels in new.items()}
        found, weight, repeats = count_new(came, known, NAMES)
        assert as_rows(found, weight) == rows_of({row: counted for row, (counted, _) in changes.items()})
        assert repeats == sum(n for _, n in changes.values())


NAMES = ["0", "1", "2"]


def labels_of_ids(chance: np.random.Generator) -> LabelsOfIds:
    n = chance.integers(0, 9)
    return LabelsOfIds(
        np.sort(chance.integers(0, 6, n)),
        chance.integers(0, 3, n),
        chance.integers(0, 3, n).astype(float),
        chance.random(n),
        chance.integers(0, 2, n).astype(bool),
        chance.integers(0, 2, n),
    )


def by_id(labels: LabelsOfIds) -> dict[int, list[Label]]:
    ids: dict[int, list[Label]] = {}
    columns = (labels.row, labels.time_ms, labels.label, labels.late, labels.reward, labels.predicted_ms)
    for row, time_ms, value, late, reward, predicted_ms in zip(*(column.tolist() for column in columns), strict=True):
        ids.setdefault(row, []).append(Label(time_ms, value, late, NAMES[int(value)], reward, predicted_ms))
    return ids


def rows_of(counted: dict[int, list[tuple[Label, int]]]) -> list[tuple[object, ...]]:
    return [
        (row, label.time_ms, label.value, label.late, label.reward, label.predicted_ms, weight)
        for row, of in counted.items()
        for label, weight in of
    ]


def as_rows(found: LabelsOfIds, weight: np.ndarray) -> list[tuple[object, ...]]:
    columns = (found.row, found.time_ms, found.label, found.late, found.reward, found.predicted_ms, weight)
    return list(zip(*(column.tolist() for column in columns), strict=True))
