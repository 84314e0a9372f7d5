"""How long do labels take, and which cohort windows are mature enough to be judged? Pure functions of the log.

Delays are counted in at most 480 buckets, so the histogram stays small and merges exactly. A cohort's delay counts
from the end of its grain, because that is what a window's end is compared with: when nine of ten labels of a grain are
in, so they are of every window that ends with it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

BUCKETS_A_DOUBLING = 16
DELAY_MS_MIN = 1_000
EDGES_MS = tuple(round(DELAY_MS_MIN * 2 ** (k / BUCKETS_A_DOUBLING)) for k in range(30 * BUCKETS_A_DOUBLING))
"""Upper edges of the buckets, from a second to 34 years, each 4 % above the one before."""

MATURE_SHARE = 0.9
"""`judge_after: auto` waits until this share of the labels is in."""

SPAN_FACTOR = 2
"""Delays are believed when they were watched for at least this many times the one in question: slow labels are late to
be seen, so the first ones make all look fast."""


@dataclass(frozen=True, slots=True)
class Maturity:
    """What is known of one version's label delays, and how far its cohort windows were judged.

    Parameters
    ----------
    first_ms
        Since when delays are watched, in event time.
    judged_through_ms
        End of the last cohort window that was judged, or passed over because it held nothing.
    seen_ms
        End of the last slide that was taken into account.
    delays
        Labels by bucket, see `EDGES_MS`.
    """

    first_ms: int
    judged_through_ms: int
    seen_ms: int
    delays: Mapping[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain numbers and lists."""
        delays = sorted(self.delays.items())
        return {
            "first_ms": self.first_ms,
            "judged_through_ms": self.judged_through_ms,
            "seen_ms": self.seen_ms,
            "delays": [list(item) for item in delays],
        }


def maturity_from_json(content: Mapping[str, Any]) -> Maturity:
    """Return what `Maturity.to_json` was called on.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0, 0), [(1_500, 3)])
    >>> maturity_from_json(known.to_json()) == known
    True
    """
    return Maturity(**{**content, "delays": dict(content["delays"])})


def with_delays(known: Maturity, delays: Iterable[tuple[int, int]]) -> Maturity:
    """Add labels.

    Parameters
    ----------
    delays
        (milliseconds, how many labels); fewer than none where corrections took labels back.
    """
    counts = Counter(known.delays)
    for delay_ms, n in delays:
        counts[min(bisect_left(EDGES_MS, delay_ms), len(EDGES_MS) - 1)] += n
    return replace(known, delays={bucket: n for bucket, n in sorted(counts.items()) if n})


def mature_delay_ms(known: Maturity, labels_min: int) -> int | None:
    """Return the delay within which nine of ten labels came, or None where there were fewer than `labels_min`.

    Within its bucket it is interpolated.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0, 0), [(delay_ms, 1) for delay_ms in range(0, 100_000, 1_000)])
    >>> mature_delay_ms(known, 100), mature_delay_ms(known, 101)
    (89550, None)
    """
    total = sum(known.delays.values())
    if total < max(labels_min, 1):
        return None
    wanted, before = math.ceil(MATURE_SHARE * total), 0
    for bucket, n in known.delays.items():
        if before + n >= wanted:
            lower_ms = EDGES_MS[bucket - 1] if bucket else 0
            return lower_ms + (EDGES_MS[bucket] - lower_ms) * (wanted - before) // n
        before += n
    raise AssertionError("a share below one is reached")


@dataclass(frozen=True, slots=True)
class MaturitySpec:
    """When a cohort window is mature.

    Parameters
    ----------
    judge_after_ms
        What the configuration or the reference says; None for what is observed, and the horizon until that is known.
    horizon_ms
        After so long no label counts.
    labels_min
        How many labels make an observation.
    """

    judge_after_ms: int | None
    horizon_ms: int
    labels_min: int


def mature_through_ms(known: Maturity, spec: MaturitySpec, now_ms: int) -> int:
    """Return the newest end of a cohort window that is to be judged by now, in event time.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0, 0), [(60_000, 100)])
    >>> auto, fixed = MaturitySpec(None, 10**6, 100), MaturitySpec(5, 10**6, 100)
    >>> mature_delay_ms(known, 100)
    61027
    >>> mature_through_ms(known, auto, 122_054), mature_through_ms(known, auto, 122_053)
    (61027, -877947)
    >>> mature_through_ms(known, fixed, 128_000)
    127995
    """
    if spec.judge_after_ms is not None:
        return now_ms - spec.judge_after_ms
    observed_ms = mature_delay_ms(known, spec.labels_min)
    if observed_ms is None or now_ms < known.first_ms + SPAN_FACTOR * observed_ms:
        return now_ms - spec.horizon_ms
    return now_ms - min(observed_ms, spec.horizon_ms)


def due_ms(known: Maturity, spec: MaturitySpec, window_end_ms: int) -> int:
    """Return the event time from which a cohort window is to be judged, should no further label come.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0, 0), [(60_000, 100)])
    >>> auto, fixed = MaturitySpec(None, 10**6, 100), MaturitySpec(5, 10**6, 100)
    >>> due_ms(known, auto, 0), due_ms(known, auto, 100_000), due_ms(known, fixed, 0)
    (122054, 161027, 5)
    """
    if spec.judge_after_ms is not None:
        return window_end_ms + spec.judge_after_ms
    at_last_ms = window_end_ms + spec.horizon_ms
    observed_ms = mature_delay_ms(known, spec.labels_min)
    if observed_ms is None:
        return at_last_ms
    return min(max(window_end_ms + observed_ms, known.first_ms + SPAN_FACTOR * observed_ms), at_last_ms)
