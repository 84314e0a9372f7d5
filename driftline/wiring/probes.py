"""Where a supervisor asks whether a worker lives and is ready: two pages with JSON, on loopback unless configured.

`/livez` answers while the worker's loop runs, and not at all when it stands still. It says nothing of services, because
a restart would not bring them back, nor of a consumer that makes no progress, which the worker starts anew by itself.
`/readyz` answers 200 when the worker does its work, else 503 with the reasons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from driftline.errors import ConfigurationError
from driftline.settings import WebSettings
from streams.health import Health

_log = logging.getLogger("driftline.probes")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a fault is the server's own: what is no HTTP is a stranger's, who could fill the log with it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_log.addFilter(_is_ours)


@asynccontextmanager
async def probes(settings: WebSettings, health: Health, worker_id: str) -> AsyncIterator[str]:
    """Answer for as long as this context is open; yield the address.

    Raises
    ------
    ConfigurationError
        If nobody may listen there.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True, "worker_id": worker_id, "consumer_restarts": health.restarts})

    async def ready(_: web.Request) -> web.Response:
        reasons = health.reasons(time.monotonic())
        body = {
            "ready": not reasons,
            "reasons": reasons,
            "worker_id": worker_id,
            "unread_records": health.partitions(),
            "consumer_restarts": health.restarts,
        }
        return web.json_response(body, status=503 if reasons else 200)

    app = web.Application()
    app.add_routes([web.get("/livez", live), web.get("/readyz", ready)])
    runner = web.AppRunner(app, access_log=None, logger=_log, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise ConfigurationError(
                f"can't listen there: {error.strerror}", where=where, remedy="choose another web.host or web.port"
            ) from None
        host, port = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        await runner.cleanup()
