"""Is this configuration usable, and if not, what exactly is wrong and where?

Invariants: everything that is wrong is reported at once, one line each, with file and line or the name of the variable;
nothing that may be a secret is in any of these lines, nor in the error's cause.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from driftline.errors import ConfigurationError, problem_line
from driftline.settings.document import Document, read_document
from driftline.settings.overrides import apply_overrides
from driftline.settings.root import Settings
from driftline.settings.schema import allowed_keys, as_written, is_secret, kind_at, kinds, nearest
from driftline.settings.values import Keys, Section, dotted

CONFIGURATION_BYTES_MAX = 4 * 1024 * 1024
SHOWN_CHARACTERS_MAX = 60

_WORDS = {
    "missing": "is required",
    "literal_error": "must be {expected}",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must be 1 to 249 of the characters A-Z a-z 0-9 . _ -",
    "path_type": "must be a path; put it in quotes",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must name at least one",
    "too_long": "must name at most {max_length}",
    "model_type": "must be a mapping, lines of `key: value`",
    "dict_type": "must be a mapping, lines of `key: value`",
    "tuple_type": "must be a list, such as [a, b]",
    "value_error": "{error}",
    "setting": "{text}",
}
_SHOW_INPUT = frozenset(_WORDS) - {"missing", "setting", "model_type", "dict_type", "tuple_type"}  # a URL is no section
_CONSEQUENCES = frozenset({"default_factory_not_called"})  # a default could not be derived from a field that is wrong


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Load and check one configuration file and the overrides of an environment.

    Parameters
    ----------
    path : Path
        The YAML file. Relative paths in it are resolved against its folder.
    environ : Mapping[str, str]
        The environment, as in `os.environ`; `DRIFTLINE__SECTION__FIELD` overrides a field.

    Returns
    -------
    Settings
        Frozen and checked.

    Raises
    ------
    ConfigurationError
        With one line for each thing that is wrong.
    """
    document = read_document(_read_text(path))
    problems = [(line, problem_line(text, where=f"{path}:{line}")) for line, text in document.problems]
    if document.value is None and problems:
        raise ConfigurationError.of([text for _, text in problems])
    data = {} if document.value is None else document.value
    if not isinstance(data, dict):
        raise ConfigurationError(_WORDS["dict_type"], where=f"{path}:1", remedy="begin with `models:`")
    variables, unusable = apply_overrides(data, environ)
    _fill_empty_sections(data, Settings)
    settings, errors = _validate(data, path.absolute().parent)
    problems += [_locate(error, path, document, variables) for error in errors if error["type"] not in _CONSEQUENCES]
    lines = [text for _, text in sorted(problems, key=lambda problem: problem[0])] + unusable
    if settings is None or lines:
        raise ConfigurationError.of(lines)
    return settings


def _validate(data: dict[str, Any], folder: Path) -> tuple[Settings | None, list[ErrorDetails]]:
    """Return the errors instead of raising from them: pydantic's own exception holds every input, secrets too."""
    try:
        return Settings.model_validate(data, context={"folder": folder}), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > CONFIGURATION_BYTES_MAX:
            raise ConfigurationError(
                f"is larger than {CONFIGURATION_BYTES_MAX // 1024**2} MiB", where=str(path), remedy="is it a data file?"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(
            "there is no such file", where=str(path), remedy="`driftline init FILE` writes one from a data file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError("is not UTF-8 text", where=str(path), remedy="is it a data file?") from None
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _fill_empty_sections(data: dict[str, Any], kind: Any, keys: Keys = ()) -> None:
    """Let a section with nothing under it mean its defaults."""
    for key, value in data.items():
        below = (*keys, key)
        child = kind_at(kind, below)
        if value is None and isinstance(child, type) and issubclass(child, Section):
            data[key] = {}
        elif isinstance(value, dict):
            _fill_empty_sections(value, kind, below)


def _locate(error: ErrorDetails, path: Path, document: Document, variables: dict[Keys, str]) -> tuple[int, str]:
    """Write one line for an error, and give the line of the file it is about (0 for a variable)."""
    keys = shown = tuple(key for key in error["loc"] if key != "[key]")
    if error["type"] != "extra_forbidden":
        shown = as_written(Settings, keys)
    elif re.search("[:@]", str(keys[-1])):
        shown = (*keys[:-1], "(hidden)")  # `password:secret` without its blank is one long key
    what = problem_line(_describe(error, shown), where=dotted(shown))
    ways = [keys[:length] for length in range(len(keys), -1, -1)]
    if variable := next((variables[way] for way in ways if way in variables), None):
        return 0, problem_line(what, where=variable)
    line = next((document.lines[way] for way in ways if way in document.lines), 1)
    return line, problem_line(what, where=f"{path}:{line}")


def _one_level_below(known: Mapping[str, FieldInfo], key: str) -> list[str]:
    """Say in which of the sections that are known here a key would be right."""
    sections = {section: kind for section, field in known.items() for kind in kinds(field.annotation)}
    return [f"{section}.{key}" for section, kind in sections.items() if key in allowed_keys(kind)]


def _describe(error: ErrorDetails, keys: Keys) -> str:
    if error["type"] == "extra_forbidden":
        known = allowed_keys(kind_at(Settings, keys[:-1]))
        near = nearest(str(keys[-1]), list(known))
        meant = [f"`{key}`" for key in ([near] if near else []) + _one_level_below(known, str(keys[-1]))]
        remedy = f"did you mean {' or '.join(meant)}?" if meant else f"known here: {', '.join(known)}"
        return problem_line("unknown key", remedy=remedy)
    context, given, remedy = error.get("ctx", {}), error["input"], ""
    if error["type"] == "literal_error":
        near = nearest(str(given), re.findall("'(.*?)'", context["expected"]))
        context, remedy = {"expected": context["expected"].replace("'", "")}, f"did you mean {near}?" if near else ""
    text = _WORDS[error["type"]].format(**context) if error["type"] in _WORDS else error["msg"]
    is_shown = error["type"] in _SHOW_INPUT and isinstance(given, str | int | float) and given != ""
    if is_shown and not is_secret(Settings, keys):
        text += f", not {str(given)[:SHOWN_CHARACTERS_MAX]}"
    return problem_line(text, remedy=remedy)
