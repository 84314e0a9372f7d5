"""What is one JSON value worth: as a text, as a number, as a time?

Invariants: nothing here raises for any value that JSON can hold; a value of the wrong type is never converted into one
of the right type, so a numeric feature sent as text is `other`, not a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from detectors.canonical import canonical
from driftline.events import MISSING, OTHER, Coded, Numeric

TEXT_BYTES_MAX = 256
"""Bytes of a category, class, label, version, variant or segment; what is longer is unusable."""

REMEMBERED_TEXTS_MAX = 8192
"""Values whose canonical text is remembered, because most come again and again."""

TIME_MS_MIN = -62_135_596_800_000  # 0001-01-01
TIME_MS_MAX = 253_402_300_799_999  # 9999-12-31

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_SECOND = r":[0-5][0-9](?:\.[0-9]+)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])"
_RFC3339 = re.compile(rf"{_DAY}[Tt ]{_MINUTE}{_SECOND}{_OFFSET}")
_FILE_TIME = re.compile(rf"{_DAY}(?:[Tt ]{_MINUTE}(?:{_SECOND})?{_OFFSET}?)?")
_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")
_SCALARS = (str, bool, int, float)


def text_of(value: Any) -> str | None:
    r"""Return the canonical text of a scalar, or None if it cannot stand for a category.

    Objects, arrays, null, numbers that are not finite, texts of more than `TEXT_BYTES_MAX` bytes, and texts that
    Postgres cannot hold (a NUL or half a surrogate pair) are unusable.

    Examples
    --------
    >>> text_of(1.0), text_of("True"), text_of([1]), text_of("a\0b")
    ('1', 'true', None, None)
    """
    if type(value) not in _SCALARS or (type(value) is str and len(value) > TEXT_BYTES_MAX):
        return None
    return _text_of(value)


@lru_cache(REMEMBERED_TEXTS_MAX, typed=True)
def _text_of(value: Any) -> str | None:
    try:
        text = canonical(value)
        usable = "\0" not in text and len(text.encode()) <= TEXT_BYTES_MAX
    except ValueError:
        return None
    return text if usable else None


def number_of(value: object) -> float:
    """Return a finite number as a float, and NaN for everything else: a bool or a numeric text is not a number."""
    if type(value) is not float and type(value) is not int:
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def time_ms(value: object) -> int | None:
    """Return an event's time in milliseconds since 1970, or None if it is not a valid one.

    Parameters
    ----------
    value
        RFC 3339 text with an offset, or whole epoch milliseconds. Fractions of a millisecond are cut off.

    Examples
    --------
    >>> time_ms("1970-01-01T01:00:00.0019+01:00"), time_ms(1.0), time_ms("1970-01-01T00:00:00"), time_ms(True)
    (1, 1, None, None)
    """
    if type(value) is str:
        return _parse_ms(value) if _RFC3339.fullmatch(value) else None
    if type(value) is int or (type(value) is float and value.is_integer()):
        return _bounded_ms(int(value))
    return None


def file_time_ms(value: object) -> int | None:
    """Return the time of a row of a file, or of an argument: like `time_ms`, but seconds or all of the clock may lack.

    Without an offset it is UTC.

    Examples
    --------
    >>> file_time_ms("1970-01-01 00:00:01"), file_time_ms("1970-01-02"), file_time_ms("2000")
    (1000, 86400000, 2000)
    >>> file_time_ms("1970-01-01T00:01Z"), file_time_ms("1970-01-01 24:00")
    (60000, None)
    """
    if type(value) is str:
        whole = _WHOLE.fullmatch(value)
        if whole:
            return _bounded_ms(int(whole[1]))
        return _parse_ms(value) if _FILE_TIME.fullmatch(value) else None
    if isinstance(value, datetime):
        return _since_epoch_ms(value)
    if isinstance(value, date):
        return _since_epoch_ms(datetime(value.year, value.month, value.day))
    return time_ms(value)


def numeric_column(values: Sequence[object]) -> Numeric:
    """Make a column of numbers: None is missing, what is not a finite number is other.

    Examples
    --------
    >>> numeric_column([1, 2.5, None, "3"])
    Numeric(values=array([1. , 2.5, nan, nan]), missing=array([False, False,  True, False]))
    """
    types = set(map(type, values))
    missing = np.zeros(len(values), np.bool_)
    if type(None) in types:
        missing = np.fromiter((value is None for value in values), np.bool_, len(values))
    if types <= {float, int, type(None)}:
        try:
            numbers = np.array(values, np.float64)
        except OverflowError:
            pass
        else:
            return Numeric(np.where(np.isfinite(numbers), numbers, np.nan), missing)
    return Numeric(np.fromiter(map(number_of, values), np.float64, len(values)), missing)


def coded_column(values: Sequence[object]) -> Coded:
    """Make a column of texts: None is missing, what has no canonical text is other.

    Examples
    --------
    >>> coded_column(["a", None, 1, 1.0, {}])
    Coded(codes=array([ 0, -1,  1,  1, -2], dtype=int32), values=('a', '1'))
    """
    index: dict[str, int] = {}
    codes = np.empty(len(values), np.int32)
    for row, value in enumerate(values):
        text = text_of(value)
        codes[row] = index.setdefault(text, len(index)) if text is not None else MISSING if value is None else OTHER
    return Coded(codes, tuple(index))


def _parse_ms(text: str) -> int | None:
    try:
        return _since_epoch_ms(datetime.fromisoformat(text.upper()))
    except ValueError:  # the 31st of February
        return None


def _since_epoch_ms(moment: datetime) -> int | None:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _bounded_ms((aware - _EPOCH) // _MILLISECOND)


def _bounded_ms(ms: int) -> int | None:
    return ms if TIME_MS_MIN <= ms <= TIME_MS_MAX else None
