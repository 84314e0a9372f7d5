"""Messages as an evaluation leaves them in the outbox, and receivers that people run for webhooks."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook

from alerts.deliveries import Deliverer
from driftline.settings import WebhookSettings
from driftline.store.connection import Connection, the_row

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DETECTED, RECOVERED = "driftline.drift.detected", "driftline.drift.recovered"


Deliveries = Callable[..., Deliverer]
"""Makes a relay's part that delivers, to webhooks by name; `post` and `models` may be others than usual."""


def webhook(url: str, **settings: Any) -> WebhookSettings:
    """Configure a webhook."""
    return WebhookSettings.model_validate({"url": url, "secret": SECRET, "timeout": "10s", **settings})


async def tell(deliverer: Deliverer) -> None:
    """Do what a relay does in one round."""
    await deliverer.fan_out()
    await asyncio.gather(*map(deliverer.deliver, deliverer.webhooks))


async def last_errors(connection: Connection) -> list[str]:
    """Return why deliveries failed."""
    found = await connection.execute("select distinct last_error from driftline.delivery where last_error is not null")
    return [text for (text,) in await found.fetchall()]


def episode(name: str) -> uuid.UUID:
    """Give the id of the episode that a test calls so."""
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


async def say(
    connection: Connection,
    of: str,
    *types: str,
    topic: str = "drift",
    model: str = "m",
) -> list[str]:
    """Put messages of an episode into the outbox; return their ids."""
    ids = []
    for kind in types:
        event_id = f"{of}-{kind.removeprefix('driftline.')}"
        payload = {
            "specversion": "1.0",
            "id": event_id,
            "type": kind,
            "data": {"episode_id": str(episode(of)), "é": 0.1},
        }
        await connection.execute(
            "insert into driftline.outbox"
            " (event_id, type, topic, model, version, segment, episode_id, occurred_at, payload)"
            " values (%s, %s, %s, %s, 'v1', '*', %s, now(), %s)",
            [event_id, kind, topic, model, episode(of), Jsonb(payload)],
        )
        ids.append(event_id)
    return ids


async def open_episode(connection: Connection, name: str, *, snoozed_ms: int | None = None) -> None:
    """Write an episode, snoozed for so long from now if that is given."""
    model = await the_row(connection, "register_model", name="m", horizon_s=60, settings=Jsonb({}))
    await connection.execute(
        "insert into driftline.episode (episode_id, model_id, version, kind, severity, opened_at, snoozed_until)"
        " values (%s, %s, 'v1', 'drift', 'critical', now(), now() + make_interval(secs => %s / 1000.0))",
        [episode(name), model.model_id, snoozed_ms],
    )


async def states(connection: Connection, channel: str) -> dict[str, str]:
    """Return the state of all messages of a channel by id, with `@` and the webhook's name for deliveries."""
    found = await connection.execute(
        "select event_id || case channel when 'webhook' then '@' || destination else '' end, state"
        "  from driftline.v_deliveries where channel = %s",
        [channel],
    )
    return dict(await found.fetchall())


async def make_due(connection: Connection) -> None:
    """Let all that waits for its next attempt wait no longer."""
    await connection.execute("update driftline.outbox set next_attempt_at = now()")
    await connection.execute("update driftline.delivery set next_attempt_at = now()")


async def make_older(connection: Connection, seconds: int) -> None:
    """Let everything have been there for so much longer."""
    for table in ("outbox", "delivery"):
        await connection.execute(
            f"update driftline.{table} set created_at = created_at - make_interval(secs => %s)".encode(), [seconds]
        )


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """Someone's webhook: it keeps what it gets, and answers as it is told."""

    url: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Answering | None = None
    requests: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of what came, in order."""
        return [headers["webhook-id"] for headers, _ in self.requests]

    def verified(self) -> list[dict[str, Any]]:
        """Return what came, each verified by the library that receivers use."""
        return [
            Webhook(SECRET).verify(body, {k.lower(): v for k, v in headers.items()}) for headers, body in self.requests
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take a request."""
        self.requests.append((request.headers, await request.read()))
        return await self.answer(request) if self.answer else web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def listening(receiver: Receiver, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Let a receiver listen on loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        (address,) = runner.addresses
        scheme = "https" if tls else "http"
        receiver.url = f"{scheme}://hunter2:hunter2@localhost:{address[1]}/hook/hunter2?token=hunter2"
        yield receiver
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 120) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.1)


async def attempts(connection: Connection) -> dict[str, int]:
    """Return how often each delivery was tried."""
    found = await connection.execute("select event_id || '@' || webhook, attempts from driftline.delivery")
    return dict(await found.fetchall())
