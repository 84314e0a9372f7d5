"""What is done again and again beside the stream, and what happens when it fails?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from streams.faults import one_line

_log = logging.getLogger("driftline.timer")

SILENT_FAILURES = 30
"""After a failure that is told, so many are not."""


async def every(seconds: float, stopping: asyncio.Event, what: str, do: Callable[[], Awaitable[object]]) -> None:
    """Do something every so many seconds until we stop; a failure is told and waits for the next time."""
    failures = 0
    while not stopping.is_set():
        try:
            await do()
            failures = 0
        except Exception as error:
            if failures % SILENT_FAILURES == 0:
                _log.warning("%s: %s", what, one_line(error))
            failures += 1
        try:
            await asyncio.wait_for(stopping.wait(), seconds)
        except TimeoutError:
            continue
