"""Do summaries of groups count what a loop over the rows counts, and merge exactly?"""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from detectors.reference.summaries import (
    ALL_TRAFFIC,
    group_rows,
    merge_cells,
    merge_vectors,
    pack_cells,
    sparse_by_summary,
    unpack_cells,
)

RANDOM = np.random.default_rng(1)
N = 300
VERSION, START = RANDOM.integers(0, 2, N), RANDOM.integers(0, 4, N) * 1000
SEGMENTS = np.stack([RANDOM.integers(0, 3, N), RANDOM.integers(3, 5, N)], axis=1)
LATE = RANDOM.random(N) < 0.2
CELL, WEIGHT = RANDOM.integers(0, 50, N), RANDOM.choice([1, 1, 1, -1], N)


def summaries_of(row: int) -> list[tuple[int, int, int, bool]]:
    """The three summaries a row belongs to: all traffic, and one for each of its segments."""
    return [
        (int(VERSION[row]), segment, int(START[row]), bool(LATE[row]))
        for segment in (ALL_TRAFFIC, *SEGMENTS[row].tolist())
    ]


def as_cells(vector: np.ndarray) -> dict[int, int]:
    cells, counts = unpack_cells(vector)
    return dict(zip(cells.tolist(), counts.tolist(), strict=True))


def test_every_row_counts_in_all_traffic_and_in_each_of_its_segments() -> None:
    grouped = group_rows(VERSION, SEGMENTS, START, LATE)

    found = zip(
        grouped.version.tolist(), grouped.segment.tolist(), grouped.start_ms.tolist(), grouped.late.tolist(),
        grouped.fold(np.bincount(grouped.fine, minlength=grouped.n_fine)).tolist(), strict=True,
    )  # fmt: skip
    expected = Counter(summary for row in range(N) for summary in summaries_of(row))
    assert {row[:4]: row[4] for row in found} == dict(expected)


def test_without_segments_there_is_only_all_traffic() -> None:
    grouped = group_rows(VERSION, np.empty((N, 0), np.int64), START, LATE)

    assert set(grouped.segment.tolist()) == {ALL_TRAFFIC}
    assert grouped.fold(np.bincount(grouped.fine)).sum() == N


@pytest.mark.parametrize("weights", [None, WEIGHT])
def test_histograms_of_summaries_are_sums_over_their_rows(weights: np.ndarray | None) -> None:
    grouped = group_rows(VERSION, SEGMENTS, START, LATE)
    vectors = sparse_by_summary(grouped, grouped.fine, CELL, weights)

    expected: dict[tuple[int, int, int, bool], Counter[int]] = {}
    for row in range(N):
        for summary in summaries_of(row):
            expected.setdefault(summary, Counter())[int(CELL[row])] += 1 if weights is None else int(weights[row])
    for place, vector in enumerate(vectors):
        of = (
            int(grouped.version[place]),
            int(grouped.segment[place]),
            int(grouped.start_ms[place]),
            bool(grouped.late[place]),
        )
        assert as_cells(np.frombuffer(vector, np.int64)) == {cell: n for cell, n in expected[of].items() if n}


def test_cells_and_counts_survive_packing_to_their_bounds() -> None:
    cells = np.array([0, 0, 1, 2**31 - 1, 2**31 - 1])
    counts = np.array([1, -(2**31), -1, 2**31 - 1, -(2**31)])

    assert [part.tolist() for part in unpack_cells(pack_cells(cells, counts))] == [cells.tolist(), counts.tolist()]


def test_cells_that_come_to_nothing_are_dropped() -> None:
    assert merge_cells(pack_cells(np.array([5, 7, 5]), np.array([2, 3, -2]))).tolist() == [(7 << 32) + 3]


def test_vectors_merge_to_the_same_in_any_order_and_grouping() -> None:
    parts = [
        np.array([*dense, *pack_cells(np.array(cells, np.int64), np.array(counts, np.int64))], np.int64).tobytes()
        for dense, cells, counts in (
            ([1, 2], [3, 9], [1, 1]),
            ([10, -2], [3], [4]),
            ([2**62, 0], [1, 9], [7, -1]),
            ([0, 0], [], []),
        )
    ]
    for order in permutations(parts):
        whole = merge_vectors(order, 2)
        assert whole[:2].tolist() == [2**62 + 11, 0]
        assert as_cells(whole[2:]) == {1: 7, 3: 5}
        in_steps = merge_vectors([merge_vectors(order[:2], 2).tobytes(), merge_vectors(order[2:], 2).tobytes()], 2)
        assert in_steps.tolist() == whole.tolist()


@pytest.mark.parametrize("width", [0, 3])
def test_nothing_merges_to_zeros(width: int) -> None:
    merged = merge_vectors([], width)

    assert merged.tolist() == [0] * width
    assert merged.dtype == np.int64
