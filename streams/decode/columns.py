"""How does a whole table of events become a batch without looking at single rows?

Invariants: for every row it keeps, the result equals what `streams.decode.rows` makes of that row; a row it is not sure
about it marks as odd and leaves out, so that `streams.decode.rows` can decide. It never refuses an event itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.events import (
    CHAMPION,
    MISSING,
    NO_TIME,
    UNVERSIONED,
    Bytes,
    Coded,
    FeatureBatch,
    FeatureColumn,
    Floats,
    Ints,
    LabelBatch,
    Mask,
    Numeric,
    PredictionBatch,
    event_keys,
)
from streams.decode.arrow import Find, as_codes, as_ids, as_numbers, as_times, finder, nulls
from streams.decode.batches import AnyBatch, told_times
from streams.decode.keys import quick_keys
from streams.decode.rows import SERVING, Reading
from streams.decode.shapes import EventShape, Kind, Path, Paths
from streams.decode.sniff import Sniffed
from streams.decode.values import text_of


@dataclass(frozen=True)
class Table:
    """Events of one kind as columns, of one model or of several that are alike in all but their names.

    Parameters
    ----------
    find
        Looks up a column of `rows` rows.
    models
        The models in the order of their rows, each with how many it has.
    order
        int64 [rows]; rising within each model.
    has_object
        Whether features stand in a features object; else they stand at the top level.
    odd
        bool [rows]; True for rows to be left to `streams.decode.rows`. The readers below add to it.
    is_file
        Whether a row has features just because the table has feature columns, and times may lack an offset.
    """

    find: Find
    models: Sequence[tuple[str, int]]
    order: Ints
    has_object: bool
    odd: Mask
    is_file: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    def column(self, paths: Paths) -> pa.Array | None:
        """Return the first column along the candidate paths that holds anything; rows that need a later one are odd."""
        found = (self.find(path) for path in paths)
        held = [array for array in found if array is not None and array.null_count < self.rows]
        for later in held[1:]:
            self.odd[:] |= nulls(held[0]) & ~nulls(later)
        return held[0] if held else None


def table_of_messages(parsed: pa.Table, models: Sequence[tuple[str, int]], order: Ints, sniffed: Sniffed) -> Table:
    """Make a table of parsed messages; those in another envelope than the first are odd."""
    find = finder(parsed)
    root = sniffed.root
    version = find(("specversion",))
    odd = np.zeros(len(order), np.bool_) if version is None else nulls(version) == bool(root)
    data = find(root) if root else None
    if data is not None:
        odd |= nulls(data)

    def find_below(path: Path) -> pa.Array | None:
        return find((*root, *path))

    return Table(find_below, models, order, sniffed.has_object, odd)


def read_predictions(table: Table, reading: Reading, secret: bytes) -> PredictionBatch:
    """Make a batch of the rows that are not odd."""
    shape = reading.shape
    ids, times = _ids(table, reading), _times(table, shape, "time")
    version, variant = _texts(table, shape, "version", UNVERSIONED), _texts(table, shape, "variant", CHAMPION)
    prediction = read_outcome(table, shape, "prediction")
    score = _score(table, shape, prediction)
    segments, features, carried = _segments(table, shape), *_features(table, shape)
    keys = _keys(table, reading.shape, ids, secret)
    batch = PredictionBatch(table.order, keys, times, version, variant, prediction, score, segments, carried, features)
    return batch.take(~table.odd)


def read_labels(table: Table, reading: Reading, secret: bytes) -> LabelBatch:
    """Make a batch of the rows that are not odd."""
    shape = reading.shape
    ids, times = _ids(table, reading), _times(table, shape, "time")
    label = read_outcome(table, shape, "label")
    reward = _number(table, shape, "reward").values
    predicted = _optional_times(table, shape, "prediction_time")
    keys = _keys(table, reading.shape, ids, secret)
    return LabelBatch(table.order, keys, times, label, reward, predicted).take(~table.odd)


def read_features(table: Table, reading: Reading, secret: bytes) -> FeatureBatch:
    """Make a batch of the rows that are not odd; those of source `offline` are odd."""
    shape = reading.shape
    source = _texts(table, shape, "source", SERVING)
    known = np.array([*(value == SERVING for value in source.values), False, False])
    table.odd[:] |= ~known[source.codes]
    ids, times = _ids(table, reading), _times(table, shape, "time")
    version = _texts(table, shape, "version", UNVERSIONED)
    segments, features, carried = _segments(table, shape), *_features(table, shape)
    table.odd[:] |= ~carried
    keys = _keys(table, reading.shape, ids, secret)
    return FeatureBatch(table.order, keys, times, version, segments, features).take(~table.odd)


COLUMN_READERS: Mapping[Kind, Callable[[Table, Reading, bytes], Any]] = {
    "prediction": read_predictions,
    "label": read_labels,
    "feature": read_features,
}


def by_model(batch: AnyBatch, table: Table) -> Iterator[tuple[str, AnyBatch]]:
    """Cut the batch that was read from a table into one for each model that has rows in it."""
    kept = np.append(0, np.cumsum(~table.odd))
    ends = np.cumsum([rows for _, rows in table.models])
    starts = np.append(0, ends[:-1])
    for (model, _), start, end in zip(table.models, kept[starts], kept[ends], strict=True):
        if start < end:
            yield model, batch if end - start == len(batch) else batch.pick(slice(start, end))


def _ids(table: Table, reading: Reading) -> pa.Array:
    array = table.column(reading.shape.paths["id"])
    if array is None:
        table.odd[:] = True
        return pa.nulls(table.rows, pa.string())
    ids, unsure = as_ids(array)
    lengths = as_numbers(pc.binary_length(ids)).values
    table.odd[:] |= unsure | ~((lengths > 0) & (lengths <= reading.id_bytes_max))
    return ids


def _keys(table: Table, shape: EventShape, ids: pa.Array, secret: bytes) -> Bytes:
    if not shape.keeps_ids:
        return quick_keys(ids.cast(pa.large_binary()))
    texts = ids.to_pylist()
    keys = np.zeros((table.rows, 16), np.uint8)
    start = 0
    for model, rows in table.models:
        chosen = start + np.flatnonzero(~table.odd[start : start + rows])
        start += rows
        keys[chosen] = event_keys(model, [texts[row] for row in chosen.tolist()], secret)
    return keys


def _times(table: Table, shape: EventShape, role: str) -> Ints:
    array = table.column(shape.paths[role])
    if array is None:
        table.odd[:] = True
        return np.zeros(table.rows, np.int64)
    times, bad = as_times(array, table.is_file)
    table.odd[:] |= bad
    return times


def _optional_times(table: Table, shape: EventShape, role: str) -> Ints | None:
    array = table.column(shape.paths[role])
    if array is None:
        return None
    times, bad = as_times(array, table.is_file)
    missing = nulls(array)
    table.odd[:] |= bad & ~missing
    return told_times(np.where(missing, NO_TIME, times))


def _texts(table: Table, shape: EventShape, role: str, absent: str) -> Coded:
    array = table.column(shape.paths[role])
    if array is None:
        return Coded(np.zeros(table.rows, np.int32), (absent,))
    coded, unsure = as_codes(array)
    missing = coded.codes == MISSING
    table.odd[:] |= unsure | ((coded.codes < 0) & ~missing)
    if not missing.any():
        return coded
    values = coded.values if absent in coded.values else (*coded.values, absent)
    return Coded(np.where(missing, values.index(absent), coded.codes).astype(np.int32), values)


def _number(table: Table, shape: EventShape, role: str) -> Numeric:
    array = table.column(shape.paths[role])
    if array is None:
        return Numeric(np.full(table.rows, np.nan), np.ones(table.rows, np.bool_))
    numbers = as_numbers(array)
    table.odd[:] |= np.isnan(numbers.values) & ~numbers.missing
    return numbers


def read_outcome(table: Table, shape: EventShape, role: str) -> FeatureColumn:
    """Read the predictions or labels of all rows; those without a usable one are odd."""
    if shape.task == "regression":
        numbers = _number(table, shape, role)
        table.odd[:] |= numbers.missing
        return numbers
    array = table.column(shape.paths[role])
    if array is None:
        table.odd[:] = True
        return Coded(np.full(table.rows, MISSING, np.int32), ())
    coded, unsure = as_codes(array)
    table.odd[:] |= unsure | (coded.codes < 0)
    return coded


def _score(table: Table, shape: EventShape, prediction: FeatureColumn) -> Floats:
    numbers = _number(table, shape, "score")
    if shape.task == "binary":
        table.odd[:] |= (numbers.values < 0) | (numbers.values > 1)
    if shape.task != "multiclass" or not numbers.missing.any() or not isinstance(prediction, Coded):
        return numbers.values
    probabilities = table.column(shape.paths["probabilities"])
    if probabilities is None:
        return numbers.values
    needed = numbers.missing & ~nulls(probabilities)
    scores = np.where(needed, _of_the_predicted(probabilities, prediction), numbers.values)
    table.odd[:] |= needed & ~((scores >= 0) & (scores <= 1))
    return scores


def _of_the_predicted(probabilities: pa.Array, prediction: Coded) -> Floats:
    scores = np.full(len(probabilities), np.nan)
    if not pa.types.is_struct(probabilities.type):
        return scores
    names = [text_of(field.name) for field in probabilities.type]
    if len(set(names)) < len(names):
        return scores
    for code, text in enumerate(prediction.values):
        if text in names:
            rows = prediction.codes == code
            scores[rows] = as_numbers(pc.struct_field(probabilities, [names.index(text)])).values[rows]
    return scores


def _segments(table: Table, shape: EventShape) -> tuple[Coded, ...]:
    return tuple(_coded(table, paths) for paths in shape.segment_paths)


def _coded(table: Table, paths: Paths) -> Coded:
    array = table.column(paths)
    if array is None:
        return Coded(np.full(table.rows, MISSING, np.int32), ())
    coded, unsure = as_codes(array)
    table.odd[:] |= unsure
    return coded


def _features(table: Table, shape: EventShape) -> tuple[dict[str, FeatureColumn], Mask]:
    present = np.zeros(table.rows, np.bool_)
    for path in shape.paths["features"]:
        array = table.find(path)
        if array is not None:
            present |= ~nulls(array)
            if not pa.types.is_struct(array.type):
                table.odd[:] |= ~nulls(array)
    table.odd[:] |= present != table.has_object
    features: dict[str, FeatureColumn] = {}
    carried = np.full(table.rows, table.has_object or table.is_file)
    candidates = shape.inner_features if table.has_object else shape.outer_features
    for feature, paths in zip(shape.features or (), candidates, strict=True):
        column = _coded(table, paths) if feature.kind == "categorical" else _numeric(table, paths)
        features[feature.name] = column
        carried |= ~(column.missing if isinstance(column, Numeric) else column.codes == MISSING)
    return features, carried


def _numeric(table: Table, paths: Paths) -> Numeric:
    array = table.column(paths)
    if array is None:
        return Numeric(np.full(table.rows, np.nan), np.ones(table.rows, np.bool_))
    return as_numbers(array)
