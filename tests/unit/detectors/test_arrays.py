"""Do columns reach Postgres's binary arrays and come back unchanged? Psycopg's own codecs are the witness."""

import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import DataError
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.postgres import adapters
from psycopg.pq import Format

from driftline.store.arrays import PgArray, pg_array, pg_bytea_array, pg_rows_of_bytes, pg_text_array, register_arrays

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_1, YEAR_9999 = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

OIDS = {"uuid": 2951, "int2": 1005, "int4": 1007, "int8": 1016, "float8": 1022, "bool": 1000, "timestamptz": 1185}


def ms_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def whole_numbers(bits: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


COLUMNS: dict[str, st.SearchStrategy[list[Any]]] = {
    "int2": whole_numbers(16),
    "int4": whole_numbers(32),
    "int8": whole_numbers(64),
    "float8": st.lists(st.floats()),
    "bool": st.lists(st.booleans()),
    "timestamptz": st.lists(st.integers(ms_of(YEAR_1), ms_of(YEAR_9999))),
    "uuid": st.lists(st.uuids()),
}
columns = st.sampled_from(sorted(COLUMNS)).flatmap(lambda element: st.tuples(st.just(element), COLUMNS[element]))


def ours() -> Transformer:
    known = AdaptersMap(adapters)
    register_arrays(_Context(known))
    return Transformer(_Context(known))


class _Context:
    """What psycopg asks of a connection that has adapters."""

    connection = None

    def __init__(self, adapters: AdaptersMap) -> None:
        self.adapters = adapters


def as_column(element: str, values: list[Any]) -> npt.NDArray[Any]:
    if element == "uuid":
        return np.frombuffer(b"".join(value.bytes for value in values), np.uint8).reshape(-1, 16)
    return np.array(values, {"float8": np.float64, "bool": np.bool_}.get(element, np.int64))


def as_python(element: str, values: list[Any]) -> list[Any]:
    return [EPOCH + timedelta(milliseconds=ms) for ms in values] if element == "timestamptz" else values


def same(left: list[Any], right: list[Any]) -> bool:
    """Equal, NaN beside NaN and the sign of zero included."""
    return [repr(value) for value in left] == [repr(value) for value in right]


@given(columns)
def test_psycopg_reads_what_we_write(column: tuple[str, list[Any]]) -> None:
    element, values = column

    sent = pg_array(element, as_column(element, values))

    read = Transformer().get_loader(OIDS[element], Format.BINARY).load(sent.wire)
    assert sent.array_oid == OIDS[element]
    assert same(read, as_python(element, values))


@given(columns)
def test_we_read_what_we_write(column: tuple[str, list[Any]]) -> None:
    element, values = column
    sent = as_column(element, values)

    read = ours().get_loader(OIDS[element], Format.BINARY).load(pg_array(element, sent).wire)

    assert isinstance(read, np.ndarray)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, sent)


@given(columns.filter(lambda column: len(column[1]) > 0))
def test_we_read_what_psycopg_writes(column: tuple[str, list[Any]]) -> None:
    element, values = column
    written = wire_of_psycopg(element, as_python(element, values))

    read = ours().get_loader(OIDS[element], Format.BINARY).load(written)

    np.testing.assert_array_equal(read, as_column(element, values))


def wire_of_psycopg(element: str, values: list[Any]) -> bytes:
    """Write a list in binary, its elements in the type that is asked for."""
    from psycopg.types import numeric

    width = {"int2": numeric.Int2, "int4": numeric.Int4, "int8": numeric.Int8}.get(element, lambda value: value)
    typed = [width(value) for value in values]
    transformer = Transformer()
    dumper = transformer.get_dumper(typed, PyFormat.BINARY)
    return bytes(dumper.dump(typed) or b"")


def test_an_array_that_postgres_calls_empty_is_an_empty_column() -> None:
    nothing = bytes.fromhex("00000000 00000000 00000014")

    assert ours().get_loader(OIDS["int8"], Format.BINARY).load(nothing).shape == (0,)
    assert ours().get_loader(OIDS["uuid"], Format.BINARY).load(nothing).shape == (0, 16)


def test_a_null_is_refused() -> None:
    with_null = struct.pack(">iiIii i iq", 1, 1, 20, 2, 1, -1, 8, 7)

    with pytest.raises(DataError, match="a null in an array of int8"):
        ours().get_loader(OIDS["int8"], Format.BINARY).load(with_null)


def test_what_is_finer_than_a_millisecond_is_cut_off_towards_the_past() -> None:
    moments = [EPOCH + timedelta(microseconds=us) for us in (1_999, -1, -1_001)]

    read = ours().get_loader(OIDS["timestamptz"], Format.BINARY).load(wire_of_psycopg("timestamptz", moments))

    assert read.tolist() == [1, -1, -2]


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("int2", 2**15),
        ("int2", -(2**15) - 1),
        ("int4", 2**31),
        ("int8", 0.5),
        ("int4", math.inf),
    ],
)
def test_a_number_that_does_not_fit_is_never_sent_as_another(element: str, value: float) -> None:
    with pytest.raises(OverflowError, match=f"a value does not fit {element}"):
        pg_array(element, [value])


byte_strings = st.lists(st.binary())
rows_of_bytes = st.integers(0, 20).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=1))


@given(byte_strings)
def test_byte_strings_of_any_length_are_read_by_psycopg(values: list[bytes]) -> None:
    sent = pg_bytea_array(values)

    assert Transformer().get_loader(sent.array_oid, Format.BINARY).load(sent.wire) == values


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_texts_of_any_kind_are_read_by_psycopg(values: list[str]) -> None:
    sent = pg_text_array([*values, *values])

    assert Transformer().get_loader(sent.array_oid, Format.BINARY).load(sent.wire) == [*values, *values]


@given(rows_of_bytes)
def test_byte_strings_of_one_length_are_written_alike(values: list[bytes]) -> None:
    matrix = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)

    assert pg_rows_of_bytes(matrix) == pg_bytea_array(values)


def test_each_array_is_sent_under_its_own_type() -> None:
    transformer = ours()
    sent: list[PgArray] = [pg_array("int2", [1]), pg_array("uuid", np.zeros((1, 16), np.uint8)), pg_bytea_array([b""])]

    assert [transformer.get_dumper(value, PyFormat.AUTO).oid for value in sent] == [1005, 2951, 1001]


def test_a_uuid_is_its_sixteen_bytes_in_order() -> None:
    key = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")

    sent = pg_array("uuid", np.arange(16, dtype=np.uint8).reshape(1, 16))

    assert Transformer().get_loader(2951, Format.BINARY).load(sent.wire) == [key]
