"""Which windows hold a moment, which are closed, and over which stretch is each judged?

One character is one grain; `[` is where a window starts, `)` where it ends.
"""

import pytest

from streams.windows import floor_to, grain_of, grains_of, judged_stretch, last_end, windows_with


def pictured(windows: list[tuple[int, int]], width: int = 16) -> list[str]:
    """Draw windows of whole numbers from 0 on."""
    drawn = []
    for start, end in windows:
        line = "." * start + "[" + "-" * (end - start - 1) + ")"
        drawn.append(line.ljust(width, ".")[:width])
    return drawn


def test_tumbling_windows_hold_every_moment_once() -> None:
    #                             0123456789012345
    assert pictured(list(windows_with(7, 4, 4))) == [
        "....[---).......",
    ]
    assert [window for at in range(16) for window in windows_with(at, 4, 4)] == [
        (start, start + 4) for start in (0, 4, 8, 12) for _ in range(4)
    ]


def test_hopping_windows_hold_every_moment_as_often_as_they_hop() -> None:
    #                             0123456789012345
    assert pictured(list(windows_with(9, 6, 2))) == [
        "....[-----).....",
        "......[-----)...",
        "........[-----).",
    ]


def test_windows_that_are_no_whole_number_of_slides_start_at_slides() -> None:
    #                             0123456789012345
    assert pictured(list(windows_with(9, 5, 2))) == [
        "......[----)....",
        "........[----)..",
    ]
    assert pictured(list(windows_with(10, 5, 2))) == [
        "......[----)....",
        "........[----)..",
        "..........[----)",
    ]


@pytest.mark.parametrize(("length", "slide"), [(4, 4), (6, 2), (5, 2), (7, 3), (1, 1)])
def test_the_windows_of_a_moment_are_those_that_the_definition_names(length: int, slide: int) -> None:
    for at in range(-20, 20):
        expected = [(k * slide, k * slide + length) for k in range(-40, 40) if k * slide <= at < k * slide + length]
        assert list(windows_with(at, length, slide)) == expected
        ends = [k * slide + length for k in range(-40, 40) if k * slide + length <= at]
        assert last_end(at, length, slide) == max(ends)


@pytest.mark.parametrize(("length", "slide", "grain"), [(60, 60, 60), (60, 20, 20), (50, 20, 10), (7, 3, 1)])
def test_windows_and_slides_are_whole_numbers_of_grains(length: int, slide: int, grain: int) -> None:
    assert grain_of(length, slide) == grain
    assert list(grains_of(slide, slide + length, grain)) == list(range(slide, slide + length, grain))


def test_times_before_1970_are_floored_not_cut() -> None:
    assert [floor_to(ms, 10) for ms in (-11, -10, -1, 0, 9, 10)] == [-20, -10, -10, 0, 0, 10]


def judge(counts: str, window: tuple[int, int], through: int = -99, lookback: int = 8) -> tuple[int, int] | None:
    """Judge a window where each character says how many events a grain holds; five are enough."""
    by_grain = {at: int(count) for at, count in enumerate(counts) if count != "."}
    return judged_stretch(
        by_grain, window, grain_ms=1, min_events=5, lookback_ms_max=lookback, judged_through_ms=through
    )


def test_a_window_with_enough_events_is_judged_over_itself() -> None:
    #             0123456789
    assert judge("9999......", (2, 4)) == (2, 4)
    # Even if it overlaps what was judged before, as hopping windows do.
    assert judge("9999......", (2, 4), through=3) == (2, 4)


def test_a_window_with_few_events_reaches_back_until_there_are_enough() -> None:
    #             0123456789
    assert judge("9111111111", (8, 10)) == (5, 10)
    assert judge("..4......1", (8, 10)) == (2, 10)


def test_it_reaches_neither_over_what_was_judged_nor_beyond_its_bound() -> None:
    #             0123456789
    assert judge("1111111111", (8, 10), through=5) == (5, 10)
    assert judge("1111111111", (8, 10), through=6) is None
    assert judge("1111111111", (8, 10), lookback=5) == (5, 10)
    assert judge("1111111111", (8, 10), lookback=4) is None
    # Part of the window itself was judged before: it waits for new events.
    assert judge("9999999911", (7, 10), through=8, lookback=3) == (7, 10)
    assert judge("..........", (8, 10), through=9) is None


def test_nothing_at_all_is_not_judged() -> None:
    assert judge("..........", (8, 10)) is None
