"""What may a dead letter keep of its message? Pure functions."""

from __future__ import annotations

import orjson

from driftline.settings.services import Payloads
from streams.decode.messages import Refused, parse_json

_KINDS = {str: "text", int: "number", float: "number", bool: "boolean"}


def kept_payload(value: bytes, payloads: Payloads, bytes_max: int) -> bytes:
    r"""Return what is kept of a message, at most so many bytes.

    Examples
    --------
    >>> message = b'{"id": "ann@example.org", "x": [1, null]}'
    >>> kept_payload(message, "keep", 10), kept_payload(message, "none", 10)
    (b'{"id": "an', b'')
    >>> kept_payload(message, "redact", 100)
    b'{"id":"text","x":["number",null]}'
    """
    if payloads == "none":
        return b""
    return (value if payloads == "keep" else redacted(value))[:bytes_max]


def redacted(value: bytes) -> bytes:
    """Write a JSON document with the kinds of its values for the values; nothing of what is no JSON.

    Names of fields stay: they say what was wrong with the form. Of an array of events only the kinds are left, too.
    """
    try:
        return orjson.dumps(_kind_of(parse_json(value)))
    except (Refused, RecursionError, orjson.JSONEncodeError):
        return b""


def _kind_of(value: object) -> object:
    if isinstance(value, dict):
        return {name: _kind_of(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_kind_of(each) for each in value]
    return None if value is None else _KINDS[type(value)]
