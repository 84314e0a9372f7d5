"""Do durations, panes and classes become what they say?"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.canonical import canonical
from driftline.settings import canonical_class, choose_pane_ms, format_duration, parse_duration_ms

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1.5h", 5_400_000), ("30d", 2_592_000_000), ("2 h", 7_200_000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("value", ["10", 10, 10.5, "", "s", "-5s", "1h30m", "1 week", "1e3s", None, True, "\u0661s"])
def test_a_duration_without_a_plain_number_and_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a number with a unit"):
        parse_duration_ms(value)


def test_a_fraction_of_a_millisecond_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        parse_duration_ms("0.5ms")


def test_a_duration_longer_than_postgres_can_add_to_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 36500d"):
        parse_duration_ms("36501d")


@settings(deadline=None)
@given(st.integers(0, 36_500 * DAY))
def test_a_duration_that_is_written_and_read_is_the_same(duration_ms: int) -> None:
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("length_ms", "slide_ms", "pane_ms"),
    [
        (HOUR, HOUR, MINUTE),  # a sixtieth
        (DAY, HOUR, MINUTE),  # of the slide, not of the length
        (7 * DAY, 7 * DAY, 10 * MINUTE),  # never longer than 10 min
        (10 * SECOND, 10 * SECOND, SECOND),  # never shorter than 1 s
        (90 * MINUTE, HOUR, MINUTE),  # divides both
        (100 * SECOND, 60 * SECOND, SECOND),
        (7 * HOUR, 7 * HOUR, 7 * MINUTE),
        (1_500, 1_500, 1_500),  # nothing from 1 s to 1 s divides it: the next divisor above
    ],
)
def test_a_pane_is_a_sixtieth_of_the_slide_between_a_second_and_ten_minutes(
    length_ms: int, slide_ms: int, pane_ms: int
) -> None:
    assert choose_pane_ms(length_ms, slide_ms) == pane_ms


def test_there_is_no_pane_where_none_divides_length_and_slide() -> None:
    assert choose_pane_ms(500, 500) is None  # shorter than the shortest pane
    assert choose_pane_ms(1_000_003, 1_000_003) is None  # a prime number of milliseconds, longer than the longest


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([250, SECOND, MINUTE, HOUR]))
def test_a_pane_is_the_best_of_all_divisors(length: int, slide: int, unit_ms: int) -> None:
    length_ms, slide_ms = length * unit_ms, slide * unit_ms
    divisors = [ms for ms in range(250, 600_001, 250) if length_ms % ms == slide_ms % ms == 0 and ms >= SECOND]
    # Divisors off the grid of 250 ms exist too; those can only be better than the best on it.
    wanted_ms = min(max(slide_ms / 60, SECOND), 10 * MINUTE)

    pane_ms = choose_pane_ms(length_ms, slide_ms)

    if pane_ms is None:
        assert divisors == []
    else:
        assert length_ms % pane_ms == slide_ms % pane_ms == 0
        assert SECOND <= pane_ms <= 10 * MINUTE
        small = [ms for ms in divisors if ms <= wanted_ms]
        if pane_ms <= wanted_ms:
            assert pane_ms >= max(small, default=0)
        else:
            assert small == []
            assert pane_ms <= min(divisors, default=math.inf)


@settings(deadline=None)
@given(
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    | st.sampled_from(
        ["true", "True", "TRUE", "false", "False", "FALSE", "tRUE", "-0", "1e999", "01", "1.", ".5", " 1"]
    )
)
def test_a_class_in_the_configuration_is_compared_by_the_same_text_as_one_in_the_data(value: object) -> None:
    assert canonical_class(value) == canonical(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1]])
def test_what_can_be_no_class_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a text, a finite number, true or false"):
        canonical_class(value)
