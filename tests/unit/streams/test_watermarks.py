"""Which events are late, too old or in the future: the same as one careful reader says, however the log is cut."""

from itertools import pairwise

import numpy as np
import pytest

from streams.watermarks import EARLIEST_MS, LATEST_MS, PartitionTime, judge_times, model_watermark

DISORDER, HORIZON, FUTURE = 10, 100, 50


def judged(times: list[int], records: list[int] | None = None, newest: int | None = None) -> tuple[str, int | None]:
    """Judge events; one letter each: `.` in time, `l` late, `o` too old, `f` in the future."""
    n = len(times)
    found = judge_times(
        np.array(times, np.int64),
        np.full(n, LATEST_MS) if records is None else np.array(records, np.int64),
        np.full(n, DISORDER),
        np.full(n, HORIZON),
        newest,
        FUTURE,
    )
    letters = zip(*(mask.tolist() for mask in (found.late, found.too_old, found.in_the_future)), strict=True)
    return "".join("l" * late + "o" * old + "f" * future or "." for late, old, future in letters), found.newest_ms


def by_hand(times: list[int], records: list[int]) -> tuple[str, int | None]:
    newest, letters = None, ""
    for at, record in zip(times, records, strict=True):
        if at > record + FUTURE:
            letters += "f"
        elif newest is not None and at < newest - DISORDER - HORIZON:
            letters += "o"
        else:
            letters += "l" if newest is not None and at < newest - DISORDER else "."
            newest = at if newest is None else max(newest, at)
    return letters, newest


def test_an_event_is_late_behind_the_newest_of_its_partition() -> None:
    #               newest so far: 100  100  100  120  120
    assert judged([100, 90, 89, 120, 110, 109, 10, 9]) == ("..l..llo", 120)


def test_the_first_event_of_a_partition_is_never_late() -> None:
    assert judged([-5]) == (".", -5)
    assert judged([-5], newest=1000) == ("o", 1000)
    assert judged([]) == ("", None)
    assert judged([], newest=7) == ("", 7)


def test_an_event_of_the_future_moves_no_watermark() -> None:
    assert judged([100, 151, 150, 100, 139], records=[100] * 5) == (".f.l" + "l", 150)
    assert judged([151], records=[100]) == ("f", None)


def test_a_record_without_a_time_proves_no_future() -> None:
    assert judged([10**12], records=[-1]) == (".", 10**12)


def test_times_that_stand_for_never_are_not_used_wherever_they_come() -> None:
    year_1, year_9999 = -62_135_596_800_000, 253_402_300_799_999
    assert judged([year_1, 5, year_9999, 5], records=[year_9999] * 4) == ("o.f.", 5)
    assert judged([EARLIEST_MS], records=[LATEST_MS]) == (".", EARLIEST_MS)
    assert judged([LATEST_MS], records=[LATEST_MS]) == (".", LATEST_MS)
    extremes = [int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)]
    assert judged(extremes, records=extremes[::-1], newest=0)[0] == "of"


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_how_the_log_is_cut(seed: int) -> None:
    chance = np.random.default_rng(seed)
    times = (1000 + np.cumsum(chance.integers(0, 20, 60)) - chance.choice([0, 0, 5, 15, 90, 130], 60)).tolist()
    records = (np.array(times) + chance.choice([0, -40, -60, 10], 60)).tolist()
    assert judged(times, records) == by_hand(times, records)

    cuts = [0, *sorted(chance.choice(59, 4, replace=False) + 1), 60]
    letters, newest = "", None
    for start, end in pairwise(cuts):
        part, newest = judged(times[start:end], records[start:end], newest)
        letters += part
    assert (letters, newest) == judged(times, records)


def test_each_event_is_judged_by_its_own_models_bounds() -> None:
    times, records = np.array([1000, 950, 950, 500, 500]), np.full(5, 1000)
    found = judge_times(times, records, np.array([0, 60, 40, 0, 0]), np.array([0, 0, 100, 400, 500]), None, 0)
    assert found.late.tolist() == [False, False, True, False, True]
    assert found.too_old.tolist() == [False, False, False, True, False]


def test_a_models_watermark_is_that_of_its_slowest_partition() -> None:
    fast, slow, silent = PartitionTime(900, None), PartitionTime(500, None), PartitionTime(None, None)
    idle = PartitionTime(100, 800)
    assert model_watermark([fast, slow], 10) == 490
    assert model_watermark([fast, slow, silent], 10) is None
    # One that is read to its end promises as much as it idled through, and never less than it has shown.
    assert model_watermark([fast, idle], 10) == 790
    assert model_watermark([fast, PartitionTime(850, 800)], 10) == 840
    assert model_watermark([fast, PartitionTime(None, 300)], 10) == 290
    assert model_watermark([], 10) is None
