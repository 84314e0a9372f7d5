"""Does what holds a store against a replay after a fault notice each kind of loss and of doubling?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.chaos import compare
from tests.chaos.compare import Rows, Seen, judge, judge_messages, through
from tests.chaos.usage import growing
from tests.chaos.world import World

KINDS = ("drift", "predictions")


def row(**of: object) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in of.items())


A, B = row(window_end="2026-01-01 00:01:00+00:00", score=1), row(window_end="2026-01-01 00:02:00+00:00", score=2)


@dataclass
class Beside:
    """Monitor and traffic of a world in which three predictions and two labels were sent, one label twice."""

    counted: Counter[tuple[str, str]] = field(
        default_factory=lambda: Counter(
            {("m", "prediction"): 3, ("m", "label"): 2, ("m", "repeated_label"): 1, ("m", "pair"): 1}
        )
    )
    requests: Sequence[str] = ("one", "two")
    lost: dict[str, Counter[str]] = field(default_factory=lambda: {"predictions": Counter(), "labels": Counter()})

    def counts(self) -> Counter[tuple[str, str]]:
        return self.counted

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [(episode,) for episode in self.requests] if query == compare.REQUESTS else []

    def topic(self, role: str) -> str:
        return role

    def readable(self, role: str) -> list[dict[str, str]]:
        return [{"prediction_id": name} for name in ("abc" if role == "predictions" else "aa")]


@dataclass
class Left:
    """As much of a world as is judged."""

    monitor: Beside
    traffic: Beside


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_in_topic", lambda *_: [])


def judged(found: dict[str, Rows], **beside: Any) -> compare.Difference:
    world = Left(Beside(**beside), Beside())
    expected = {"drift": Counter([A, B]), "predictions": Counter([A, A])}
    return judge(cast(World, world), expected, {**expected, **found}, KINDS)


def test_what_is_equal_is_no_difference() -> None:
    found = judged({})

    assert (found.lost, found.doubled, found.problems) == (0, 0, [])
    assert found.compared == {"drift": 2, "predictions": 2, "requests": 2}


@pytest.mark.parametrize(
    ("found", "lost", "doubled"),
    [
        pytest.param({"drift": Counter([A])}, 1, 0, id="a row is missing"),
        pytest.param({"drift": Counter([A, B, B])}, 0, 1, id="a row is there twice"),
        pytest.param({"predictions": Counter([A])}, 1, 0, id="of two equal rows one is missing"),
        pytest.param({"drift": Counter([A, row(window_end="2026", score=3)])}, 1, 1, id="a row says something else"),
    ],
)
def test_rows_that_are_missing_or_too_much_are_counted_and_told(
    found: dict[str, Rows], lost: int, doubled: int
) -> None:
    difference = judged(found)

    assert (difference.lost, difference.doubled) == (lost, doubled)
    assert difference.problems


@pytest.mark.parametrize(
    ("reason", "counted", "lost", "doubled"),
    [("prediction", 2, 1, 0), ("prediction", 5, 0, 2), ("repeated_label", 0, 1, 0), ("label", 3, 0, 1)],
)
def test_counters_are_held_against_what_was_sent(reason: str, counted: int, lost: int, doubled: int) -> None:
    difference = judged({}, counted=Counter({**Beside().counted, ("m", reason): counted}))

    assert (difference.lost, difference.doubled, len(difference.problems)) == (lost, doubled, 1)


def test_an_episode_that_asks_twice_is_doubled() -> None:
    difference = judged({}, requests=("one", "two", "one"))

    assert (difference.lost, difference.doubled) == (0, 1)
    assert difference.problems == ["1 episodes have more than one request"]


def test_messages_that_never_left_or_left_otherwise_are_found_and_repeats_are_not() -> None:
    outbox = [(name, "t", episode, {"id": name}) for name, episode in (("a", "one"), ("b", "two"), ("c", "one"))]
    a, b, c = ({"id": name} for name in "abc")

    def told(*arrived: dict[str, str]) -> tuple[int, int, int]:
        found = judge_messages(outbox, {"t": arrived})
        return found.lost, found.sent_again, len(found.problems)

    assert told(a, b, c) == told(b, a, c) == (0, 0, 0)
    assert told(a, b, a, c, c) == (0, 2, 0)
    assert told(a, c) == (1, 0, 2)  # it never came, so its episode's order is not what it was to be
    assert told(c, b, a) == (0, 0, 1)
    assert told(a, b, c | {"more": "1"}) == (0, 0, 1)
    assert told(a, b, c, {"id": "stranger"}) == (0, 0, 1)


def test_only_windows_that_end_after_the_last_closed_one_are_left_out() -> None:
    end_ms = 1_767_225_660_000  # A ends then

    kept = through({"drift": [A, B, A], "predictions": [A, B]}, end_ms)

    assert kept == {"drift": Counter([A, A]), "predictions": Counter([A, B])}


def test_what_has_expired_is_compared_as_it_was_seen_last() -> None:
    seen = Seen(kept_ms=60_000)
    seen.with_expired({"drift": [A], "performance": [], "episodes": []})

    both = seen.with_expired({"drift": [B], "performance": [], "episodes": []})

    assert sorted(both["drift"]) == sorted([A, B])


def test_what_grows_is_named_beyond_what_it_may_swing_by() -> None:
    samples = [{"seconds": float(n), "x_mib": 100.0 + n, "lag": 5.0, "other": n} for n in range(90)]

    told = ["x_mib grows: 144.5 in the second third, 174.5 in the last"]
    assert growing(samples, {"_mib": 22, "lag": 10}, ()) == told
    assert growing(samples, {"_mib": 23, "lag": 10}, ()) == []
    assert growing(samples, {"_mib": 22}, ("x_mib",)) == []
