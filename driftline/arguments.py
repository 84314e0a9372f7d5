"""What may stand on the command line beside plain texts: durations, times, a person's name; and how a model is named.

Durations are written as in the configuration; a time without an offset is UTC.
"""

from __future__ import annotations

import getpass
import math
from collections.abc import Iterable
from difflib import get_close_matches

import click

from driftline.errors import ConfigurationError
from driftline.settings import parse_duration_ms
from streams.decode.values import file_time_ms


class Duration(click.ParamType):
    """A duration such as 250ms, 10s, 5m, 1h or 30d, in milliseconds; 0s only where there may be none."""

    name = "duration"

    def __init__(self, *, may_be_zero: bool = True) -> None:
        self.may_be_zero = may_be_zero

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn text into milliseconds."""
        if isinstance(value, int):
            return value
        try:
            duration_ms = parse_duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not duration_ms and not self.may_be_zero:
            self.fail(f"{value!r} must be longer than 0s", param, ctx)
        return duration_ms


class Number(click.FloatRange):
    """A number within bounds; `nan`, which is beyond none of them, is no number."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn text into a number."""
        if math.isnan(number := super().convert(value, param, ctx)):
            self.fail(f"{value!r} is no number", param, ctx)
        return float(number)


class Time(click.ParamType):
    """A moment such as 2016-01-01T00:00:00Z, in milliseconds since 1970 UTC; without an offset it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn text into milliseconds since 1970 UTC."""
        if isinstance(value, int):
            return value
        moment = file_time_ms(value)
        if moment is None:
            self.fail(f"{value!r} is no time such as 2016-01-01T00:00:00Z", param, ctx)
        return moment


def named_person(name: str | None) -> str:
    """Return who does this: the given name, else the login name.

    Raises
    ------
    ConfigurationError
        If there is neither.
    """
    try:
        person = getpass.getuser() if name is None else name.strip()
    except (OSError, KeyError):  # a container's user often has no name
        person = ""
    if not person:
        raise ConfigurationError("nobody is named", where="--by", remedy="say who you are: --by NAME")
    return person


def known_model(name: str, models: Iterable[str]) -> str:
    """Return the name of a model that the configuration has.

    Raises
    ------
    ConfigurationError
        If it has none of that name; near ones are named.
    """
    known = list(models)
    if name in known:
        return name
    near = get_close_matches(name, known, 3) or known[:10]
    raise ConfigurationError(f"no model {name}", where="--model", remedy=f"the configuration has: {', '.join(near)}")
