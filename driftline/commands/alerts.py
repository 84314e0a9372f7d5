"""`driftline alerts`: do the webhooks work?"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import click

from alerts.post import Answer
from driftline.errors import ConfigurationError, ServiceUnavailableError
from driftline.settings import WebhookSettings, load_settings
from driftline.settings.schema import nearest
from driftline.wiring.alerts import try_webhooks


@click.group("alerts")
def command() -> None:
    """Try the webhooks."""


@command.command("test")
@click.argument("name", required=False)
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a line for each webhook.")
@click.pass_context
def test(ctx: click.Context, name: str | None, config: Path, as_json: bool) -> None:
    """Send a signed test event to each webhook, or to the one called NAME.

    It is sent now and tried once, and what came of it is told. Exits with 4 if one of them did not take it.
    """
    webhooks = _chosen(config, load_settings(config, os.environ).alerts.webhooks, name)
    code = asyncio.run(_try(webhooks, as_json=as_json))
    ctx.exit(code)


def _chosen(config: Path, webhooks: dict[str, WebhookSettings], name: str | None) -> dict[str, WebhookSettings]:
    if not webhooks:
        what = "has no webhooks"
        raise ConfigurationError(what, where=str(config), remedy="add `alerts: {webhooks: {NAME: {url, secret}}}`")
    if name is None:
        return webhooks
    if name not in webhooks:
        near = nearest(name, list(webhooks))
        remedy = f"did you mean {near}?" if near else f"known: {', '.join(webhooks)}"
        raise ConfigurationError(f"there is no webhook {name}", where=str(config), remedy=remedy)
    return {name: webhooks[name]}


async def _try(webhooks: dict[str, WebhookSettings], *, as_json: bool) -> int:
    found: list[dict[str, object]] = []
    async for name, answer, ms in try_webhooks(webhooks):
        host = webhooks[name].host
        found.append({"webhook": name, "host": host, "delivered": answer.delivered, "ms": ms, "what": answer.what,
                      "remedy": answer.remedy})  # fmt: skip
        if not as_json:
            click.echo(_line(name, host, answer, ms))
    if as_json:
        click.echo(json.dumps({"webhooks": found}))
    return 0 if all(each["delivered"] for each in found) else ServiceUnavailableError.exit_code


def _line(name: str, host: str, answer: Answer, ms: int) -> str:
    if answer.delivered:
        return f"{name} ({host}): delivered in {ms} ms"
    return f"{name} ({host}): not delivered: {answer.what}; {answer.remedy}"
