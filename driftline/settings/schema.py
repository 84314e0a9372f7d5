"""Which keys may stand where? Read from the models themselves, for near misses, overrides and documentation."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from driftline.settings.values import Keys, Section


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """Give the fields of a section by the key that is written in the file."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def kinds(annotation: Any) -> Iterator[Any]:
    """Give the plain types an annotation allows: without None, unions and `Annotated`.

    Examples
    --------
    >>> list(kinds(str | None))
    [<class 'str'>]
    """
    if hasattr(annotation, "__metadata__"):
        yield from kinds(annotation.__origin__)
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from kinds(option)
    elif annotation is not type(None):
        yield annotation


def kind_at(section: type[Section], keys: Keys) -> Any:
    """Find the type that stands at some keys below a section; None where nothing may stand.

    Examples
    --------
    >>> from driftline.settings.services import KafkaSettings
    >>> kind_at(KafkaSettings, ("topics", "labels")), kind_at(KafkaSettings, ("topic",))
    (<class 'str'>, None)
    """
    kind: Any = section
    for key in keys:
        if section_keys := allowed_keys(kind):
            kind = next(kinds(section_keys[str(key)].annotation), None) if key in section_keys else None
        elif get_origin(kind) is dict:
            kind = next(kinds(get_args(kind)[1]), None)
        elif get_origin(kind) is tuple:
            kind = next(kinds(get_args(kind)[0]), None)
        else:
            return None
    return kind


def allowed_keys(kind: Any) -> dict[str, FieldInfo]:
    """Give the keys of a section; none for any other type."""
    return keys_of(kind) if isinstance(kind, type) and issubclass(kind, Section) else {}


def as_written(section: type[Section], keys: Keys) -> Keys:
    """Turn the last of some keys from an attribute's name into its key: a default that fails is told by its attribute.

    Examples
    --------
    >>> from driftline.settings.services import KafkaSettings
    >>> as_written(KafkaSettings, ("heartbeat_ms",))
    ('heartbeat',)
    """
    fields = allowed_keys(kind_at(section, keys[:-1]))
    return (
        *keys[:-1],
        next((key for key, field in fields.items() if field.alias and keys[-1] == f"{key}_ms"), keys[-1]),
    )


def is_secret(section: type[Section], keys: Keys) -> bool:
    """Whether what stands there must never be shown."""
    return kind_at(section, keys) is SecretStr


def nearest(word: str, known: Iterator[str] | list[str]) -> str | None:
    """Find the known word that was probably meant.

    Examples
    --------
    >>> nearest("lenght", ["slide", "length"])
    'length'
    """
    by_plain = {plain(candidate): candidate for candidate in known}
    matches = get_close_matches(plain(word), by_plain, n=1, cutoff=0.6)
    return by_plain[matches[0]] if matches else None


def plain(word: str) -> str:
    """Write a word in small letters, with `_` for everything but letters and digits.

    Examples
    --------
    >>> plain("Fraud-EU v2")
    'fraud_eu_v2'
    """
    return re.sub(r"[^a-z0-9]+", "_", word.lower())
