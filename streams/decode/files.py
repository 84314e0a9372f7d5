"""How do data files become the same batches as live events?

Invariants: a value means the same in Parquet, CSV and JSON lines as in a live event, so `01234` stays a text and 1.0 is
1; what is empty or null is missing, and NaN in a column of floats is other; a row that can't be used is a dead letter
that names the file and the row, a file that can't be used is an `InputError` that names it.
"""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json
from pyarrow import parquet

from driftline.errors import InputError, problem_line
from driftline.events import DeadLetter, FeatureColumn, FeatureType, Ints, LabelBatch, Mask, PredictionBatch
from driftline.settings.models import ModelSettings
from driftline.settings.schema import nearest
from driftline.settings.services import LimitSettings
from streams.decode.arrow import as_codes, finder, is_number, is_text, plain_table
from streams.decode.batches import BUILDERS, merge
from streams.decode.blocks import is_line
from streams.decode.columns import COLUMN_READERS, Table, read_outcome
from streams.decode.messages import Refused
from streams.decode.rows import Reading, read_label, read_prediction
from streams.decode.shapes import EventShape, Kind, event_shape
from streams.decode.unknown import first_names, new_in_table, of_sample

_NULL_TEXTS = ["", "NaN", "nan", "null", "NULL"]
_JSON_BLOCK_BYTES = 1 << 24
_TEXT_ONLY = {b"driftline.text_only": b"1"}
"""Marks tables whose numbers are still texts: those of CSV files."""

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
# Leading zeros make a code of what would be a number.
_PLAIN_NUMBER = r"^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|[+-]?inf)$"
_FLAT_ROLES = ("id", "time", "prediction", "score", "label", "version", "variant", "reward", "prediction_time")
_OBJECT_ROLES = ("features", "segment", "probabilities")
_MAPPED_ROLES: Mapping[str, tuple[str, ...]] = {
    "prediction": ("score", "version", "model", "variant", *_OBJECT_ROLES),
    "label": ("reward",),
    "reference": ("score", *_OBJECT_ROLES),
}
"""What a file has to hold where the configuration says how it is called. A reference stands for all versions, so its
rows need not name one."""
_UNNAMED_ROLES = ("id", "version", "model", "variant")
_MISSPELT_SIMILARITY_MIN = 0.8  # stricter than for a hint: what a reference may lack is refused on the likeness alone
_ROW_READERS = {"prediction": read_prediction, "label": read_label}


@dataclass(frozen=True)
class FileDecoder:
    """Everything that decoding the files of one model depends on besides the files.

    Parameters
    ----------
    shape
        With known features.
    id_secret
        Key of the ids' digests, 1 to 64 bytes.
    shows_values
        Whether dead letters may quote values and carry payloads.
    """

    shape: EventShape
    limits: LimitSettings
    id_secret: bytes
    shows_values: bool = True


def read_table(path: Path) -> pa.Table:
    """Read a Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`) file.

    Raises
    ------
    InputError
        If the file is missing, of another kind, or broken; it names the line where that is known.

    Notes
    -----
    All columns of a CSV are texts; `predictions_from_table` and the others make numbers of those that have to be.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError.in_file(path, f"is of no known kind, which are {', '.join(_READERS)}")
    try:
        table = reader(path)
        _look_at_all_text(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read: {error}"
        raise InputError.in_file(path, what, line=_broken_line(path, str(error))) from None
    return table


def _look_at_all_text(table: pa.Table) -> None:
    """Find now what would be found when it is used: values and names that are no UTF-8, of a broken Parquet file."""
    table.validate(full=True)
    fields = list(table.schema)
    while fields:
        field = fields.pop()
        field.name.encode()
        fields += [field.type.field(place) for place in range(field.type.num_fields)]


def _read_csv(path: Path) -> pa.Table:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        names = next(csv.reader(file), [])
    convert = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=_NULL_TEXTS, strings_can_be_null=True
    )
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    try:
        table = arrow_csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        # Only without threads does Arrow tell the row.
        one_thread = arrow_csv.ReadOptions(use_threads=False)
        table = arrow_csv.read_csv(path, one_thread, parse, convert)
    return table.replace_schema_metadata(_TEXT_ONLY)


def _read_json_lines(path: Path) -> pa.Table:
    # Arrow's reader ends the process on a file that begins with `null`, and on values nested some thousand levels deep.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if (held := line.strip().removeprefix(BOM_UTF8)) and not is_line(held):
                raise InputError.in_file(path, "can't be read: a line must be one JSON object", line=number)
    return arrow_json.read_json(path, read_options=arrow_json.ReadOptions(block_size=_JSON_BLOCK_BYTES))


_READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".parquet": parquet.read_table,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def _broken_line(path: Path, message: str) -> int | None:
    row = re.search(r"Row #([0-9]+)", message)
    if row:
        return int(row[1])
    if _READERS.get(path.suffix.lower()) is not _read_json_lines or not path.exists():
        return None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not _is_json_object(line):
                return number
    return None


def _is_json_object(line: bytes) -> bool:
    try:
        return type(orjson.loads(line)) is dict
    except ValueError:
        return False


def feature_types(table: pa.Table, settings: ModelSettings) -> tuple[FeatureType, ...]:
    """Type the features of a table: numbers are numeric, the rest categorical.

    A column that is read as something else (the id, the label, ...) is left out, and so are times and lists. A list of
    features in the settings comes before what the table says.
    """
    if settings.features is not None:
        return tuple(FeatureType(feature.name, feature.type) for feature in settings.features)
    shape = event_shape("", settings, None)
    root = _features_column(table, shape)
    read = {path[0] for role in (*_FLAT_ROLES, *shape.columns) for path in shape.paths[role]}
    read |= {path[0] for role in _OBJECT_ROLES for path in shape.paths[role] if _is_object(table, path[0])}
    fields = list(table.schema) if root is None else list(table.schema.field(root).type)
    kinds = {item.name: _kind(item, table) for item in fields if root is not None or item.name not in read}
    return tuple(FeatureType(name, kind) for name, kind in kinds.items() if kind is not None)


def has_field(table: pa.Table, shape: EventShape, role: str) -> bool:
    """Tell whether a table has a column for a role such as `time`, `version` or `label`."""
    find = finder(table)
    return any(find(path) is not None for path in shape.paths[role])


def predictions_from_table(
    table: pa.Table, decoder: FileDecoder, name: str, times_ms: Ints | None = None
) -> tuple[PredictionBatch, list[DeadLetter]]:
    """Make a table's rows predictions.

    Parameters
    ----------
    name
        What to call the file in dead letters and errors.
    times_ms
        int64 [rows]; times of rows that have none of their own.

    Returns
    -------
    The batch, whose `order` is the index of the row in the table, and what could not be used, whose `offset` is the row
    as people count it: the line of a CSV without blank lines, else from 1.

    Raises
    ------
    InputError
        Without a column for the id, the prediction or (unless `times_ms` is given) the time, or without another that
        the configuration maps.
    """
    require_mapped(table, "prediction", decoder.shape, name)
    return batch_from_table(table, "prediction", decoder, name, _given_times(times_ms))


def labels_from_table(
    table: pa.Table, decoder: FileDecoder, name: str, times_ms: Ints | None = None
) -> tuple[LabelBatch, list[DeadLetter]]:
    """Make a table's rows labels; as `predictions_from_table`, with the label in place of the prediction."""
    require_mapped(table, "label", decoder.shape, name)
    return batch_from_table(table, "label", decoder, name, _given_times(times_ms))


def require_mapped(
    table: pa.Table, kind: Literal["prediction", "label", "reference"], shape: EventShape, name: str
) -> None:
    """Refuse a table that lacks a column which the configuration names: a misspelt one would be missing for ever.

    Objects are demanded of tables that hold objects; a flat table has what is in them among its columns. What a
    reference may lack is refused only where it seems misspelt, and would become a feature under its right name.

    Raises
    ------
    InputError
        One line for each such column.
    """
    is_flat = not any(pa.types.is_struct(column.type) for column in table.schema)
    roles = [role for role in _MAPPED_ROLES[kind] if not (is_flat and role in _OBJECT_ROLES)]
    if kind == "reference" and shape.features is None:
        others = _unmapped(table, shape)
        roles += [
            role
            for role in _UNNAMED_ROLES
            if get_close_matches(shape.columns.get(role, ""), others, 1, _MISSPELT_SIMILARITY_MIN)
        ]
    if absent := [role for role in roles if role in shape.columns and not has_field(table, shape, role)]:
        raise InputError.of([_no_column(table, shape, role, name) for role in absent])


def _unmapped(table: pa.Table, shape: EventShape) -> list[str]:
    return [column for column in table.column_names if column not in shape.columns.values()]


def _no_column(table: pa.Table, shape: EventShape, role: str, name: str) -> str:
    wanted = " or ".join(f"`{path[0]}`" for path in shape.paths[role] if len(path) == 1)
    near = nearest(shape.columns.get(role, role), _unmapped(table, shape))
    guessed = f"did you mean `{near}`? " if near else ""
    or_else = ", or give the rows times with --start and --interval" if role == "time" else ""
    return problem_line(f"has no column {wanted}", where=name, remedy=f"{guessed}name it in columns.{role}{or_else}")


def _given_times(times_ms: Ints | None) -> dict[str, pa.Array]:
    return {} if times_ms is None else {"time": pa.array(times_ms)}


def outcomes_in(table: pa.Table, shape: EventShape, role: str) -> FeatureColumn:
    """Read the predictions or labels of all rows; a row without a usable one is missing or other."""
    find, ignored = finder(_plain(table, shape)), np.zeros(table.num_rows, np.bool_)
    columns = Table(find, [(shape.model, table.num_rows)], np.arange(table.num_rows), False, ignored)
    return read_outcome(columns, shape, role)


def batch_from_table(
    table: pa.Table, kind: Kind, decoder: FileDecoder, name: str, given: Mapping[str, pa.Array]
) -> tuple[Any, list[DeadLetter]]:
    """Make a table's rows a batch.

    Parameters
    ----------
    given
        Columns by role that stand in for the table's own.
    """
    shape = decoder.shape
    for role in ("id", "time", kind):
        if role not in given and not has_field(table, shape, role):
            raise InputError.of([_no_column(table, shape, role, name)])
    sent, table = table, _plain(table, shape)
    for role, array in given.items():
        table = _with_column(table, shape.paths[role][0][0], array)
    reading = Reading(shape, decoder.limits.id_bytes_max, is_file=True)
    has_object = _features_column(table, shape) is not None
    models, order = [(shape.model, table.num_rows)], np.arange(table.num_rows)
    columns = Table(finder(table), models, order, has_object, _others(table, shape), is_file=True)
    others = columns.odd.copy()
    batch: Any = COLUMN_READERS[kind](columns, reading, decoder.id_secret)
    rows, dead = [], []
    odd = columns.odd & ~others
    events = table.filter(pa.array(odd)).to_pylist()
    # In a CSV the texts say more than the numbers that were made of them.
    shown = sent.filter(pa.array(odd)).to_pylist() if _is_text_only(sent) else events
    first = 2 if _is_text_only(sent) else 1
    for row, event, original in zip(np.flatnonzero(odd).tolist(), events, shown, strict=True):
        try:
            rows.append(_ROW_READERS[kind](event, row, reading))
        except Refused as refused:
            dead.append(_dead_letter(refused, first + row, original, decoder, name))
    if rows:
        batch = merge([batch, BUILDERS[kind](rows, shape, decoder.id_secret)])
    if kind != "label":
        found = first_names(new_in_table(table.column_names, columns.find, shape, has_object=has_object))
        batch = replace(batch, new_features=of_sample(found, batch.key, batch.order))
    return batch, dead


def _dead_letter(
    refused: Refused, line: int, event: Mapping[str, object], decoder: FileDecoder, name: str
) -> DeadLetter:
    payload = b""
    if decoder.shows_values:
        payload = orjson.dumps(event, default=repr)[: decoder.limits.dead_letter_payload_bytes_max]
    return DeadLetter(
        refused.reason, refused.detail(decoder.shows_values), decoder.shape.model, name, 0, line, 0, payload
    )


def _others(table: pa.Table, shape: EventShape) -> Mask:
    """Tell the rows of other models; a flat file's column `model` may be anything unless it is mapped."""
    if "model" not in shape.columns and _features_column(table, shape) is None:
        return np.zeros(table.num_rows, np.bool_)
    model = next((array for array in map(finder(table), shape.paths["model"]) if array is not None), None)
    if model is None:
        return np.zeros(table.num_rows, np.bool_)
    coded, _ = as_codes(model)
    return np.array([*(text != shape.model for text in coded.values), False, False])[coded.codes]


def _features_column(table: pa.Table, shape: EventShape) -> str | None:
    names = (path[0] for path in shape.paths["features"] if len(path) == 1)
    return next((name for name in names if _is_object(table, name)), None)


def _is_object(table: pa.Table, name: str) -> bool:
    index = table.schema.get_field_index(name)
    return index >= 0 and bool(pa.types.is_struct(table.schema.field(index).type))


def _is_text_only(table: pa.Table) -> bool:
    return _TEXT_ONLY.items() <= (table.schema.metadata or {}).items()


def _kind(item: pa.Field, table: pa.Table) -> Literal["numeric", "categorical"] | None:
    kind = item.type
    if is_text(kind) and _is_text_only(table):
        is_plain = pc.match_substring_regex(table[item.name], _PLAIN_NUMBER)
        return "numeric" if pc.all(is_plain, min_count=0).as_py() else "categorical"
    if is_number(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return "numeric"
    if is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_dictionary(kind) or pa.types.is_string_view(kind):
        return "categorical"
    return None


def _plain(table: pa.Table, shape: EventShape) -> pa.Table:
    numbered = _with_numbers(table, shape)
    return plain_table(numbered.to_batches(), numbered.schema)


def _with_numbers(table: pa.Table, shape: EventShape) -> pa.Table:
    """Make numbers of the texts of a CSV where numbers are wanted; what is no number becomes NaN."""
    if not _is_text_only(table):
        return table
    roles = ("score", "reward", "prediction", "label") if shape.task == "regression" else ("score", "reward")
    paths = [path for role in roles for path in shape.paths[role]]
    for feature, own in zip(shape.features or (), shape.outer_features, strict=True):
        paths += own if feature.kind == "numeric" else ()
    names = {path[0] for path in paths if len(path) == 1}
    for name in names.intersection(table.column_names):
        table = _with_column(table, name, _numbers(table[name]))
    return table


def _numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        is_numeric = pc.match_substring_regex(texts, _NUMBER)
    numbers = pc.if_else(is_numeric, texts, None).cast(pa.float64())
    return pc.if_else(pc.fill_null(pc.invert(is_numeric), False), np.nan, numbers)


def _with_column(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.append_column(name, array) if index < 0 else table.set_column(index, name, array)
