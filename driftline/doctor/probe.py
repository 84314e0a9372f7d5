"""Does a worker of this host work? The one question of a probe that asks often, and as little as it can."""

from __future__ import annotations

import json
import socket

import aiohttp
import psycopg

from driftline.errors import ServiceUnavailableError
from driftline.settings import PostgresSettings, WebSettings
from driftline.store.connection import connect, place_of, row

SEEN_MS_AGO_MAX = 30_000
ANSWER_S_MAX = 5.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a worker listens on every address, we ask here


async def check_worker_here(postgres: PostgresSettings) -> str:
    """Say which worker of this host was seen last.

    Raises
    ------
    ServiceUnavailableError
        If none was seen in the last half minute, or Postgres can't be asked.
    """
    url, host = postgres.url.get_secret_value(), socket.gethostname()
    connection = await connect(url, connect_timeout_ms=postgres.connect_timeout_ms, application_name="driftline doctor")
    try:
        seen = await row(connection, "worker_of_host", host=host)
    except psycopg.Error as error:
        raise ServiceUnavailableError(" ".join(str(error).split()), where=place_of(url)) from None
    finally:
        await connection.close()
    if seen is None or seen.seen_ms_ago > SEEN_MS_AGO_MAX:
        ago = "" if seen is None else f"; the last one {seen.seen_ms_ago // 1000}s ago"
        what = f"no worker of this host was seen in the last {SEEN_MS_AGO_MAX // 1000}s{ago}"
        raise ServiceUnavailableError(what, where=host, remedy="`driftline run` starts one")
    return f"worker {seen.worker_id} of {host}, seen {seen.seen_ms_ago / 1000:.1f}s ago"


async def ask_worker(web: WebSettings) -> str:
    """Say what the worker that listens here tells of itself.

    Raises
    ------
    ServiceUnavailableError
        If it is not ready, with its reasons; or nobody answers.
    """
    host = EVERYWHERE.get(web.host, web.host)
    where = f"http://{f'[{host}]' if ':' in host else host}:{web.port}/readyz"
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session, session.get(where) as answer:
            told = await answer.json()
            reasons, worker_id = told["reasons"], told["worker_id"]
    except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, KeyError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ServiceUnavailableError(f"no worker answers: {why}", where=where, remedy="see its log") from None
    if reasons:
        raise ServiceUnavailableError.of([f"{where}: not ready: {reason}" for reason in reasons])
    return f"worker {worker_id} is ready"
