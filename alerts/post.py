"""How is one message posted to a receiver, and what did it say?

Invariants: an answer comes within the webhook's timeout; redirects are not followed, certificates are verified, neither
proxies nor `.netrc` of the environment are used; of an answer only its status and `Retry-After` are read; what is told
names no URL and no secret.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from alerts.signing import signed_headers
from driftline import __version__
from driftline.settings import WebhookSettings, format_duration
from retraining.messages import CONTENT_TYPE

GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of posting a message.

    Parameters
    ----------
    what
        Why it was not delivered, for people; empty if it was.
    remedy
        What to do about it.
    retry_after_ms
        How long the receiver asks to wait.
    unwanted
        Whether the receiver says that it never wants this message.
    """

    what: str = ""
    remedy: str = ""
    retry_after_ms: int = 0
    unwanted: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver has the message."""
        return not self.what


Post = Callable[[WebhookSettings, str, bytes], Awaitable[Answer]]
"""Posts a message, by its id and body, to a webhook."""


@asynccontextmanager
async def open_post() -> AsyncIterator[Post]:
    """Give a way to post, each message on a connection of its own: a kept one may be dead, and messages are few."""
    tls = ssl.create_default_context()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"user-agent": f"driftline/{__version__}", "content-type": CONTENT_TYPE},
    ) as session:

        async def post(webhook: WebhookSettings, message_id: str, body: bytes) -> Answer:
            return await _post(session, webhook, message_id, body)

        yield post


async def _post(session: aiohttp.ClientSession, webhook: WebhookSettings, message_id: str, body: bytes) -> Answer:
    try:
        async with session.post(
            webhook.url.get_secret_value(),
            data=body,
            headers=signed_headers(webhook.key, message_id, int(time.time()), body),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=webhook.timeout_ms / 1000),
        ) as response:
            return judge(response.status, response.headers.get("retry-after", ""), time.time())
    except TimeoutError:
        return Answer(
            f"no answer within {format_duration(webhook.timeout_ms)}", "look at the receiver, or raise timeout"
        )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _failed(error)


def _failed(error: Exception) -> Answer:
    """Say why there was no answer. The text of an error may quote the URL, so only what it is made of is used."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it can't be verified"
        return Answer(
            f"its certificate is not accepted: {reason}", "correct it, or name its authority in SSL_CERT_FILE"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Answer("its host is not found", "correct the url, or look at the name service")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return Answer("no TLS connection can be made", "is it http instead of https?")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        reason = os.strerror(number) if number else type(error.os_error).__name__
        return Answer(f"can't connect: {reason}", "start the receiver, or correct the url")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return Answer("closed the connection without an answer", "look at the receiver; is it https instead of http?")
    return Answer(f"no usable answer ({type(error).__name__})", "look at the receiver, or correct the url")


def judge(status: int, retry_after: str, now_s: float) -> Answer:
    """Say what a status means.

    Parameters
    ----------
    retry_after
        The header of that name: seconds or a date.

    Examples
    --------
    >>> judge(204, "", 0.0).delivered, judge(503, "120", 0.0).retry_after_ms, judge(410, "", 0.0).unwanted
    (True, 120000, True)
    """
    if 200 <= status < 300:
        return Answer()
    if status == GONE:
        return Answer("answered 410 (gone)", "the receiver wants no more of this; take the webhook out", unwanted=True)
    wait_ms = _retry_after_ms(retry_after, now_s)
    if 300 <= status < 400:
        return Answer(f"answered {status}, a redirect, which is not followed", "name the final url", wait_ms)
    if status in (401, 403):
        return Answer(f"answered {status}", "correct the url or the secret, here or at the receiver", wait_ms)
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Answer(f"answered {status}", "correct the url", wait_ms)
    return Answer(f"answered {status}", "look at the receiver", wait_ms)


def _retry_after_ms(text: str, now_s: float) -> int:
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0
    wait_s = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.fromtimestamp(now_s, UTC)
    return max(0, round(wait_s.total_seconds() * 1000))
