"""Which request to retrain does a Kafka message hold? CloudEvents 1.0 in structured JSON, and nothing else.

Invariants: no bytes whatever raise anything but `Unusable`; what becomes a name of a file or a variable is safe as one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retraining.requests import REQUESTED

ID_BYTES_MAX = 512
NAME_CHARACTERS_MAX = 1_000
VARIABLE_CHARACTERS_MAX = 4_000

_SAFE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class Unusable(Exception):  # noqa: N818 - it is a verdict on a message, not an error of the program
    """A message that is no usable request; its text says why."""


@dataclass(frozen=True, slots=True)
class RetrainingRequest:
    """A request to retrain one model.

    Parameters
    ----------
    request_id
        The event's id: what repeats of the request have in common.
    episode_id, version
        None, or `*`, where the event does not tell.
    data
        The event's own fields, see `docs/contracts.md`.
    body
        The whole event as it came.
    """

    request_id: str
    episode_id: str | None
    model: str
    version: str
    data: Mapping[str, Any]
    body: bytes


def read_request(value: bytes | None) -> RetrainingRequest | None:
    """Read one message; None if it is an event of another type.

    Raises
    ------
    Unusable
        If it is no CloudEvent, or lacks an id or a model.

    Examples
    --------
    >>> event = {"specversion": "1.0", "type": REQUESTED, "id": "r1", "data": {"model": "churn", "version": "7"}}
    >>> request = read_request(json.dumps(event).encode())
    >>> request.request_id, request.model, request.version
    ('r1', 'churn', '7')
    """
    try:
        event = json.loads((value or b"").decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unusable("it is not JSON") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise Unusable("it is no CloudEvent: expected a JSON object with a type")
    if event["type"] != REQUESTED:
        return None
    data = event.get("data")
    if not isinstance(data, dict):
        raise Unusable("data: expected an object")
    return RetrainingRequest(
        _text("id", event.get("id"), ID_BYTES_MAX),
        data["episode_id"] if isinstance(data.get("episode_id"), str) else None,
        _text("data.model", data.get("model"), NAME_CHARACTERS_MAX),
        _text("data.version", data.get("version", "*"), NAME_CHARACTERS_MAX),
        data,
        value or b"",
    )


def _text(name: str, value: object, bytes_max: int) -> str:
    if not isinstance(value, str) or not value:
        raise Unusable(f"{name}: expected a text")
    try:
        if len(value.encode()) > bytes_max:
            raise Unusable(f"{name}: expected at most {bytes_max} bytes")
    except UnicodeEncodeError:
        raise Unusable(f"{name}: expected Unicode text") from None
    if not value.isprintable():
        raise Unusable(f"{name}: expected printable characters")
    return value


def file_name(text: str) -> str:
    """Give a text a file name of its own.

    Examples
    --------
    >>> file_name("3f8a"), file_name("../x")[0], file_name("A") == file_name("a")
    ('3f8a', '=', False)
    """
    if _SAFE.fullmatch(text):
        return text
    return f"={hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def environment(request: RetrainingRequest, attempt: int, request_file: str) -> dict[str, str]:
    """Name what a command wants to know of its request; never part of the command itself."""
    lineage = _object(request.data.get("lineage"))
    window = _object(lineage.get("recommended_window"))
    told = {
        "REQUEST_ID": request.request_id,
        "REQUEST_FILE": request_file,
        "EPISODE_ID": request.episode_id,
        "MODEL": request.model,
        "VERSION": request.version,
        "KIND": request.data.get("kind"),
        "SEVERITY": request.data.get("severity"),
        "REGISTRY_URI": lineage.get("registry_uri"),
        "DATA_VERSION": lineage.get("data_version"),
        "TRAIN_FROM": window.get("from"),
        "TRAIN_TO": window.get("to"),
        "ATTEMPT": str(attempt),
    }
    return {f"DRIFTLINE_{name}": _variable(value) for name, value in told.items() if isinstance(value, str)}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _variable(text: str) -> str:
    """Environment variables hold no NUL, no lone surrogates, and together not much."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return clean[:VARIABLE_CHARACTERS_MAX]
