"""What stands at the head of a data file? Parquet, CSV and JSON lines, all as one flat table.

Invariants: never more than `HEAD_BYTES_MAX` of text or `ROWS_MAX` rows are kept; nested objects become columns with
dotted names, as `columns` of the configuration names them.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from driftline.errors import InputError

ROWS_MAX = 100_000
HEAD_BYTES_MAX = 32 * 1024 * 1024
NULL_TEXTS = ["", "NaN", "nan", "null", "NULL"]


def read_sample(path: Path) -> pa.Table:
    """Read the first rows of a data file.

    Parameters
    ----------
    path : Path
        Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`).

    Returns
    -------
    pyarrow.Table
        1 to `ROWS_MAX` rows, without nested or dictionary types.

    Raises
    ------
    InputError
        If there is no such file, it is of another kind, empty, or broken.
    """
    if not path.is_file():
        what = "is a folder, not a data file" if path.is_dir() else "there is no such file"
        raise InputError.in_file(path, what)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError.in_file(path, "is no data file by its name", remedy=f"known: {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise InputError.in_file(path, "is empty")
    try:
        table = _flat(read(path).slice(0, ROWS_MAX))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError.in_file(path, f"cannot be read as {path.suffix}: {reason}") from None
    if table.num_rows == 0:
        raise InputError.in_file(path, "has no rows")
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise InputError.in_file(path, f"has more than one column called {', '.join(repeated)}")
    return table


def _read_parquet(path: Path) -> pa.Table:
    with pyarrow.parquet.ParquetFile(path) as file:
        return pa.Table.from_batches(islice(file.iter_batches(ROWS_MAX), 1), file.schema_arrow)


def _read_csv(path: Path) -> pa.Table:
    guessed = _csv_head(path, {})
    texts = _csv_head(path, dict.fromkeys(guessed.column_names, pa.string()))
    for index, name in enumerate(guessed.column_names):
        # A leading zero makes a code, such as a postal one, of what would be a number.
        if pc.any(pc.match_substring_regex(texts.column(index), "^[+-]?0[0-9]")).as_py():
            guessed = guessed.set_column(index, name, texts.column(index))
    return guessed


def _csv_head(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    with pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(block_size=HEAD_BYTES_MAX),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types, null_values=NULL_TEXTS, strings_can_be_null=True
        ),
    ) as reader:
        return pa.Table.from_batches(islice(reader, 1), reader.schema)


def _read_json_lines(path: Path) -> pa.Table:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES_MAX)
    whole = head if len(head) < HEAD_BYTES_MAX else head[: head.rfind(b"\n") + 1]
    return pyarrow.json.read_json(pa.BufferReader(whole), pyarrow.json.ReadOptions(block_size=HEAD_BYTES_MAX))


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def _flat(table: pa.Table) -> pa.Table:
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return pa.table([pc.cast(column, _plain(column.type)) for column in table.columns], names=table.column_names)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Choose the type in which a column is looked at: one for each kind of value."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind
