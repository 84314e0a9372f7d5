"""What time is it? Watermarks, late events and timestamps that can't be: pure functions of the log.

A partition's watermark is the newest event time read from it minus the allowed out-of-orderness; whether an event is
late is decided against its own partition as it stood just before the event, so the answer does not depend on how the
log was cut into fetches. A model's watermark is the least of its partitions'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from driftline.events import Ints, Mask

EARLIEST_MS, LATEST_MS = -30_610_224_000_000, 221_845_392_000_000
"""The years 1000 and 9000: what lies outside is no event's time, and windows around it could have no name."""

BEFORE_ALL_MS = -62_135_596_800_000
"""Year 1: before every event, and before every pane or window that could hold one."""

TopicPartition = TypeVar("TopicPartition")
"""However the caller names a partition."""


@dataclass(frozen=True, slots=True)
class Timeliness:
    """What became of each event's time.

    Parameters
    ----------
    late
        bool [events]; behind its partition's watermark.
    too_old
        bool [events]; further behind than the horizon, or before `EARLIEST_MS`: not used.
    in_the_future
        bool [events]; further after the record's own time than can be, or after `LATEST_MS`: not used, and it moves no
        watermark.
    newest_ms
        The partition's newest event time afterwards; None if it never had one.
    """

    late: Mask
    too_old: Mask
    in_the_future: Mask
    newest_ms: int | None


def judge_times(
    time_ms: Ints,
    record_ms: Ints,
    out_of_orderness_ms: Ints,
    horizon_ms: Ints,
    newest_ms: int | None,
    future_ms_max: int,
) -> Timeliness:
    """Judge the events of one partition in the order of the log.

    Parameters
    ----------
    time_ms
        int64 [events]; event times.
    record_ms
        int64 [events]; time of the Kafka record that held the event, negative if it has none.
    out_of_orderness_ms, horizon_ms
        int64 [events]; the bounds of each event's model.
    newest_ms
        The partition's newest event time before; None at its beginning.
    future_ms_max
        How far after its record an event may be.

    Examples
    --------
    >>> same = lambda v: np.full(4, v, np.int64)
    >>> times = np.array([100, 90, 200, 100])
    >>> judge_times(times, same(0), same(20), same(1_000), None, 10_000).late.tolist()
    [False, False, False, True]
    """
    # A producer's clock is compared with the record's, but never by an overflowing difference.
    in_the_future = (time_ms > LATEST_MS) | ((record_ms >= 0) & (time_ms > record_ms + future_ms_max))
    too_early = time_ms < EARLIEST_MS
    start = np.iinfo(np.int64).min if newest_ms is None else newest_ms
    usable = np.where(in_the_future | too_early, start, time_ms)
    newest_after = np.maximum(np.maximum.accumulate(usable), start) if len(usable) else usable
    newest_before = np.concatenate(([start], newest_after[:-1])).astype(np.int64)
    known = newest_before > np.iinfo(np.int64).min
    lag_ms = np.where(known & (time_ms < newest_before), newest_before - np.minimum(time_ms, newest_before), 0)
    late = (lag_ms > out_of_orderness_ms) & ~in_the_future
    too_old = (too_early | (lag_ms > out_of_orderness_ms + horizon_ms)) & ~in_the_future
    end = int(newest_after[-1]) if len(newest_after) else start
    return Timeliness(late & ~too_old, too_old, in_the_future, None if end == np.iinfo(np.int64).min else end)


@dataclass(frozen=True, slots=True)
class PartitionTime:
    """How far one partition is in event time.

    Parameters
    ----------
    newest_ms
        Newest event time read; None before its first event.
    idle_through_ms
        Event time up to which a partition that is read to its end promises nothing older; None if it never idled.
    """

    newest_ms: int | None
    idle_through_ms: int | None


def ahead_of_predictions(
    labels: Mapping[TopicPartition, PartitionTime], predictions: Iterable[PartitionTime], lead_ms_max: int
) -> set[TopicPartition]:
    """Return the label partitions that are further ahead of the predictions, in event time, than need be.

    In a catch-up labels are quicker to read; what is read far ahead only waits in the store.

    Parameters
    ----------
    lead_ms_max
        How far ahead is far enough.

    Examples
    --------
    >>> labels = {"p0": PartitionTime(900, None), "p1": PartitionTime(150, None)}
    >>> ahead_of_predictions(labels, [PartitionTime(100, None)], 300)
    {'p0'}
    """
    reached_ms = model_watermark(predictions, 0)
    if reached_ms is None:
        return set()
    return {tp for tp, of in labels.items() if of.newest_ms is not None and of.newest_ms > reached_ms + lead_ms_max}


def model_watermark(partitions: Iterable[PartitionTime], out_of_orderness_ms: int) -> int | None:
    """Return the event time up to which a model's events are all here, or None while some partition says nothing.

    Examples
    --------
    >>> model_watermark([PartitionTime(500, None), PartitionTime(None, 300)], 10)
    290
    >>> model_watermark([PartitionTime(500, None), PartitionTime(None, None)], 10) is None
    True
    """
    least: int | None = None
    for partition in partitions:
        known = [ms for ms in (partition.newest_ms, partition.idle_through_ms) if ms is not None]
        if not known:
            return None
        least = max(known) if least is None else min(least, max(known))
    return None if least is None else least - out_of_orderness_ms
