"""Does reading go on when a rebalance takes away what is being asked for?"""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types.tuples import TP

from streams.reading import transport
from streams.reading.transport import WholeFetchConsumer


@pytest.mark.parametrize(("answers", "reached"), [(True, {TP("t", 0): (7, 9)}), (False, {})])
async def test_a_position_that_never_comes_holds_reading_up_for_a_moment_only(
    answers: bool, reached: dict[TP, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def position(_: TP) -> int:
        if not answers:
            await asyncio.Event().wait()
        return 9

    monkeypatch.setattr(transport, "POSITION_S_MAX", 0.01)
    consumer = SimpleNamespace(
        loop=asyncio.get_running_loop(),
        holds=lambda tp: True,
        position=position,
        _next={TP("t", 0): 7},
        _reached={TP("t", 1): (1, 1)},
        _reached_at=-1e9,
    )

    await asyncio.wait_for(WholeFetchConsumer._note_reached(cast(Any, consumer)), 10)

    assert consumer._reached == reached


async def test_a_rebalance_while_positions_are_asked_for_leaves_only_what_is_read_on_as_before() -> None:
    kept, taken, moved = TP("t", 0), TP("t", 1), TP("t", 2)
    consumer = SimpleNamespace(
        loop=asyncio.get_running_loop(),
        holds=lambda tp: True,
        _next={kept: 7, taken: 5, moved: 3},
        _reached={},
        _reached_at=-1e9,
    )

    async def position(tp: TP) -> int:
        consumer._next.pop(taken, None)
        consumer._next[moved] = 4
        return 9

    consumer.position = position

    await WholeFetchConsumer._note_reached(cast(Any, consumer))

    assert consumer._reached == {kept: (7, 9)}
