"""When are two categories, classes, labels or ids the same? When their canonical texts are.

Files and JSON disagree on how they spell one value (``1``, ``1.0``, ``"1"``; ``true``, ``"True"``). Everything that is
compared by equality goes through `canonical` first. The function is idempotent, so text may pass through it twice.
"""

import math
import re

import numpy as np

_BOOLEANS = {"true": "true", "True": "true", "TRUE": "true", "false": "false", "False": "false", "FALSE": "false"}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<inexact>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")


def canonical(value: str | int | float | bool | np.generic) -> str:
    """Return the one text that stands for `value` wherever values are compared.

    Parameters
    ----------
    value
        A JSON scalar or its numpy counterpart. Text that is a plain JSON number is taken as that number; any other
        text, such as one with leading zeros or blanks, stands for itself.

    Returns
    -------
    str
        ``"true"`` or ``"false"``; the exact digits of an integer of any size; the shortest round-trip text of a
        fraction; otherwise the text unchanged.

    Raises
    ------
    ValueError
        If `value` is NaN or infinite: those are missing or wrong, never a category.

    Examples
    --------
    >>> [canonical(value) for value in (1, 1.0, "1", "1.0", True, "True", "01", -0.0)]
    ['1', '1', '1', '1', 'true', 'true', '01', '0']
    """
    scalar: object = value.item() if isinstance(value, np.generic) else value
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    if isinstance(scalar, int):
        return str(scalar)
    if isinstance(scalar, float):
        return _canonical_float(scalar)
    return _canonical_text(str(scalar))


def _canonical_float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value!r} has no canonical text")
    return str(int(value)) if value.is_integer() else repr(value)


def _canonical_text(text: str) -> str:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    if not number["inexact"]:
        return "0" if text == "-0" else text
    parsed = float(text)
    # A number beyond double precision's range is not a number any producer could have sent: it is an id.
    return _canonical_float(parsed) if math.isfinite(parsed) else text
