"""From batches of events to pane deltas, of any number of models at once.

A call of numpy costs as much for eighty rows as for a thousand, and a fetch of many models holds eighty of each. So
models are counted side by side, block by block: their rows one behind the other, the columns in the order of each
model's own profile, whatever they are called. Invariants: a model's deltas are what they would be by itself, and its
events are not mixed with those of others, because the model is the first thing that rows are grouped by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.reference.profile import PREDICTION, SCORE, STEPS_PER_SCALE, bin_score, bins_of_codes
from detectors.reference.summaries import group_rows, sparse_by_summary
from driftline.events import (
    MISSING,
    OTHER,
    Coded,
    FeatureBatch,
    FeatureColumn,
    Floats,
    Ints,
    Mask,
    Numeric,
    PredictionBatch,
)
from streams.panes import NumericFeatures, PaneDeltas, PaneLayout, class_indices, with_reconstruction

BLOCK_VALUES = 32_768
"""So many values are counted at a time: what the processor keeps at hand, whatever the fetch holds."""

CELLS_MAX = 8 * 1024 * 1024
"""So many cells may lie side by side, were each row a group of its own: wide models are counted one by one."""

SPARE_CELLS = 2
"""Behind the bins and sums of each group, for what is not to be counted."""

_NOT_FEATURES = (PREDICTION, SCORE)


@dataclass(frozen=True)
class Part:
    """Events of one model under one profile.

    Parameters
    ----------
    version
        int64 [rows]; codes of the versions.
    segments
        int64 [rows, names]; codes of the segment values.
    late
        bool [rows].
    """

    batch: PredictionBatch | FeatureBatch
    version: Ints
    segments: Ints
    late: Mask
    layout: PaneLayout
    pane_ms: int

    def __len__(self) -> int:
        return len(self.batch)

    @cached_property
    def columns(self) -> dict[str, FeatureColumn]:
        """What is counted, by the names of the profile."""
        features = with_reconstruction(self.batch.features, self.layout.profile)
        if isinstance(self.batch, FeatureBatch):
            return features
        score = Numeric(self.batch.score, np.isnan(self.batch.score))
        return features | {PREDICTION: self.batch.prediction, SCORE: score}

    @cached_property
    def featureless(self) -> Mask | None:
        """Which events carry no features that count; None if all do."""
        if isinstance(self.batch, FeatureBatch) or self.batch.has_features.all():
            return None
        return ~self.batch.has_features

    @cached_property
    def numbers(self) -> list[Numeric | None]:
        """The columns of numeric features, in the order of the profile; None where one did not come."""
        columns = (self.columns.get(feature.name) for feature in self.layout.numeric_features)
        return [_no_numbers(of) if isinstance(of, Coded) else of for of in columns]

    @cached_property
    def categories(self) -> list[tuple[Ints, Coded] | None]:
        """Those of categorical ones, each with the cells of its codes."""
        found: list[tuple[Ints, Coded] | None] = []
        for start, feature in zip(self.layout.categorical_starts, self.layout.categorical_features, strict=True):
            column = self.columns.get(feature.name)
            if isinstance(column, Numeric):
                column = _no_categories(column)
            found.append(None if column is None else (start + bins_of_codes(feature, column.values), column))
        return found


def _no_numbers(column: Coded) -> Numeric:
    return Numeric(np.full(column.codes.size, np.nan), column.codes == MISSING)


def _no_categories(column: Numeric) -> Coded:
    return Coded(np.where(column.missing, MISSING, OTHER).astype(np.int32), ())


def summarise(parts: Sequence[Part]) -> list[PaneDeltas]:
    """Summarise events into pane deltas, one for each part."""
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, part in enumerate(parts):
        # Side by side, narrow models would be as wide as the widest.
        alike[part.segments.shape[1], part.layout.width.bit_length()].append(place)
    found: dict[int, PaneDeltas] = {}
    for places in alike.values():
        for few in _few_enough(parts, places):
            found |= zip(few, _SideBySide([parts[place] for place in few]).deltas(), strict=True)
    return [found[place] for place in range(len(parts))]


def _few_enough(parts: Sequence[Part], places: Sequence[int]) -> Iterator[list[int]]:
    """Cut places so that the cells of each piece are bounded, whatever came in a fetch."""
    few: list[int] = []
    cells = 0
    for place in places:
        own = len(parts[place]) * parts[place].layout.width
        if few and cells + own > CELLS_MAX:
            yield few
            few, cells = [], 0
        few.append(place)
        cells += own
    yield few


def summarise_predictions(
    batch: PredictionBatch, version: Ints, segments: Ints, late: Mask, layout: PaneLayout, pane_ms: int
) -> PaneDeltas:
    """Summarise predictions of one model, with the features they carry, into pane deltas; parameters as of `Part`."""
    return summarise([Part(batch, version, segments, late, layout, pane_ms)])[0]


def count_predictions(time_ms: Ints, version: Ints, segments: Ints, late: Mask, pane_ms: int) -> PaneDeltas:
    """Count predictions that nothing is to be compared with, because they are the reference themselves."""
    grouped = group_rows(version, segments, time_ms // pane_ms * pane_ms, late)
    n = grouped.fold(np.bincount(grouped.fine, minlength=grouped.n_fine))
    return PaneDeltas(grouped.version, grouped.segment, grouped.start_ms, grouped.late, n, [b""] * len(n), 0)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows of a part: which, and where they stand in a block."""

    part: Part
    rows: slice
    at: slice


class _SideBySide:
    """Parts with as many segments, counted together."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.n_bins = max(part.layout.n_bins for part in parts)
        self.n_numbers = max(len(part.numbers) for part in parts)
        self.n_categories = max(len(part.categories) for part in parts)
        self.spare = self.n_bins + 2 * self.n_numbers
        lengths = [len(part) for part in parts]
        self.grouped = group_rows(
            np.concatenate([part.version for part in parts]),
            np.concatenate([part.segments for part in parts]),
            np.concatenate([part.batch.time_ms // part.pane_ms * part.pane_ms for part in parts]),
            np.concatenate([part.late for part in parts]),
            np.repeat(np.arange(len(parts)), lengths),
        )
        self.dense = np.zeros((self.grouped.n_fine, self.spare + SPARE_CELLS), np.int64)
        self.sparse: list[tuple[Ints, Ints]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        """(finest groups, cells) of what is counted cell by cell."""

    def deltas(self) -> list[PaneDeltas]:
        """Return the deltas of each part."""
        start = 0
        for block in _blocks(self.parts, max(BLOCK_VALUES // max(self.n_numbers, 1), 1)):
            fine = self.grouped.fine[start : start + block[-1].at.stop]
            self._count(block, fine)
            start += len(fine)
        return self._cut()

    def _count(self, block: Sequence[_Piece], fine: Ints) -> None:
        # Groups of one part are neighbours, so those of a block are few.
        low, high = int(fine.min()), int(fine.max()) + 1
        dense, group = self.dense[low:high], fine - low
        numeric, steps = self._numbers(block, fine)
        cells = np.concatenate((numeric, self._categories(block, fine)))
        dense += np.bincount((group * dense.shape[1] + cells).ravel(), minlength=dense.size).reshape(dense.shape)
        # Sums of integers below 2**53 are exact in float64: at most 2**16 rows of at most 2**30 each.
        by_group, size = (group * len(steps) + np.arange(len(steps))[:, None]).ravel(), len(dense) * len(steps)
        for at, weights in ((0, steps), (1, steps * steps)):
            sums = np.bincount(by_group, weights.ravel(), size).reshape(len(dense), len(steps))
            dense[:, self.n_bins + at : self.spare : 2] += sums.astype(np.int64)

    def _numbers(self, block: Sequence[_Piece], fine: Ints) -> tuple[Ints, Floats]:
        """Return the cells and the standardised steps of numbers, shape ``(features, rows)``."""
        shape = self.n_numbers, len(fine)
        values, missing, left_out = np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        for piece in block:
            part, featureless = piece.part, piece.part.featureless
            for row, (feature, column) in enumerate(zip(part.layout.numeric_features, part.numbers, strict=True)):
                if column is None:
                    left_out[row, piece.at] = True
                    continue
                values[row, piece.at] = column.values[piece.rows]
                missing[row, piece.at] = column.missing[piece.rows]
                if featureless is not None and feature.name not in _NOT_FEATURES:
                    left_out[row, piece.at] = featureless[piece.rows]
        of, some_left_out = self._parameters(block), bool(left_out.any())
        if some_left_out:
            values[left_out] = np.nan
        finite = np.isfinite(values)
        above = np.zeros(shape, np.int8 if len(of.edges) <= np.iinfo(np.int8).max else np.int64)
        for edge in of.edges:
            above += (values > edge).view(np.int8)
        cells = np.where(missing, of.missing, np.where(finite, of.start + above, of.missing + 1))
        if some_left_out:
            cells[left_out] = self.spare
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.rint(np.clip((values - of.centre) / of.scale, -8.0, 8.0) * STEPS_PER_SCALE)
        steps[~finite] = 0.0
        # What is infinite counts as of a wrong type, not as out of range.
        places, rows = np.nonzero(finite & ((values < of.low) | (values > of.high)))
        self.sparse.append((fine[rows], np.broadcast_to(of.odd, shape)[places, rows]))
        return cells, steps

    def _parameters(self, block: Sequence[_Piece]) -> NumericFeatures:
        """Return the profiles' parameters, shape ``(…, features, rows)``, or 1 for rows that have all the same ones."""
        layouts, lengths = [piece.part.layout for piece in block], [piece.at.stop - piece.at.start for piece in block]
        if all(layout is layouts[0] for layout in layouts):
            layouts, lengths = layouts[:1], [1]
        nothing = (np.inf, 0.0, 1.0, -np.inf, np.inf, self.spare, self.spare, 0)
        of_layouts = zip(*(layout.numeric for layout in layouts), strict=True)
        return NumericFeatures(*(self._of_rows(*of, lengths) for of in zip(of_layouts, nothing, strict=True)))

    def _of_rows(self, of_layouts: Sequence[NDArray[Any]], fill: float, lengths: Sequence[int]) -> NDArray[Any]:
        """Put a parameter of some layouts side by side, each for so many rows."""
        n_edges = max(len(of) for of in of_layouts)
        shape = (n_edges, self.n_numbers) if of_layouts[0].ndim == 2 else (self.n_numbers,)
        padded = np.full((*shape, len(of_layouts)), fill, of_layouts[0].dtype)
        for at, of in enumerate(of_layouts):
            padded[..., at][tuple(map(slice, of.shape))] = of
        return np.repeat(padded, lengths, axis=-1)

    def _categories(self, block: Sequence[_Piece], fine: Ints) -> Ints:
        """Return the cells of categories, shape ``(features, rows)``."""
        cells = np.full((self.n_categories, len(fine)), self.spare)
        for piece in block:
            layout, featureless = piece.part.layout, piece.part.featureless
            told = zip(layout.categorical_features, layout.categorical_odd, piece.part.categories, strict=True)
            for row, (feature, odd_cell, found) in enumerate(told):
                if found is None:
                    continue
                cells_of_codes, column = found
                codes = column.codes[piece.rows]
                here, is_odd = cells_of_codes[codes], codes == OTHER  # what is no category at all
                if featureless is not None and feature.name not in _NOT_FEATURES:
                    here[featureless[piece.rows]] = self.spare
                    is_odd &= ~featureless[piece.rows]
                cells[row, piece.at] = here
                odd = fine[piece.at][is_odd]
                self.sparse.append((odd, np.full(odd.size, odd_cell)))
        return cells

    def _scores(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield of each part the groups and cells of score x predicted class."""
        start = 0
        for part in self.parts:
            fine = self.grouped.fine[start : start + len(part)]
            start += len(part)
            if isinstance(part.batch, PredictionBatch) and isinstance(part.batch.prediction, Coded):
                profile = part.layout.profile
                predicted = class_indices(part.batch.prediction, profile)
                cells = predicted * part.layout.score_bins + bin_score(profile, part.batch.score)
                known = predicted >= 0
                yield fine[known], cells[known]

    def _cut(self) -> list[PaneDeltas]:
        """Fold the finest groups, and cut them into those of each part."""
        grouped = self.grouped
        predicted = np.repeat(
            [isinstance(part.batch, PredictionBatch) for part in self.parts], [len(part) for part in self.parts]
        )
        n = grouped.fold(np.bincount(grouped.fine[predicted], minlength=grouped.n_fine))
        dense = grouped.fold(self.dense)
        fine, cells = (np.concatenate(of) for of in zip(*self._scores(), *self.sparse, strict=True))
        sparse = sparse_by_summary(grouped, fine, cells, None)
        found = []
        bounds = np.searchsorted(grouped.part, np.arange(len(self.parts) + 1)).tolist()
        for part, (low, high) in zip(self.parts, pairwise(bounds), strict=True):
            sums = slice(self.n_bins, self.n_bins + 2 * len(part.numbers))
            own = np.concatenate((dense[low:high, : part.layout.n_bins], dense[low:high, sums]), axis=1)
            vectors = [bins.tobytes() + rest for bins, rest in zip(own, sparse[low:high], strict=True)]
            own_n, late = n[low:high], grouped.late[low:high]
            version, segment, start_ms = (of[low:high] for of in (grouped.version, grouped.segment, grouped.start_ms))
            found.append(PaneDeltas(version, segment, start_ms, late, own_n, vectors, part.layout.n_bins))
        return found


def _blocks(parts: Sequence[Part], rows_max: int) -> Iterator[list[_Piece]]:
    """Cut parts that are larger than a block, and put together those that are smaller."""
    block: list[_Piece] = []
    for part in parts:
        start = 0
        while start < len(part):
            filled = block[-1].at.stop if block else 0
            end = min(len(part), start + rows_max - filled)
            block.append(_Piece(part, slice(start, end), slice(filled, filled + end - start)))
            start = end
            if block[-1].at.stop == rows_max:
                yield block
                block = []
    if block:
        yield block
