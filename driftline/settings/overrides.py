"""Which settings does the environment change?

`DRIFTLINE__SECTION__FIELD` sets one field. Case does not matter, and in a model's name everything but letters and
digits is written `_`. What is text (names, secrets, paths) is taken as it stands; everything else is read as YAML.
Invariants: a variable that names no setting is a problem, never ignored; a problem never quotes a value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from driftline.errors import problem_line
from driftline.settings.document import read_document
from driftline.settings.root import Settings
from driftline.settings.schema import allowed_keys, kind_at, kinds, nearest, plain
from driftline.settings.values import Keys, dotted

PREFIX = "DRIFTLINE__"


def apply_overrides(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Keys, str], list[str]]:
    """Write the overrides of an environment into the plain values of a configuration.

    Parameters
    ----------
    data : dict[str, Any]
        The values of the file; changed in place.
    environ : Mapping[str, str]
        The environment; only names that begin with `DRIFTLINE__` are looked at.

    Returns
    -------
    dict[Keys, str]
        For each setting that was changed, the variable that changed it.
    list[str]
        A line for each variable that could not be applied.
    """
    places: dict[Keys, str] = {}
    problems: list[str] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        try:
            keys = _find(variable, data)
            _write(data, keys, _read(environ[variable], kind_at(Settings, keys)))
            places[keys] = variable
        except _UnusableError as error:
            problems.append(problem_line(error.what, where=variable, remedy=error.remedy))
    return places, problems


class _UnusableError(Exception):
    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy


def _find(variable: str, data: dict[str, Any]) -> Keys:
    """Turn a variable's name into keys, word by word."""
    keys: Keys = ()
    words = variable.removeprefix(PREFIX).split("__")
    for position, word in enumerate(words):
        candidates = _candidates(keys, data)
        matches = [candidate for candidate in candidates if plain(candidate) == plain(word)]
        if matches[1:]:
            raise _UnusableError(f"fits {' and '.join(matches)}", "set it in the file")
        if not matches:
            raise _UnusableError("names no setting", _advice(keys, words[position:], candidates))
        keys = (*keys, matches[0])
    if candidates := _candidates(keys, data):
        example = _variable((*keys, candidates[0]))
        raise _UnusableError("names a section, not a setting", f"add a field, such as {example}")
    return keys


def _advice(keys: Keys, words: list[str], candidates: list[str]) -> str:
    if near := nearest(words[0], candidates):
        return f"did you mean {_variable((*keys, near, *words[1:]))}?"
    if _are_named_by_the_file(kind_at(Settings, keys)):
        return f"the file's {dotted(keys)}: {', '.join(candidates) or 'none'}; a new one must stand there first"
    return f"known: {', '.join(candidates)}" if candidates else f"{_variable(keys)} has no fields"


def _candidates(keys: Keys, data: dict[str, Any]) -> list[str]:
    """Give what may stand below some keys; of models and versions only those that the file names."""
    kind = kind_at(Settings, keys)
    if get_origin(kind) is not dict:
        return list(allowed_keys(kind))
    if not _are_named_by_the_file(kind):
        return list(get_args(_named_by(kind)))
    named: Any = data
    for key in keys:
        named = named.get(key) if isinstance(named, dict) else None
    return list(named) if isinstance(named, dict) else []


def _are_named_by_the_file(kind: Any) -> bool:
    return get_origin(kind) is dict and get_origin(_named_by(kind)) is not Literal


def _named_by(kind: Any) -> Any:
    return next(kinds(get_args(kind)[0]))


def _read(text: str, kind: Any) -> Any:
    if kind in (str, SecretStr, Path) or get_origin(kind) is Literal:
        return text
    document = read_document(text)
    if document.problems:
        raise _UnusableError("its value is not valid YAML", "put it in quotes")
    return document.value


def _write(data: Any, keys: Keys, value: Any) -> None:
    """Put a value below its keys; where the file holds no mapping on the way, its own problem is reported instead."""
    for key in keys[:-1]:
        if data.get(str(key)) is None:
            data[str(key)] = {}
        data = data[str(key)]
        if not isinstance(data, dict):
            return
    data[str(keys[-1])] = value


def _variable(keys: Keys) -> str:
    return PREFIX + "__".join(plain(str(key)).upper() for key in keys)
