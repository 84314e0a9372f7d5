"""What is made of a receiver's answer, whatever it says?"""

import pytest

from alerts.post import judge

NOW_S = 1_704_067_200.0


@pytest.mark.parametrize(
    ("retry_after", "wait_ms"),
    [
        ("30", 30_000),
        ("Mon, 01 Jan 2024 00:00:30 GMT", 30_000),
        ("Mon, 01 Jan 2024 00:00:30", 30_000),
        ("Mon, 01 Jan 2024 09:00:30 +0900", 30_000),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2024 00:00:30 +999999999999999", 0),
        ("Mon, 01 Jan 99999999999999999999 00:00:30 GMT", 0),
        ("9" * 5_000, 999_999_999_000),
        ("soon", 0),
        ("", 0),
    ],
)
def test_when_to_come_again_is_read_as_seconds_or_a_date_and_else_left_to_us(retry_after: str, wait_ms: int) -> None:
    answer = judge(503, retry_after, NOW_S)

    assert (answer.delivered, answer.retry_after_ms) == (False, wait_ms)
