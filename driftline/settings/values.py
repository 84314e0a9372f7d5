"""How are durations, paths and classes written in a configuration, and what do they become?

Every section is a frozen pydantic model that refuses keys it does not know. A duration is written with its unit (`90s`)
and becomes whole milliseconds; the attribute carries the unit in its name (`length_ms`), the key does not (`length`).
A relative path becomes one below the folder of the configuration file. The functions here are pure.
"""

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
AUTO: Any = "auto"
"""What is written where the value is to be derived from others."""

DURATION_MS_MAX = 36_500 * UNITS_MS["d"]  # a century: beyond it, sums of times leave what Postgres can store

Keys = tuple[str | int, ...]
"""The way down to a setting: keys of mappings and indexes of lists, as they are written in the file."""

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error.

    Inputs are hidden in pydantic's own messages, because an input may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def parse_duration_ms(value: object) -> int:
    """Read a duration such as `250ms`, `10s`, `1.5h` or `30d`.

    Parameters
    ----------
    value : object
        What stands in the file.

    Returns
    -------
    int
        Whole milliseconds, 0 to a century.

    Raises
    ------
    ValueError
        Without a unit, with a fraction of a millisecond, or beyond a century.

    Examples
    --------
    >>> parse_duration_ms("1.5h")
    5400000
    """
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a number with a unit (ms, s, m, h or d), such as 10s or 1.5h")
    duration_ms = Fraction(match[1]) * UNITS_MS[match[2]]
    if duration_ms.denominator != 1:
        raise ValueError("must be a whole number of milliseconds")
    if duration_ms > DURATION_MS_MAX:
        raise ValueError(f"must be at most {format_duration(DURATION_MS_MAX)}")
    return int(duration_ms)


def format_duration(duration_ms: int) -> str:
    """Write milliseconds the way they are written in the file, in the largest unit that stays whole.

    Examples
    --------
    >>> format_duration(5_400_000), format_duration(86_400_000), format_duration(0)
    ('90m', '1d', '0s')
    """
    if duration_ms == 0:
        return "0s"
    unit = next(unit for unit in reversed(UNITS_MS) if duration_ms % UNITS_MS[unit] == 0)
    return f"{duration_ms // UNITS_MS[unit]}{unit}"


def canonical_class(value: object) -> str:
    """Write a class as the text by which it is compared with predictions and labels.

    The rule is that of `detectors.canonical`, which this layer may not import; a test holds the two together.

    Raises
    ------
    ValueError
        If the value is neither text nor a finite number nor a boolean.

    Examples
    --------
    >>> [canonical_class(value) for value in (True, "True", 1.0, "1.0", "01", "fraud")]
    ['true', 'true', '1', '1', '01', 'fraud']
    """
    if isinstance(value, str):
        return _canonical_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    raise ValueError("must be a text, a finite number, true or false")


def _canonical_text(text: str) -> str:
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return text
    return "0" if whole[1] == "-0" else whole[1]


def dotted(keys: Keys) -> str:
    """Write the way down to a setting.

    Examples
    --------
    >>> dotted(("models", "fraud", "segments", 0))
    'models.fraud.segments.0'
    """
    return ".".join(map(str, keys))


def below_the_configuration(path: Path, info: ValidationInfo) -> Path:
    """Resolve a relative path against the folder of the configuration file, if there is one."""
    return Path(info.context["folder"], path) if info.context else path


def refuse(problems: Iterable[tuple[Keys, str]]) -> None:
    """Raise for every problem at once, each at its own place below the value that is being checked; or for none.

    Parameters
    ----------
    problems : Iterable[tuple[Keys, str]]
        The keys down to what is wrong, and what is wrong with it.
    """
    errors: list[InitErrorDetails] = [
        InitErrorDetails(type=PydanticCustomError("setting", "{text}", {"text": text}), loc=keys, input=None)
        for keys, text in problems
    ]
    if errors:
        raise ValidationError.from_exception_data("settings", errors)


def refuse_value(text: str) -> NoReturn:
    """Raise for the value that is being checked itself."""
    raise PydanticCustomError("setting", "{text}", {"text": text})


def unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a list that names something twice."""
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        refuse_value(f"names {', '.join(repeated)} more than once")
    return values


DurationMs = Annotated[int, BeforeValidator(parse_duration_ms)]
FilePath = Annotated[Path, AfterValidator(below_the_configuration)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Unique = AfterValidator(unique)
