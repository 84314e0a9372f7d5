"""`driftline episodes`: what went wrong, who looks after it, and who wants to hear no more of it for a while?"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from driftline.arguments import Duration, known_model, named_person
from driftline.settings import Settings, load_settings
from driftline.store.connection import Connection
from driftline.wiring.by_hand import store_of
from retraining.by_hand import Episode, Found, acknowledge, find_episodes, last_judged, snooze
from retraining.words import causes_in_words, retraining_in_words, time_in_words

T = TypeVar("T")

_config = click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
_by = click.option("--by", metavar="NAME", help="Who does it; by default the login name.")
_note = click.option("--note", default="", metavar="TEXT", help="Why; it is kept in the audit.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


@click.group("episodes")
def command() -> None:
    """List, acknowledge or snooze what went wrong.

    An episode opens when a model drifts, or falls below a floor of its performance, for several windows in a row; it
    closes by itself when the model is back to normal, or when its reference is replaced. ID is the beginning of an
    episode's id, as long as no other begins so.
    """


@command.command("list")
@_config
@click.option("--model", help="Only this model of the configuration.")
@click.option("--all", "closed_too", is_flag=True, help="Closed ones, too.")
@_json
def list_(config: Path, model: str | None, closed_too: bool, as_json: bool) -> None:
    """Show the open episodes, critical ones first.

    Of each: since when, the clearest causes, who looks after it, until when it is snoozed, how its retraining stands.
    """
    settings = load_settings(config, os.environ)
    if model is not None:
        known_model(model, settings.models)

    async def look(connection: Connection) -> tuple[Found, tuple[int | None, int | None]]:
        found = await find_episodes(connection, model=model, closed_too=closed_too)
        return found, await last_judged(connection)

    found, last = _with_store(settings, config, look)
    if as_json:
        click.echo(json.dumps({"episodes": [_as_json(episode) for episode in found.episodes], "n": found.n}))
    else:
        click.echo("\n".join(_as_text(found, model, closed_too, *last)))


@command.command("ack")
@click.argument("beginning", metavar="ID")
@_config
@_by
@_note
@_json
def ack(beginning: str, config: Path, by: str | None, note: str, as_json: bool) -> None:
    """Say that you look after the episode ID. The first one to say so stays; it goes on to be open."""
    settings, person = load_settings(config, os.environ), named_person(by)
    episode, changed = _with_store(settings, config, lambda store: acknowledge(store, beginning, person, note))
    already = "" if changed else " already"
    _tell(episode, changed, f"is{already} acknowledged by {episode.acknowledged_by}", as_json)


@command.command("snooze")
@click.argument("beginning", metavar="ID")
@click.option("--for", "for_ms", required=True, type=Duration(), help="How long from now, such as 6h; 0s wakes it.")
@_config
@_by
@_note
@_json
def snooze_(beginning: str, for_ms: int, config: Path, by: str | None, note: str, as_json: bool) -> None:
    """Alert nobody about the episode ID for a while. It still shows, and still closes when all is well."""
    settings, person = load_settings(config, os.environ), named_person(by)
    episode, changed = _with_store(settings, config, lambda store: snooze(store, beginning, for_ms, person, note))
    _tell(episode, changed, _snoozed(episode, changed, for_ms), as_json)


def _with_store(settings: Settings, config: Path, do: Callable[[Connection], Awaitable[T]]) -> T:
    async def go() -> T:
        async with store_of(settings, config, "episodes") as connection:
            return await do(connection)

    return asyncio.run(go())


def _tell(episode: Episode, changed: bool, what: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"episode": _as_json(episode), "changed": changed}))
    else:
        click.echo(f"{_subject(episode)} {what}")


def _subject(episode: Episode) -> str:
    return f"{episode.short_id}, {episode.kind} of {episode.model} {episode.version},"


def _snoozed(episode: Episode, changed: bool, for_ms: int) -> str:
    if not changed and episode.closed_ms is not None:
        do = "snooze" if for_ms > 0 else "wake"
        return f"is closed since {time_in_words(episode.closed_ms)}: there is nothing to {do}"
    return (
        "alerts again" if episode.snoozed_until_ms is None else f"is snoozed until {_minute(episode.snoozed_until_ms)}"
    )


def _minute(ms: int) -> str:
    return time_in_words(ms // 60_000 * 60_000)


def _as_json(episode: Episode) -> dict[str, Any]:
    return {
        "episode_id": episode.episode_id,
        "model": episode.model,
        "version": episode.version,
        "kind": episode.kind,
        "severity": episode.severity,
        "causes": list(episode.causes),
        "opened_at": _at(episode.opened_ms),
        "closed_at": _at(episode.closed_ms),
        "closed_as": episode.closed_as,
        "acknowledged_by": episode.acknowledged_by,
        "acknowledged_at": _at(episode.acknowledged_ms),
        "snoozed_until": _at(episode.snoozed_until_ms),
        "retraining": episode.retraining,
        "retraining_outcome": episode.retraining_outcome,
    }


def _at(ms: int | None) -> str | None:
    return None if ms is None else time_in_words(ms)


def _as_text(
    found: Found, model: str | None, closed_too: bool, closed_through_ms: int | None, last_closed_ms: int | None
) -> Iterator[str]:
    if not found.episodes:
        yield _nothing("" if model is None else f" of {model}", closed_too, closed_through_ms, last_closed_ms)
        return
    for episode in found.episodes:
        yield from _block(episode)
        yield ""
    if found.n > len(found.episodes):
        yield f"and {found.n - len(found.episodes)} more, closed earlier"
    loose = [episode for episode in found.episodes if episode.closed_ms is None and episode.acknowledged_by is None]
    if loose:
        yield f"`driftline episodes ack {loose[0].short_id}` says that you look after it."


def _nothing(of_model: str, closed_too: bool, closed_through_ms: int | None, last_closed_ms: int | None) -> str:
    if closed_through_ms is None:
        return (
            "No window was judged yet, so there is no episode. `driftline doctor` says whether anything is in the way."
        )
    judged = f"windows were judged up to {time_in_words(closed_through_ms)}"
    if closed_too or last_closed_ms is None:
        return f"There was no episode{of_model} yet: {judged}."
    closed = f"`--all` shows the closed ones, the last of {time_in_words(last_closed_ms)}"
    return f"No episode{of_model} is open: {judged}. {closed}."


def _block(episode: Episode) -> Sequence[str]:
    """Tell one episode in a few lines: what and since when, why, and who does what about it."""
    ended = "" if episode.closed_ms is None else f", {episode.closed_as} {time_in_words(episode.closed_ms)}"
    what = f"{episode.kind} of {episode.model} {episode.version}, since {time_in_words(episode.opened_ms)}{ended}"
    states = [f"acknowledged by {episode.acknowledged_by}" if episode.acknowledged_by else "nobody acknowledged it"]
    if episode.snoozed_until_ms is not None:
        states.append(f"snoozed until {_minute(episode.snoozed_until_ms)}")
    if episode.retraining is not None:
        states.append(f"retraining {retraining_in_words(episode.retraining, episode.retraining_outcome)}")
    below = [*causes_in_words(episode.causes), "; ".join(states)]
    return [f"{episode.short_id}  {episode.severity:<8}  {what}", *(f"          {line}" for line in below)]
