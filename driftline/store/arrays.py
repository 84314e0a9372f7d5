"""Columns of numbers to and from Postgres arrays, in its binary format, without a Python object for each number.

A whole batch travels as a few parameters (`unnest(%(key)s::uuid[], ...)`) and comes back as a few `array_agg` columns.
Nulls are refused in both directions: queries coalesce them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader, PyFormat
from psycopg.pq import Format

POSTGRES_EPOCH_MS = 946_684_800_000
"""2000-01-01 UTC, from which Postgres counts microseconds."""

BEGINNING_MS, END_MS = -(2**63), 2**63 - 1
"""Before and after all times; Postgres calls them -infinity and infinity."""


@dataclass(frozen=True, slots=True)
class _Element:
    """How one element type looks on the wire."""

    oid: int
    array_oid: int
    bytes: int
    wire: str


_ELEMENTS = {
    "uuid": _Element(2950, 2951, 16, "V16"),
    "int2": _Element(21, 1005, 2, ">i2"),
    "int4": _Element(23, 1007, 4, ">i4"),
    "int8": _Element(20, 1016, 8, ">i8"),
    "float8": _Element(701, 1022, 8, ">f8"),
    "bool": _Element(16, 1000, 1, "?"),
    "timestamptz": _Element(1184, 1185, 8, ">i8"),
}
_BYTEA_OID, _BYTEA_ARRAY_OID = 17, 1001
_TEXT_OID, _TEXT_ARRAY_OID = 25, 1009


@dataclass(frozen=True, slots=True)
class PgArray:
    """A Postgres array ready to be sent; made by `pg_array` and its like."""

    array_oid: int
    wire: bytes


def pg_array(element: str, values: npt.ArrayLike) -> PgArray:
    """Make an array parameter of numbers, booleans, uuids or times.

    Parameters
    ----------
    element
        One of `uuid` (from uint8 [n, 16]), `int2`, `int4`, `int8`, `float8`, `bool`, `timestamptz` (from int64
        milliseconds since 1970 UTC, or `BEGINNING_MS`, or `END_MS`).

    Raises
    ------
    OverflowError
        If a value is not a whole number, or does not fit the element.

    Examples
    --------
    >>> len(pg_array("int8", [1, 2, 3]).wire)
    56
    """
    kind = _ELEMENTS[element]
    array = np.asarray(values)
    if element == "uuid":
        array = np.ascontiguousarray(array, np.uint8).view("V16").reshape(-1)
    elif element == "timestamptz":
        ms = array.astype(np.int64)
        array = np.where((ms == BEGINNING_MS) | (ms == END_MS), ms, (ms - POSTGRES_EPOCH_MS) * 1000)
    cells = np.empty(len(array), np.dtype([("bytes", ">i4"), ("value", kind.wire)]))
    cells["bytes"] = kind.bytes
    with np.errstate(invalid="ignore"):  # said below
        cells["value"] = array
    if kind.wire[1:2] == "i" and not np.array_equal(cells["value"], array):
        raise OverflowError(f"a value does not fit {element}")
    return PgArray(kind.array_oid, struct.pack(">iiIii", 1, 0, kind.oid, len(array), 1) + cells.tobytes())


def pg_rows_of_bytes(values: npt.NDArray[np.uint8]) -> PgArray:
    """Make an array parameter of byte strings that are all of one length, from uint8 [rows, length].

    Examples
    --------
    >>> len(pg_rows_of_bytes(np.zeros((2, 3), np.uint8)).wire)
    34
    """
    rows, length = values.shape
    cells = np.empty((rows, 4 + length), np.uint8)
    cells[:, :4] = np.frombuffer(struct.pack(">i", length), np.uint8)
    cells[:, 4:] = values
    return PgArray(_BYTEA_ARRAY_OID, struct.pack(">iiIii", 1, 0, _BYTEA_OID, rows, 1) + cells.tobytes())


def pg_bytea_array(values: Sequence[bytes]) -> PgArray:
    """Make an array parameter of byte strings of any length.

    Examples
    --------
    >>> len(pg_bytea_array([b"ab"]).wire)
    26
    """
    parts = [struct.pack(">iiIii", 1, 0, _BYTEA_OID, len(values), 1)]
    for value in values:
        parts += (struct.pack(">i", len(value)), value)
    return PgArray(_BYTEA_ARRAY_OID, b"".join(parts))


def pg_text_array(values: Sequence[str]) -> PgArray:
    """Make an array parameter of texts, most of which occur many times.

    Examples
    --------
    >>> len(pg_text_array(["psi", "psi"]).wire)
    34
    """
    encoded = {value: value.encode() for value in set(values)}
    cells = {value: struct.pack(">i", len(of)) + of for value, of in encoded.items()}
    head = struct.pack(">iiIii", 1, 0, _TEXT_OID, len(values), 1)
    return PgArray(_TEXT_ARRAY_OID, b"".join([head, *map(cells.__getitem__, values)]))


class _PgArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: PgArray) -> Buffer | None:
        return obj.wire

    def get_key(self, obj: PgArray, format: PyFormat) -> Any:
        return (self.cls, obj.array_oid)

    def upgrade(self, obj: PgArray, format: PyFormat) -> Dumper:
        dumper = _PgArrayDumper(self.cls)
        dumper.oid = obj.array_oid
        return dumper


def _array_loader(element: str) -> type[Loader]:
    kind = _ELEMENTS[element]
    cell = np.dtype([("bytes", ">i4"), ("value", kind.wire)])

    class ArrayLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> npt.NDArray[Any]:
            dimensions, has_nulls = struct.unpack_from(">ii", data)
            if has_nulls:
                raise psycopg.DataError(f"a null in an array of {element}")
            values = np.frombuffer(data, cell, offset=20)["value"] if dimensions else np.empty(0, cell)["value"]
            if element == "uuid":
                return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 16)
            values = values.astype(values.dtype.newbyteorder("="))
            if element != "timestamptz":
                return values
            is_infinite = (values == BEGINNING_MS) | (values == END_MS)
            return np.where(is_infinite, values, values // 1000 + POSTGRES_EPOCH_MS)

    return ArrayLoader


_LOADERS = {kind.array_oid: _array_loader(element) for element, kind in _ELEMENTS.items()}


def register_arrays(context: AdaptContext) -> None:
    """Teach a connection to send `PgArray` and to return numeric array columns of binary cursors as numpy arrays."""
    context.adapters.register_dumper(PgArray, _PgArrayDumper)
    for array_oid, loader in _LOADERS.items():
        context.adapters.register_loader(array_oid, loader)


def storable(text: str) -> str:
    """Return what Postgres can hold of a text: no NUL, and no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
