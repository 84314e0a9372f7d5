"""Postgres, where everything Driftline knows is kept.

Every statement stands in a `.sql` file under `queries/`, with a name and a line of purpose; `sql(name)` returns it. The
schema is the sum of `migrations/`. Connections made here speak UTC and know numpy columns (`driftline.store.arrays`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import LiteralString

_NAME = re.compile(r"^-- name: (\w+)\n-- (.+)\n", re.MULTILINE)


@cache
def statements() -> Mapping[str, str]:
    """Return all statements by name.

    Examples
    --------
    >>> "lock_offset" in statements()
    True
    """
    return statements_in(resources.files(__package__).joinpath("queries"))


def statements_in(folder: Traversable) -> Mapping[str, str]:
    """Read the statements of a folder's files, by name.

    Raises
    ------
    ValueError
        If two statements share a name.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        pieces = _NAME.split(file.read_text("utf-8"))
        for name, _purpose, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            if name in found:
                raise ValueError(f"two statements are named {name}")
            found[name] = text.strip().rstrip(";")
    return MappingProxyType(found)


def sql(name: str) -> LiteralString:
    """Return the statement of that name; it comes from our own files only, never from data."""
    return statements()[name]
