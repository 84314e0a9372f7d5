"""What is done again and again beside the stream, and what happens when it fails?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from driftline.errors import DriftlineError
from driftline.store.connection import SERVICE_TROUBLE
from streams.faults import one_line

_log = logging.getLogger("driftline.timer")

SERVICES_AWAY = (DriftlineError, *SERVICE_TROUBLE)
TELL_AGAIN_S = 60.0
"""So long after a failure was told, the same one is told again."""


class Timer:
    """Does things again and again until we stop. A service that is away for several of them is told once.

    Parameters
    ----------
    stopping
        Set when we stop.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._told_at: dict[str, float] = {}

    async def every(self, seconds: float, what: str, do: Callable[[], Awaitable[object]]) -> None:
        """Do something every so many seconds; a failure is told and waits for the next time."""
        told = False
        while not self._stopping.is_set():
            try:
                await do()
                if told:
                    _log.info("%s: works again", what)
                told = False
            except Exception as error:
                failure = one_line(error)
                if self._is_news(failure if isinstance(error, SERVICES_AWAY) else f"{what}: {failure}"):
                    _log.warning("%s: %s", what, failure)
                    told = True
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                continue

    def _is_news(self, failure: str) -> bool:
        now = monotonic()
        self._told_at = {text: at for text, at in self._told_at.items() if now - at < TELL_AGAIN_S}
        is_news = failure not in self._told_at
        self._told_at.setdefault(failure, now)
        return is_news
