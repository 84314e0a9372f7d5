"""Does a worker's health tell the truth: ready while it works, not while it stands still, and restarted only then?"""

import pytest

from driftline.wiring.relay import GRACE_S_MAX
from streams.app import FAREWELL_S_MAX, STOP_S_MAX
from streams.health import Health, Sight

AT = ("predictions", 0)


def well(now_s: float = 0.0) -> Health:
    """A worker that has just read everything."""
    health = Health(30)
    hear(health, now_s, 10, 10)
    return health


def hear(health: Health, now_s: float, read_to: int, end: int) -> None:
    health.answered("kafka", now_s)
    health.answered("postgres", now_s)
    health.look({AT: Sight(read_to, end)}, now_s)


def test_a_partition_that_is_read_to_its_end_may_stand_still_for_ever() -> None:
    health = well()
    for now_s in range(0, 1_000, 2):
        hear(health, now_s, 10, 10)
    assert health.reasons(1_000) == []
    assert health.must_restart(1_000) == []


def test_one_with_records_to_read_may_not_and_says_since_when_and_why() -> None:
    health = well()
    health.trouble = "LockNotAvailable: canceling statement"
    for now_s in range(2, 40, 2):
        hear(health, now_s, 10, 11)
        assert bool(health.reasons(now_s)) == (now_s > 32)
    expected = "predictions, partition 0: stands still for 36s: LockNotAvailable: canceling statement"
    assert health.reasons(38) == [expected]


def test_every_commit_is_progress_however_far_the_end_is() -> None:
    health = well()
    for now_s in range(2, 200, 2):
        health.begun(AT)
        health.ended(AT, now_s, committed=True)
        hear(health, now_s, 10 + now_s, 10**9 + now_s)
        assert health.reasons(now_s) == []
    assert health.must_restart(200) == []


def test_a_fetch_that_is_never_committed_counts_though_everything_is_read() -> None:
    health = well()
    health.begun(AT)
    for now_s in range(2, 36, 2):
        hear(health, now_s, 11, 11)
    assert health.reasons(35) != []
    health.ended(AT, 36, committed=True)
    hear(health, 36, 11, 11)
    assert health.reasons(36) == []


@pytest.mark.parametrize(
    ("grows", "answers", "restarted"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_the_consumer_is_started_anew_only_while_lag_grows_and_both_services_answer(
    grows: bool, answers: bool, restarted: bool
) -> None:
    health = well()
    for now_s in range(2, 70, 2):
        if answers or now_s < 20:
            hear(health, now_s, 10, 11 + now_s * grows)
        assert health.must_restart(min(now_s, 60)) == []
    assert health.must_restart(70) == ([AT] if restarted else [])
    if restarted:
        health.restarted()
        assert health.must_restart(71) == []
        assert health.reasons(71) == ["no share of the partitions yet"]


def test_partitions_that_went_to_others_are_no_longer_looked_at() -> None:
    health = well()
    hear(health, 2, 10, 11)
    health.answered("kafka", 100)
    health.answered("postgres", 100)
    health.look({}, 100)
    assert health.reasons(101) == []


def test_an_end_in_order_takes_ten_seconds_at_most() -> None:
    assert STOP_S_MAX + FAREWELL_S_MAX + GRACE_S_MAX <= 9


def test_while_others_move_a_partition_may_wait_for_its_turn_but_not_for_ever() -> None:
    health, other = Health(30), ("predictions", 1)
    for now_s in range(0, 602, 2):
        health.begun(other)
        health.ended(other, now_s, committed=True)
        hear(health, now_s, 10, 11 + now_s)
        assert (health.reasons(now_s), health.must_restart(now_s)) == ([], [])
    assert health.reasons(604) == ["predictions, partition 0: stands still for 604s"]
    assert health.reasons(632) != []
    assert health.must_restart(664) == []  # by then nobody answers
    hear(health, 664, 10, 9_000)
    assert health.must_restart(664) == [AT]
