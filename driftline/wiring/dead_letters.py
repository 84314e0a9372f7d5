"""What brings dead letters back is put together from: the store, the decoder, and the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftline.errors import ConfigurationError, StateError
from driftline.kafka_admin import no_such, topic_ids
from driftline.settings import Settings
from driftline.store.connection import Connection
from driftline.wiring.decoding import decoder_of
from driftline.wiring.references import file_profiles
from driftline.wiring.start import services
from streams.sending.dead_letters import (
    REPLAYED_AT_ONCE_MAX,
    Filter,
    Letter,
    find_letters,
    letters_of,
    prepared_message,
    send_again,
)
from streams.sending.publish import Publisher

_ANY_KEY = b"only the form is looked at"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of dead letters that were to come back.

    Parameters
    ----------
    left
        Those that can't, each with the reason.
    n_more
        How many others fit the filter, beyond what is done at once.
    """

    sent: Sequence[Letter]
    left: Sequence[tuple[Letter, str]]
    n_more: int


async def replay_letters(
    connection: Connection,
    settings: Settings,
    wanted: Sequence[int] | Filter,
    *,
    repaired: Path | None,
    by: str,
    note: str,
    again: bool,
) -> Replayed:
    """Send dead letters back to the topics they came from.

    Parameters
    ----------
    wanted
        Numbers of dead letters, of which all are sent or none; or what they have in common: then those that can't come
        back are left.
    repaired
        A file whose content is sent in the place of the one dead letter that is wanted.

    Raises
    ------
    ConfigurationError
        If one of the numbers is not there, was sent already, or can't be used by this configuration.
    StateError, ServiceUnavailableError
        If a topic is missing, or the broker does not take everything.
    """
    kafka, _ = services(settings)
    if isinstance(wanted, Filter):
        letters, n = await find_letters(connection, wanted, REPLAYED_AT_ONCE_MAX)
        letters.reverse()
    else:
        letters = await letters_of(connection, wanted)
        n = len(letters)
    content = None if repaired is None else await asyncio.to_thread(repaired.read_bytes)
    profiles = {name: file_profiles(settings, model) for name, model in settings.models.items()}
    inputs = {topic for model in settings.models for topic in settings.input_topics(model).values()}
    decoder = decoder_of(settings, profiles, _ANY_KEY, inputs)
    ready, left = [], []
    for letter in letters:
        message = prepared_message(decoder, letter, content)
        if letter.began_ms is not None and not again:
            message = f"{_done_already(letter)}; --again sends it once more"
        if isinstance(message, str):
            left.append((letter, message))
        else:
            ready.append((letter, message))
    if left and not isinstance(wanted, Filter):
        problems = [f"dead letter {letter.id}: {why}" for letter, why in left]
        raise ConfigurationError.of(problems)
    topics = list(dict.fromkeys(letter.topic for letter, _ in ready))
    there = await asyncio.to_thread(topic_ids, kafka.bootstrap_servers, topics, security=kafka.security)
    if missing := [topic for topic in topics if topic not in there]:
        raise StateError(no_such(missing), where=f"kafka at {kafka.bootstrap_servers}")
    publisher = Publisher(kafka)
    try:
        sent = await send_again(connection, ready, publisher.send, by, note, again=again)
    finally:
        publisher.close()
    return Replayed(sent, left, n - len(letters))


def _done_already(letter: Letter) -> str:
    if letter.replayed_ms is not None:
        return f"{letter.replayed_by} has sent it already"
    return f"{letter.replayed_by} began to send it, and nobody knows whether it arrived"
