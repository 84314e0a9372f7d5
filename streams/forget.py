"""What is stored under one prediction id, and how does it go?

What can be found by the id is deleted: its rows, under the keyed digest that stands for it, and the messages of dead
letters in which it stands. Sums in which it was counted stay: nothing in them says whose they are. Invariants: all of
it or nothing; the audit tells what was done, and not for which id.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from uuid import UUID

from driftline.errors import ConfigurationError
from driftline.events import event_keys
from driftline.store.connection import Connection, bounded, row, rows, run
from retraining.by_hand import audit
from streams.decode.messages import Refused, parse_json
from streams.decode.values import text_of
from streams.sending.dead_letters import ARROW_BEGINS, NotKeptError, arrow_table


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much of what was erased."""

    predictions: int = 0
    labels: int = 0
    served_features: int = 0
    events_for_reference: int = 0
    dead_letters: int = 0


async def forget(
    connection: Connection, models: Iterable[str], any_model: bool, identity: str, secret: bytes, by: str, note: str
) -> Forgotten:
    """Erase what is stored of one prediction id.

    Parameters
    ----------
    models
        Of which models.
    any_model
        Whether dead letters of other models are looked through, too.
    secret
        The key with which ids are digested.

    Raises
    ------
    ConfigurationError
        If it can't be an id, or the note tells it.
    """
    text = text_of(identity)
    if text is None or not text:
        raise ConfigurationError("can't be an id", where="--prediction-id", remedy="give it as the events have it")
    if tells(note, text):
        raise ConfigurationError("tells the id, and is kept", where="--note", remedy="write it without")
    names = list(models)
    counts = {"predictions": 0, "labels": 0, "served_features": 0, "events_for_reference": 0}
    async with bounded(connection):
        for name in names:
            known = await row(connection, "known_model", name=name)
            if known is None:
                continue
            key = event_keys(name, [text], secret)[0].tobytes()
            of = {"model_id": known.model_id, "key": UUID(bytes=key)}
            counts["predictions"] += await run(connection, "forget_predictions", **of)
            counts["labels"] += await run(connection, "forget_labels", **of)
            counts["served_features"] += await run(connection, "forget_served_features", **of)
            counts["events_for_reference"] += await _forget_for_reference(connection, known.model_id, key.hex())
        letters = await _telling_letters(connection, names, any_model, text)
        await run(connection, "empty_dead_letters", ids=letters)
        done = Forgotten(**counts, dead_letters=len(letters))
        await audit(connection, by, "forget_prediction", ", ".join(names), asdict(done) | {"note": note})
    return done


async def _forget_for_reference(connection: Connection, model_id: int, key: str) -> int:
    """Take an id out of the events that are kept until a reference is complete."""
    forgotten = 0
    for item in await rows(connection, "warm_up_to_forget", model_id=model_id):
        document = json.loads(zlib.decompress(item.content))
        kept = [place for place, other in enumerate(document["key"]) if other != key]
        gone = len(document["key"]) - len(kept)
        if gone and kept:
            rest = {name: [values[place] for place in kept] for name, values in document.items()}
            content = zlib.compress(json.dumps(rest).encode(), 1)
            await run(connection, "rewrite_warm_up", warm_up_id=item.warm_up_id, n=len(kept), content=content)
        elif gone:
            await run(connection, "drop_warm_up", warm_up_id=item.warm_up_id)
        forgotten += gone
    return forgotten


async def _telling_letters(connection: Connection, models: list[str], any_model: bool, text: str) -> list[int]:
    escaped = json.dumps(text)[1:-1]
    found = await rows(
        connection,
        "dead_letters_that_may_tell",
        models=models,
        any_model=any_model,
        text=text.encode(),
        arrow_begins=ARROW_BEGINS,
        escaped=escaped.encode(),
        escaped_text=escaped,
    )
    return [
        item.dead_letter_id
        for item in found
        if tells(item.detail, text, escaped) or payload_tells(bytes(item.payload or b""), text, escaped)
    ]


def payload_tells(payload: bytes, text: str, escaped: str) -> bool:
    r"""Say whether a value of a message is this text; where the message can't be read, whether it stands in it.

    Examples
    --------
    >>> payload_tells(b'{"id": 17, "x": 1}', "17", "17"), payload_tells(b'{"id": 170}', "17", "17")
    (True, False)
    >>> payload_tells(b'{"id": "17", "x', "17", "17"), payload_tells(b"\xff 17", "17", "17")
    (True, True)
    """
    if payload.startswith(ARROW_BEGINS):
        try:
            waiting = [column.to_pylist() for column in arrow_table(payload).columns]
        except (NotKeptError, ValueError):
            return text.encode() in payload  # Texts lie side by side in it, so nothing says where one ends.
    else:
        try:
            waiting = [parse_json(payload)]
        except Refused:
            return tells(payload.decode("utf-8", "replace"), text, escaped)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif text_of(value) == text:
            return True
    return False


def tells(words: str, *texts: str) -> bool:
    """Say whether one of the texts stands in these words, and not as a part of a longer one.

    Examples
    --------
    >>> tells("of id a-17.", "a-17"), tells("of id a-170", "a-17")
    (True, False)
    """
    return any(re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", words) for text in texts)
