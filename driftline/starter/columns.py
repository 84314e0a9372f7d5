"""What kind of values does each column of a sample hold?"""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.settings import canonical_class

Kind = Literal["time", "boolean", "integer", "number", "text", "other"]

EPOCH_MS = (1_000_000_000_000, 4_000_000_000_000)  # 2001 to 2096: whole numbers there are epoch milliseconds
NAME_CHARACTERS_MAX = 200
RFC_3339 = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
_KINDS: tuple[tuple[Any, Kind], ...] = (
    (pa.types.is_timestamp, "time"),
    (pa.types.is_date, "time"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "number"),
    (pa.types.is_string, "text"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a sample.

    Parameters
    ----------
    name
        As in the file; dotted for what was nested.
    kind
        What the values are; a whole number of epoch milliseconds and an RFC 3339 text are times.
    values
        Without nulls and NaN.
    rows
        How many rows the sample has, nulls too.
    """

    name: str
    kind: Kind
    values: pa.ChunkedArray
    rows: int

    @property
    def complete(self) -> bool:
        """Whether every row has a value."""
        return len(self.values) == self.rows

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(pc.unique(self.values))

    @property
    def nameable(self) -> bool:
        """Whether a configuration can name it."""
        return 0 < len(self.name) <= NAME_CHARACTERS_MAX

    @property
    def words(self) -> list[str]:
        """The words of the name in small letters: `predictedProba` and `predicted-proba` are predicted, proba."""
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", self.name)
        return re.findall(r"[a-z0-9]+", spaced.lower())


def columns_of(table: pa.Table) -> list[Column]:
    """Describe each column of a sample, leaving out those without any value.

    Parameters
    ----------
    table : pyarrow.Table
        Flat, as `read_sample` returns it.
    """
    columns = []
    for name, values in zip(table.column_names, table.columns, strict=True):
        present = values.filter(pc.invert(pc.is_null(values, nan_is_null=True)))
        if len(present):
            columns.append(Column(name, _kind(present), present, table.num_rows))
    return columns


def _kind(values: pa.ChunkedArray) -> Kind:
    kind: Kind = next((kind for is_type, kind in _KINDS if is_type(values.type)), "other")
    if kind == "text" and pc.all(pc.match_substring_regex(values, RFC_3339)).as_py():
        return "time"
    if kind == "integer":
        extremes = pc.min_max(values).as_py()
        return "time" if extremes["min"] >= EPOCH_MS[0] and extremes["max"] < EPOCH_MS[1] else "integer"
    return kind


def numbers(column: Column) -> npt.NDArray[np.float64]:
    """Give the values of an integer, number or boolean column as float64."""
    return np.asarray(pc.cast(column.values, pa.float64(), safe=False))


def times_ms(column: Column) -> npt.NDArray[np.int64]:
    """Give the values of a time column in epoch milliseconds."""
    values = column.values
    if not pa.types.is_integer(values.type):
        zone = values.type.tz if pa.types.is_timestamp(values.type) else None
        zone = "UTC" if pa.types.is_string(values.type) else zone
        values = pc.cast(values, pa.timestamp("ms", zone), safe=False)
    return np.asarray(pc.cast(values, pa.int64()))


def whole(column: Column) -> bool:
    """Whether every number is a whole one."""
    values = numbers(column)
    return bool(np.all(np.isfinite(values)) and np.all(values == np.floor(values)))


def classes(column: Column, at_most: int) -> list[str] | None:
    """Give the distinct values as canonical text, sorted; None if they are no classes or more than `at_most`."""
    if column.kind not in ("boolean", "integer", "number", "text") or (column.kind == "number" and not whole(column)):
        return None
    distinct = pc.unique(column.values)
    return sorted({canonical_class(value) for value in distinct.to_pylist()}) if len(distinct) <= at_most else None


def class_texts(column: Column) -> npt.NDArray[np.str_]:
    """Give every value as canonical text."""
    encoded = column.values.combine_chunks().dictionary_encode()
    texts = np.array([canonical_class(value) for value in encoded.dictionary.to_pylist()], dtype=np.str_)
    return np.take(texts, np.asarray(encoded.indices))
