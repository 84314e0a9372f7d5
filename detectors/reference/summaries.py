"""Mergeable integer summaries of groups of events: how rows are grouped, counted and added up.

Everything is 64-bit integers, so merging is exact and its order never matters. A summary's vector is dense first, with
a width that its owner knows, then sparse: one packed integer for each occupied cell of a histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALL_TRAFFIC = -1
"""The segment code of all traffic, shown as `*`."""

CODES_MAX = 2**62
"""Rows of several columns are told apart by one number each, below this."""

_CELL_BITS = 32


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """Rows of a batch in their finest groups, and the levels that those add up to.

    Parameters
    ----------
    fine
        int64 [rows]; each row's finest group: one part, version, start and lateness, one value of every segment. Groups
        of one part are neighbours.
    n_fine
        How many finest groups there are.
    parent
        int64 [levels x fine]; for all traffic and then for each segment name, the summary a finest group adds to.
    part, version, segment, start_ms, late
        [summaries]; what each summary is of, parts one behind the other.
    """

    fine: Ints
    n_fine: int
    parent: Ints
    part: Ints
    version: Ints
    segment: Ints
    start_ms: Ints
    late: Mask

    def fold(self, per_group: Ints) -> Ints:
        """Add up int64 [fine, ...] to [summaries, ...]."""
        folded = np.zeros((len(self.version), *per_group.shape[1:]), np.int64)
        for parents in self.parent:
            np.add.at(folded, parents, per_group)
        return folded


def _distinct(*columns: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of some columns as (index of one row each, number of every row)."""
    code, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        low, span = _range(column)
        if size * span > CODES_MAX:  # as many as there are rows at most, in the same order
            code, column = (np.unique(of, return_inverse=True)[1] for of in (code, column))
            (_, size), (low, span) = _range(code), _range(column)
        code, size = code * span + (column - low), size * span
    _, first, number = np.unique(code, return_index=True, return_inverse=True)
    return first, number


def _range(column: Ints) -> tuple[int, int]:
    """Return the least value, and how many there may be."""
    return (int(column.min()), int(column.max()) - int(column.min()) + 1) if len(column) else (0, 1)


def group_rows(version: Ints, segments: Ints, start_ms: Ints, late: Mask, part: Ints | None = None) -> GroupedRows:
    """Group rows by part, version, pane and lateness, for all traffic and for each segment.

    Parameters
    ----------
    segments
        int64 [rows, names]; code of each row's value of each segment name.
    part
        int64 [rows]; whose each row is, if they are of several models.
    """
    columns = (np.zeros_like(version) if part is None else part, version, start_ms, late.astype(np.int64))
    first, fine = _distinct(*columns, *segments.T)
    of_level = [np.full(len(first), ALL_TRAFFIC, np.int64), *(column[first] for column in segments.T)]
    n_levels = len(of_level)
    parts, versions, starts, lates = (np.tile(column[first], n_levels) for column in columns)
    segment = np.concatenate(of_level)
    kept, parent = _distinct(parts, versions, segment, starts, lates)
    return GroupedRows(
        fine,
        len(first),
        parent.reshape(n_levels, -1),
        parts[kept],
        versions[kept],
        segment[kept],
        starts[kept],
        lates[kept].astype(np.bool_),
    )


def pack_cells(cells: Ints, counts: Ints) -> Ints:
    """Pack occupied cells of a histogram, one integer each; counts may be negative, within 31 bits.

    Examples
    --------
    >>> [part.tolist() for part in unpack_cells(pack_cells(np.array([7, 9]), np.array([2, -1])))]
    [[7, 9], [2, -1]]
    """
    return (cells << _CELL_BITS) + counts


def unpack_cells(packed: Ints) -> tuple[Ints, Ints]:
    """Undo `pack_cells`: (cells, counts)."""
    cells = (packed + (1 << (_CELL_BITS - 1))) >> _CELL_BITS
    return cells, packed - (cells << _CELL_BITS)


def merge_cells(packed: Ints) -> Ints:
    """Add up cells that occur more than once and drop those that come to nothing."""
    cells, counts = unpack_cells(packed)
    occupied, place = np.unique(cells, return_inverse=True)
    totals = np.zeros(len(occupied), np.int64)
    np.add.at(totals, place, counts)
    return pack_cells(occupied[totals != 0], totals[totals != 0])


def merge_vectors(vectors: Sequence[bytes], width: int) -> Ints:
    """Merge pane vectors: the dense parts add up, the sparse parts too.

    Parameters
    ----------
    vectors
        Any number, also none.
    width
        Length of the dense part.

    Examples
    --------
    >>> a, b = np.array([1, 2, (5 << 32) + 1]), np.array([10, 20])
    >>> merged = merge_vectors([a.tobytes(), b.tobytes()], 2)
    >>> merged[:2].tolist(), unpack_cells(merged[2:])[0].tolist()
    ([11, 22], [5])
    """
    if len(vectors) == 1:
        return np.frombuffer(vectors[0], "<i8").astype(np.int64, copy=False)
    # Nothing merges to zeros, so one part is there in any case.
    parts = [np.zeros(width, np.int64), *(np.frombuffer(vector, "<i8") for vector in vectors)]
    dense = np.add.reduce([part[:width] for part in parts], axis=0, dtype=np.int64)
    return np.concatenate((dense, merge_cells(np.concatenate([part[width:] for part in parts]))))


def sparse_by_summary(grouped: GroupedRows, fine: Ints, cells: Ints, weights: Ints | None) -> list[bytes]:
    """Count cells for each summary and pack them.

    Parameters
    ----------
    fine
        int64 [rows]; the rows' finest groups.
    cells
        int64 [rows]; the rows' cells, below 2**31.
    weights
        int64 [rows]; what each row counts for, 1 by default.
    """
    n_cells, n_levels = int(cells.max(initial=0)) + 1, len(grouped.parent)
    occupied, counts = _total(fine * n_cells + cells, np.ones(len(cells)) if weights is None else weights)
    summary = grouped.parent[:, occupied // n_cells].ravel()
    occupied, counts = _total(summary * n_cells + np.tile(occupied % n_cells, n_levels), np.tile(counts, n_levels))
    packed = pack_cells(occupied % n_cells, counts)
    bounds = np.searchsorted(occupied // n_cells, np.arange(len(grouped.version) + 1))
    return [packed[low:high].tobytes() for low, high in pairwise(bounds.tolist())]


def _total(codes: Ints, weights: Ints | Floats) -> tuple[Ints, Ints]:
    """Add up the weights of each code: (distinct codes, rising; totals), without those that come to nothing."""
    distinct, place = np.unique(codes, return_inverse=True)
    # Counts are far below 2**53, so exact in float64.
    totals = np.bincount(place, weights=weights, minlength=len(distinct)).astype(np.int64)
    return distinct[totals != 0], totals[totals != 0]
