"""What is one Arrow column worth: as texts, as numbers, as times, as ids?

Invariants: each function agrees with its counterpart in `streams.decode.values` on every row it calls sure. `Mask`s of
unsure rows come beside the column; nothing raises for a column of any type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.canonical import canonical
from driftline.events import MISSING, OTHER, Coded, Ints, Mask, Numeric
from streams.decode.shapes import Path
from streams.decode.values import TIME_MS_MAX, TIME_MS_MIN, file_time_ms, text_of, time_ms

Find = Callable[[Path], pa.Array | None]
"""Returns the column at a path, or None if the table has none there."""

EXACT_MAX = 2.0**53
"""From here on a float may stand for an integer that it does not equal."""

# Texts that are not their own canonical text: whole numbers with zeros behind the point, minus zero, capital booleans.
_NOT_CANONICAL = r"^(?:-?(?:0|[1-9][0-9]*)\.0+|-0|True|TRUE|False|FALSE)$"
# RFC 3339 as nearly all producers write it, in years whose nanoseconds fit 64 bits; the rest goes value by value.
_COMMON_TIME = (
    r"^(?:19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
)
_OFFSET = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"


def finder(table: pa.Table) -> Find:
    """Make the lookup of a plain table's columns by path, through nested structs."""

    @cache
    def find(path: Path) -> pa.Array | None:
        if len(path) > 1:
            return children(path[:-1]).get(path[-1])
        index = table.schema.get_field_index(path[0])  # -1 also if the name is not unique
        return None if index < 0 else _whole(table.column(index))

    @cache
    def children(path: Path) -> dict[str, pa.Array]:
        array = find(path)
        if array is None or not pa.types.is_struct(array.type):
            return {}
        names = [field.name for field in array.type]
        times = Counter(names)
        return {name: child for name, child in zip(names, array.flatten(), strict=True) if times[name] == 1}

    return find


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def plain_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Make a table whose columns have only types that JSON could have sent too; see `plain`."""
    made = [pa.RecordBatch.from_arrays([plain(array) for array in batch.columns], schema.names) for batch in batches]
    return pa.Table.from_batches(made) if made else pa.table([pa.nulls(0)] * len(schema), schema.names)


def plain(array: pa.Array) -> pa.Array:
    """Bring a column, and what is nested in it, to a type that JSON could have sent too.

    Times and dates become epoch milliseconds (without a zone they are UTC), decimals floats; what no scalar of JSON can
    stand for becomes empty lists, which are as unusable.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_dictionary(kind):
        # Those of several messages are put together, for which there must be room, and no null among their values.
        if not is_scalar(kind.value_type) or array.dictionary.null_count:
            return plain(array.dictionary_decode())
        return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return array.cast(pa.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return array.cast(pa.float64())
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_struct(kind) and kind.num_fields:
        names = [field.name for field in kind]
        return pa.StructArray.from_arrays([plain(child) for child in array.flatten()], names, mask=array.is_null())
    if is_scalar(kind) or pa.types.is_struct(kind):
        return array
    offsets = pa.array(np.zeros(len(array) + 1, np.int32))
    return pa.ListArray.from_arrays(offsets, pa.nulls(0), mask=array.is_null())


def is_scalar(kind: pa.DataType) -> bool:
    """Tell whether a type is text, a number, a truth value or always null."""
    return is_text(kind) or is_number(kind) or bool(pa.types.is_boolean(kind) or pa.types.is_null(kind))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a type is text, not counting dictionaries of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a type is an integer or a float."""
    return bool(pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind))


def nulls(array: pa.Array) -> Mask:
    """Return where a column is null."""
    if not array.null_count:
        return np.zeros(len(array), np.bool_)
    mask: Mask = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def as_numbers(array: pa.Array) -> Numeric:
    """Read a column as numbers; whatever is not a finite number is other."""
    missing = nulls(array)
    if not is_number(array.type):
        return Numeric(np.full(len(array), np.nan), missing)
    if array.type != pa.float64():
        array = array.cast(pa.float64(), safe=False)
    values = array.to_numpy(zero_copy_only=False)
    finite = np.isfinite(values)
    return Numeric(values if finite.all() else np.where(finite, values, np.nan), missing)


def as_codes(array: pa.Array) -> tuple[Coded, Mask]:
    """Read a column as canonical texts; unsure are floats that may have been integers once."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        encoded = array
    elif is_scalar(kind):
        encoded = pc.dictionary_encode(array)
    else:
        missing = nulls(array)
        return Coded(np.where(missing, MISSING, OTHER).astype(np.int32), ()), np.zeros(len(array), np.bool_)
    distinct = encoded.dictionary.to_pylist()
    indices: Ints = encoded.indices.cast(pa.int64()).fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    index: dict[str, int] = {}
    codes = np.empty(len(distinct) + 1, np.int32)
    codes[-1] = MISSING
    for place, value in enumerate(distinct):
        text = text_of(value)
        codes[place] = index.setdefault(text, len(index)) if text is not None else MISSING if value is None else OTHER
    unsure = np.fromiter((type(v) is float and abs(v) >= EXACT_MAX for v in distinct), np.bool_, len(distinct))
    return Coded(codes[indices], tuple(index)), np.append(unsure, False)[indices]


def as_times(array: pa.Array, is_file: bool) -> tuple[Ints, Mask]:
    """Read a column as epoch milliseconds, with the rows that hold no valid time."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_times(array.dictionary_decode(), is_file)
    if is_text(kind):
        return _parsed_times(array, is_file)
    if not is_number(kind):
        return np.zeros(len(array), np.int64), np.ones(len(array), np.bool_)
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    valid = (values >= TIME_MS_MIN) & (values <= TIME_MS_MAX) & (values == np.floor(values))
    return np.where(valid, values, 0).astype(np.int64), ~valid


def _parsed_times(texts: pa.Array, is_file: bool) -> tuple[Ints, Mask]:
    for ending, zone in ((_OFFSET, "UTC"), ("$", None)) if is_file else ((_OFFSET, "UTC"),):
        if pc.all(pc.match_substring_regex(texts, _COMMON_TIME + ending), min_count=0).as_py():
            try:
                times = texts.cast(pa.timestamp("ns", zone)).cast(pa.int64()).fill_null(0)
            except pa.ArrowInvalid:  # the 31st of February
                break
            return times.to_numpy() // 1_000_000, nulls(texts)
    read = file_time_ms if is_file else time_ms
    values = [read(text) for text in texts.to_pylist()]
    bad = np.fromiter((value is None for value in values), np.bool_, len(values))
    return np.array([value or 0 for value in values], np.int64), bad


def as_ids(array: pa.Array) -> tuple[pa.Array, Mask]:
    """Read a column as canonical ids, with the rows whose id only the value itself can tell."""
    kind = array.type
    sure = np.zeros(len(array), np.bool_)
    if pa.types.is_dictionary(kind):
        return as_ids(array.dictionary_decode())
    if is_text(kind):
        if pc.any(pc.match_substring_regex(array, _NOT_CANONICAL)).as_py():
            texts = [None if text is None else canonical(text) for text in array.to_pylist()]
            array = pa.array(texts, pa.large_string())
        return array, sure
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.string()), sure
    if pa.types.is_floating(kind):
        values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        unsure = ~((np.abs(values) < EXACT_MAX) & (values == np.floor(values)))
        return pa.array(np.where(unsure, 0, values).astype(np.int64)).cast(pa.string()), unsure
    return pa.nulls(len(array), pa.string()), ~sure
