"""Is a failure told when it happens, and not again and again?"""

from __future__ import annotations

import asyncio
import logging

import pytest

from driftline.errors import ServiceUnavailableError
from streams import timer as module
from streams.timer import Timer


class Things:
    """Something to do that fails as long as it is told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.done = 0

    async def do(self) -> None:
        self.done += 1
        if self.failure is not None:
            raise self.failure

    async def often(self) -> None:
        """Wait until it was done a few times more."""
        enough = self.done + 3
        while self.done < enough:
            await asyncio.sleep(0)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "driftline.timer")
    return caplog


async def test_a_service_that_is_away_for_many_is_told_once_and_so_is_its_return(
    told: pytest.LogCaptureFixture,
) -> None:
    stopping, one, other = asyncio.Event(), Things(), Things()
    timer = Timer(stopping)
    one.failure = other.failure = ServiceUnavailableError("no answer", where="kafka")
    running = [asyncio.create_task(timer.every(0, what, of.do)) for what, of in (("looking", one), ("asking", other))]
    await one.often()
    await other.often()
    one.failure = other.failure = None
    await one.often()
    await other.often()
    stopping.set()
    await asyncio.gather(*running)

    assert told.messages == ["looking: kafka: no answer", "looking: works again"]


async def test_what_fails_for_a_reason_of_its_own_is_told_though_another_fails_alike(
    told: pytest.LogCaptureFixture,
) -> None:
    stopping, one, other = asyncio.Event(), Things(), Things()
    timer = Timer(stopping)
    one.failure = other.failure = ValueError("odd")
    running = [asyncio.create_task(timer.every(0, what, of.do)) for what, of in (("one", one), ("other", other))]
    await one.often()
    await other.often()
    stopping.set()
    await asyncio.gather(*running)

    assert sorted(told.messages) == ["one: ValueError: odd", "other: ValueError: odd"]


async def test_a_failure_that_lasts_is_told_again_after_a_while(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    stopping, things = asyncio.Event(), Things()
    things.failure = ValueError("odd")
    running = asyncio.create_task(Timer(stopping).every(0, "looking", things.do))
    for now[0] in (0.0, module.TELL_AGAIN_S - 1, module.TELL_AGAIN_S):
        await things.often()
    stopping.set()
    await running

    assert told.messages == ["looking: ValueError: odd"] * 2
