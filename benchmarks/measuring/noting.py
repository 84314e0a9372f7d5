"""`driftline run` that also notes every fetch it decodes, so that it can be told which events were decoded twice.

A line a fetch, of some thousands of events, goes to its standard output: partition, first position, records.
"""

from __future__ import annotations

import asyncio

from driftline.cli import main
from driftline.events import Decoded
from streams.committing.fetches import Fetches
from streams.committing.statuses import Statuses
from streams.reading.transport import Fetch

NOTE = "decoding"

_begin = Fetches.begin


def _note(fetches: Fetches, fetch: Fetch) -> asyncio.Task[Decoded | Statuses]:
    print(NOTE, fetch.topic, fetch.partition, fetch.start, len(fetch.records), flush=True)
    return _begin(fetches, fetch)


if __name__ == "__main__":
    Fetches.begin = _note  # type: ignore[assignment, method-assign]
    main()
