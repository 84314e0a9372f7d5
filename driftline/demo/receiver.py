"""Who gets the demo's webhook? A small server of our own, which believes nothing that is not signed.

It checks signatures by the Standard Webhooks specification with nothing of Driftline's, as any receiver would.
Invariants: it listens on loopback only; a message that comes twice is kept once; what it keeps and reads is bounded.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY_BYTES_MAX = 1024 * 1024
MESSAGES_MAX = 10_000
AGE_S_MAX = 300
READ_SECONDS_MAX = 10
NUMBER_CHARACTERS_MAX = 20

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Received:
    """A message as the webhook got it.

    Parameters
    ----------
    type
        For example `driftline.drift.detected`; empty if the message is none of ours.
    is_signed
        Whether the signature is that of somebody who knows the secret.
    """

    event_id: str
    type: str
    is_signed: bool


def new_secret() -> str:
    """Draw a secret in the form that the specification gives it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> bool:
    """Tell whether a message comes from somebody who knows the secret, and is fresh.

    Parameters
    ----------
    headers
        `webhook-id`, `webhook-timestamp` and `webhook-signature`, in any case if it is a mapping of messages.
    secret
        `whsec_` and base64.
    now_s
        Seconds since 1970.

    Notes
    -----
    Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, as `v1,` and base64; several may stand there, parted
    by spaces, while a secret is exchanged for another.
    """
    identity, at = headers.get("webhook-id") or "", headers.get("webhook-timestamp") or ""
    if not (_is_number(at) and abs(now_s - int(at)) <= AGE_S_MAX):
        return False
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    digest = hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    given = (headers.get("webhook-signature") or "").split()
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)


@dataclass(slots=True)
class Receiver:
    """A webhook that keeps what it got."""

    secret: str = field(default_factory=new_secret, repr=False)
    url: str = ""
    _messages: dict[str, Received] = field(default_factory=dict)

    def received(self) -> tuple[Received, ...]:
        """Return what came, in the order in which it came first."""
        return tuple(self._messages.values())

    def take(self, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
        """Keep a message; tell whether it is signed as it must be."""
        signed = is_signed(headers, body, self.secret, now_s)
        identity = headers.get("webhook-id") or ""
        before = self._messages.get(identity)
        if (before is None or (signed and not before.is_signed)) and len(self._messages) < MESSAGES_MAX:
            self._messages[identity] = Received(identity, _type_of(body), signed)
        return signed


def _is_number(text: str) -> bool:
    """Whether a header is a whole number that is not absurdly long: of thousands of digits Python makes none."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_CHARACTERS_MAX


def _type_of(body: bytes) -> str:
    try:
        event: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(event.get("type", "")) if isinstance(event, dict) else ""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listen on a free port of loopback for as long as the context lasts."""
    takes = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(takes.take))
    server.daemon_threads = True
    takes.url = f"http://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield takes
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(take: Callable[[Mapping[str, str], bytes, float], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = READ_SECONDS_MAX

        def do_POST(self) -> None:
            length = self.headers.get("content-length") or ""
            if not _is_number(length) or int(length) > BODY_BYTES_MAX:
                self.send_error(413)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(204 if take(headers, self.rfile.read(int(length)), time.time()) else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal is for the demo."""

    return Handler
