"""`driftline forget`: what is stored under one prediction id is erased."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from driftline.arguments import known_model, named_person
from driftline.settings import Settings, load_settings
from driftline.wiring.by_hand import store_of
from streams.forget import Forgotten, forget
from streams.monitored import id_secret

STAYS = (
    "What stays: sums in which it was counted (windows, metrics, references), which name nobody; messages in Kafka and "
    "in backups, which end by their own retention. An event of it that comes again is stored again."
)


@click.command("forget")
@click.option(
    "--prediction-id",
    "identity",
    required=True,
    metavar="ID",
    help="The id, as the events have it; - reads it from standard input, and no list of processes shows it.",
)
@click.option("--model", help="Only of this model of the configuration; by default of all.")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--by", metavar="NAME", help="Who does it; by default the login name.")
@click.option("--note", default="", metavar="TEXT", help="Why; it is kept in the audit, so leave the id out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(identity: str, model: str | None, config: Path, by: str | None, note: str, as_json: bool) -> None:
    """Erase what is stored under one prediction id, for good.

    Deletes its predictions, labels and features, and empties the dead letters in which the id stands. What was counted
    can't be taken out of sums any more. The audit says that something was erased, by whom and how much, not for which
    id.
    """
    settings, person = load_settings(config, os.environ), named_person(by)
    models = list(settings.models) if model is None else [known_model(model, settings.models)]
    wanted = sys.stdin.readline().strip() if identity == "-" else identity
    done = asyncio.run(_forget(settings, config, models, model is None, wanted, person, note))
    click.echo(json.dumps(asdict(done)) if as_json else _as_text(done))


async def _forget(
    settings: Settings, config: Path, models: list[str], any_model: bool, identity: str, by: str, note: str
) -> Forgotten:
    async with store_of(settings, config, "forget") as connection:
        secret = await id_secret(connection, settings)
        return await forget(connection, models, any_model, identity, secret, by, note)


def _as_text(done: Forgotten) -> str:
    if not any(asdict(done).values()):
        return f"Nothing is stored under this id.\n{STAYS}"
    told = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in asdict(done).items())
    return f"Erased: {told}.\n{STAYS}"
