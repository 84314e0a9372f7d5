"""`driftline dead-letters`: what could not be used, what did it say, and how does it come back once it can be?"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from driftline.arguments import Time, known_model, named_person
from driftline.errors import ConfigurationError
from driftline.events import DEAD_REASONS
from driftline.settings import Settings, load_settings
from driftline.store.connection import Connection
from driftline.wiring.by_hand import store_of
from driftline.wiring.dead_letters import Replayed, replay_letters
from retraining.words import time_in_words
from streams.sending.dead_letters import (
    LETTERS_SHOWN_MAX,
    REPLAYED_AT_ONCE_MAX,
    Filter,
    Letter,
    find_letters,
    letters_of,
    printable,
    readable,
)

T = TypeVar("T")

_config = click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def _filtered(function: Callable[..., None]) -> Callable[..., None]:
    """Take the options that say which dead letters are meant."""
    for option in (
        click.option("--since", "since_ms", type=Time(), help="Only those that came since then."),
        click.option("--topic", help="Only those of this topic."),
        click.option(
            "--reason",
            type=click.Choice(DEAD_REASONS),
            metavar="WORD",
            help="Only those with this reason, such as wrong_type.",
        ),
        click.option("--model", help="Only those of this model of the configuration."),
    ):
        function = option(function)
    return function


@click.group("dead-letters")
def command() -> None:
    """List, show or replay what could not be used.

    A dead letter is an event, or a whole message, that could not be counted, with the reason and its place in the log.
    ID is the number that `list` shows. How much of a message is kept: privacy.dead_letter_payloads and
    limits.dead_letter_payload_bytes_max.
    """


@command.command("list")
@_config
@_filtered
@click.option("--limit", "letters_max", default=LETTERS_SHOWN_MAX, show_default=True, type=click.IntRange(1, 100_000),
              help="At most so many, the newest.")  # fmt: skip
@_json
def list_(
    config: Path,
    model: str | None,
    reason: str | None,
    topic: str | None,
    since_ms: int | None,
    letters_max: int,
    as_json: bool,
) -> None:
    """Show what could not be used, the newest first: when, why, where, and whether it was sent again."""
    settings = load_settings(config, os.environ)
    wanted = _wanted(settings, model, reason, topic, since_ms)
    letters, n = _with_store(settings, config, lambda store: find_letters(store, wanted, letters_max))
    if as_json:
        click.echo(json.dumps({"dead_letters": [_as_json(letter) for letter in letters], "n": n}))
    else:
        click.echo("\n".join(_as_text(letters, n)))


@command.command("show")
@click.argument("number", metavar="ID", type=int)
@_config
@click.option("--raw", is_flag=True, help="Write the bytes that are kept of the message, and nothing else.")
@_json
def show(number: int, config: Path, raw: bool, as_json: bool) -> None:
    """Show one dead letter whole: reason, place, and what is kept of its message.

    `show ID --raw > event.json` begins a repair; `replay ID --file event.json` ends it.
    """
    settings = load_settings(config, os.environ)
    [letter] = _with_store(settings, config, lambda store: letters_of(store, [number]))
    if raw:
        sys.stdout.buffer.write(letter.payload)
    elif as_json:
        click.echo(json.dumps({"dead_letter": _as_json(letter) | _payload(letter)}))
    else:
        click.echo(_whole(letter, settings))


@command.command("replay")
@click.argument("numbers", metavar="[ID]...", nargs=-1, type=int)
@_config
@_filtered
@click.option("--file", "repaired", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="What to send instead of what is kept of the one dead letter ID.")  # fmt: skip
@click.option("--again", is_flag=True, help="Also what was sent already, or may have been.")
@click.option("--by", metavar="NAME", help="Who does it; by default the login name.")
@click.option("--note", default="", metavar="TEXT", help="Why; it is kept in the audit.")
@_json
def replay(
    numbers: tuple[int, ...],
    config: Path,
    model: str | None,
    reason: str | None,
    topic: str | None,
    since_ms: int | None,
    repaired: Path | None,
    again: bool,
    by: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Send dead letters back to the topic they came from: those with these numbers, or all that fit the filters.

    Each is first tried against the configuration: what would be a dead letter again is not sent. Of the numbers all are
    sent or none. An event keeps its id, so where labels are joined it counts once, however often it comes. What was
    sent is marked, and not sent a second time without --again.
    """
    settings, person = load_settings(config, os.environ), named_person(by)
    wanted: Sequence[int] | Filter = _wanted(settings, model, reason, topic, since_ms, fresh_only=not again)
    if bool(numbers) == (wanted != Filter(fresh_only=not again)):
        raise ConfigurationError("give either numbers of dead letters or filters", where="replay", remedy="see --help")
    if repaired is not None and len(numbers) != 1:
        raise ConfigurationError(
            "takes the place of one dead letter", where="--file", remedy="name its ID, and no other"
        )
    if numbers:
        wanted = sorted(set(numbers))
    done = _with_store(
        settings,
        config,
        lambda store: replay_letters(store, settings, wanted, repaired=repaired, by=person, note=note, again=again),
    )
    click.echo(_outcome_json(done) if as_json else _outcome(done))


def _wanted(
    settings: Settings,
    model: str | None,
    reason: str | None,
    topic: str | None,
    since_ms: int | None,
    *,
    fresh_only: bool = False,
) -> Filter:
    if model is not None:
        known_model(model, settings.models)
    return Filter(model, reason, topic, since_ms, fresh_only)


def _with_store(settings: Settings, config: Path, do: Callable[[Connection], Awaitable[T]]) -> T:
    async def go() -> T:
        async with store_of(settings, config, "dead-letters") as connection:
            return await do(connection)

    return asyncio.run(go())


def _place(letter: Letter) -> str:
    element = f", element {letter.element}" if letter.element else ""
    return f"{letter.topic}, partition {letter.partition}, offset {letter.offset}{element}"


def _state(letter: Letter) -> str:
    if letter.began_ms is None:
        return "not sent again"
    if letter.replayed_ms is None:
        began = f"begun to be sent again {time_in_words(letter.began_ms)} by {letter.replayed_by}"
        return f"{began}, not known to have arrived"
    return f"sent again {time_in_words(letter.replayed_ms)} by {letter.replayed_by}"


def _as_text(letters: Sequence[Letter], n: int) -> Iterator[str]:
    if not letters:
        yield "No dead letters."
        return
    for letter in letters:
        of = "" if letter.model is None else f" of {letter.model}"
        yield printable(f"{letter.id:>6}  {time_in_words(letter.at_ms)}  {letter.reason}{of}: {letter.detail}")
        state = "" if letter.began_ms is None else f"; {_state(letter)}"
        yield printable(f"        {_place(letter)}; {len(letter.payload)} bytes kept{state}")
    if n > len(letters):
        yield f"and {n - len(letters)} more, older; --limit shows more, filters fewer"
    yield "`driftline dead-letters show ID` shows one, `driftline dead-letters replay ID` sends it again."


def _whole(letter: Letter, settings: Settings) -> str:
    kept = f"{len(letter.payload)} bytes kept"
    if len(letter.payload) >= settings.limits.dead_letter_payload_bytes_max:
        kept += ", perhaps not all (limits.dead_letter_payload_bytes_max)"
    if not letter.payload:
        kept = "nothing is kept of it"
    lines = [
        f"dead letter {letter.id}",
        f"came    {time_in_words(letter.at_ms)}",
        f"reason  {letter.reason}: {letter.detail}",
        f"model   {letter.model or 'not known'}",
        f"place   {_place(letter)}",
        f"state   {_state(letter)}",
        f"message {kept}",
    ]
    text = printable("\n".join(lines))
    return f"{text}\n{readable(letter.payload)}" if letter.payload else text


def _payload(letter: Letter) -> dict[str, str]:
    try:
        return {"payload": letter.payload.decode("utf-8")}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(letter.payload).decode()}


def _as_json(letter: Letter) -> dict[str, Any]:
    return {
        "dead_letter_id": letter.id,
        "at": _at(letter.at_ms),
        "reason": letter.reason,
        "detail": letter.detail,
        "model": letter.model,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "element": letter.element,
        "payload_bytes": len(letter.payload),
        "published_at": _at(letter.published_ms),
        "replay_began_at": _at(letter.began_ms),
        "replayed_at": _at(letter.replayed_ms),
        "replayed_by": letter.replayed_by,
    }


def _at(ms: int | None) -> str | None:
    return None if ms is None else time_in_words(ms)


def _outcome(done: Replayed) -> str:
    lines = [f"sent again: {letter.id}, to {letter.topic}" for letter in done.sent]
    lines += [printable(f"left: {letter.id}: {why}") for letter, why in done.left]
    if done.n_more:
        lines.append(f"and {done.n_more} more: {REPLAYED_AT_ONCE_MAX} are sent at once; run it again")
    return "\n".join(lines or ["nothing to send again"])


def _outcome_json(done: Replayed) -> str:
    left = [{"dead_letter_id": letter.id, "why": why} for letter, why in done.left]
    return json.dumps({"replayed": [letter.id for letter in done.sent], "left": left, "n_more": done.n_more})
