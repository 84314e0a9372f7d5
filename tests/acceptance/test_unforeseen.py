"""What becomes of a worker that fails for a reason nobody foresaw? It ends and says so; it never hangs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.kafka import Broker
from tests.support.monitors import make_topics_and_monitor, send_events

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

BUGS = {
    "in the agent": """
import streams.committing.fetches
async def process(self, *arguments):
    raise RuntimeError("unforeseen")
streams.committing.fetches.Fetches.process = process
""",
    "in the fetcher": """
import streams.reading.transport
async def getmany(self, timeout):
    raise RuntimeError("unforeseen")
    yield
streams.reading.transport.WholeFetchConsumer.getmany = getmany
""",
    "a request that is cancelled": """
import asyncio, streams.reading.transport
async def getmany(self, timeout):
    raise asyncio.CancelledError
    yield
streams.reading.transport.WholeFetchConsumer.getmany = getmany
""",
    "a thread that ends": """
import asyncio, streams.reading.transport
async def fetch_records(self, *arguments, **options):
    asyncio.get_running_loop().stop()
streams.reading.transport.CommittedOnlyThread._fetch_records = fetch_records
""",
    "in asking for positions": """
import streams.reading.positions
async def resume(self, partitions):
    raise RuntimeError("unforeseen")
streams.reading.positions.LogPositions.resume = resume
""",
}
"""What nobody foresees, done to a worker before it starts."""


def test_a_worker_that_fails_for_an_unforeseen_reason_ends_and_never_hangs(
    broker: Broker, postgres_url: str, topic_name: Callable[[str], str], tmp_path: Path
) -> None:
    monitor = make_topics_and_monitor(tmp_path, broker.bootstrap_servers, postgres_url, topic_name)
    send_events(monitor, 0, 10)

    def ended(bug: str) -> subprocess.CompletedProcess[str]:
        own = monitor.variant(bug.replace(" ", "-"), kafka={"group": topic_name("group")})
        code = f"{BUGS[bug]}\nfrom driftline.cli import main\nmain(['run', '--config', {str(own.config)!r}])"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)

    with ThreadPoolExecutor(3) as pool:
        for bug, done in zip(BUGS, pool.map(ended, BUGS), strict=True):
            assert (bug, done.returncode) == (bug, 4), done.stderr
            last = done.stderr.splitlines()[-1]
            assert re.fullmatch(r"driftline: error: the worker: ended by RuntimeError: .+; see its log, .+", last)
