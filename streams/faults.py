"""Whose fault is it that Postgres did not take what it was given: the service's, ours, or that of the events?

The service is waited for; where the fault is ours, nothing can go on; events that are at fault become dead letters. An
error that says nothing is put down to the events, because only that can be made sure of: by trying without them.
"""

from __future__ import annotations

from typing import Literal

import psycopg

from driftline.errors import DriftlineError
from driftline.store.connection import SERVICE_TROUBLE

Fault = Literal["service", "ours", "events"]

_OURS = ("42", "3D", "3F")
"""Classes of Postgres's errors that no event can cause: a missing right, table, column, function or schema."""

_AMBIGUOUS = ("54", "XX")
"""Classes that look like trouble of the service but also come of what it is given, such as a value too large."""


def fault_of(error: Exception) -> Fault:
    """Tell whose fault an error is.

    Examples
    --------
    >>> [fault_of(error) for error in (OSError(), psycopg.errors.UndefinedTable(), OverflowError())]
    ['service', 'ours', 'events']
    """
    code = (error.sqlstate or "")[:2] if isinstance(error, psycopg.Error) else ""
    if code in _OURS:
        return "ours"
    return "service" if isinstance(error, SERVICE_TROUBLE) and code not in _AMBIGUOUS else "events"


def one_line(error: BaseException) -> str:
    r"""Write an error's type and the first line of its text; what is an error of ours says enough itself.

    Examples
    --------
    >>> one_line(ValueError("no\nmore")), one_line(KeyboardInterrupt()), one_line(DriftlineError("gone", where="t"))
    ('ValueError: no', 'KeyboardInterrupt', 't: gone')
    """
    if isinstance(error, DriftlineError):
        return error.problems[0]
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
