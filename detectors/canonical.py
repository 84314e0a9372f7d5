"""When are two categories, classes, labels or ids the same? When their canonical texts are.

Files and JSON disagree on how they spell one value (``1``, ``1.0``, ``"1"``; ``true``, ``"True"``). Everything that is
compared by equality goes through `canonical` first. The function is idempotent, so text may pass through it twice.

Text is touched only where it spells a whole number without an exponent, or a truth value. Anything else that looks like
a number may be none: ``"1.10"`` is a version or a section and not ``"1.1"``, ``"12345e67"`` is a digest.
"""

import math
import re

import numpy as np

_BOOLEANS = {"true": "true", "True": "true", "TRUE": "true", "false": "false", "False": "false", "FALSE": "false"}
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")


def canonical(value: str | int | float | bool | np.generic) -> str:
    """Return the one text that stands for `value` wherever values are compared.

    Parameters
    ----------
    value
        A JSON scalar or its numpy counterpart. Text that is a whole number, be it with zeros behind the point, is taken
        as that number; any other text, such as one with leading zeros, blanks or an exponent, stands for itself.

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
    >>> [canonical(value) for value in (1, 1.0, "1", "1.0", True, "True", "01", -0.0, 1.10, "1.10")]
    ['1', '1', '1', '1', 'true', 'true', '01', '0', '1.1', '1.10']
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
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return text
    return "0" if whole[1] == "-0" else whole[1]
