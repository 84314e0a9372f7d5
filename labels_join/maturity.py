"""How long do labels take, and which cohort windows are mature enough to be judged? Pure functions of the log.

Delays are counted in at most 480 buckets, so the histogram stays small and merges exactly. A cohort's delay counts
from the end of its grain, because that is what a window's end is compared with: when nine of ten labels of a grain are
in, so they are of every window that ends with it.

Each true class is counted apart. Where frauds are known after weeks and good payments after days, nine of ten labels
are in while most frauds are not, and precision looks half of what it is.
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
"""`judge_after: auto` waits until this share of each true class's labels is in."""

CLASS_LABELS_MIN = 30
"""So many labels of a class say how long they take. Of far fewer, nine of ten are often early ones by chance: of labels
that come evenly and were watched for any time, three in four took less than half of it."""

SPAN_FACTOR = 2
"""Delays are believed when they were watched for at least this many times the one in question: slow labels are late to
be seen, so the first ones make all look fast. The delay in question is that of a grain's first event."""


@dataclass(frozen=True, slots=True)
class Maturity:
    """What is known of one version's label delays, and how far its cohort windows were judged.

    Parameters
    ----------
    first_ms
        Since when delays are watched, in event time.
    judged_through_ms
        End of the last cohort window that was judged, or passed over because it held nothing.
    delays
        Labels by true class, one without a name for regression, and by bucket, see `EDGES_MS`.
    """

    first_ms: int
    judged_through_ms: int
    delays: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain numbers and lists."""
        return {
            "first_ms": self.first_ms,
            "judged_through_ms": self.judged_through_ms,
            "delays": {name: [list(item) for item in sorted(of.items())] for name, of in sorted(self.delays.items())},
        }


def maturity_from_json(content: Mapping[str, Any]) -> Maturity:
    """Return what `Maturity.to_json` was called on.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0), [("", delay_bucket(1_500), 3)])
    >>> maturity_from_json(known.to_json()) == known
    True
    """
    delays = {name: dict(of) for name, of in content["delays"].items()}
    return Maturity(content["first_ms"], content["judged_through_ms"], delays)


def delay_bucket(delay_ms: int) -> int:
    """Return which bucket a delay is counted in."""
    return min(bisect_left(EDGES_MS, delay_ms), len(EDGES_MS) - 1)


def with_delays(known: Maturity, delays: Iterable[tuple[str, int, int]]) -> Maturity:
    """Add labels.

    Parameters
    ----------
    delays
        (true class, bucket, how many labels); fewer than none where corrections took labels back.
    """
    counts = {name: Counter(of) for name, of in known.delays.items()}
    for name, bucket, n in delays:
        counts.setdefault(name, Counter())[bucket] += n
    kept = {name: {bucket: n for bucket, n in sorted(of.items()) if n} for name, of in counts.items()}
    return replace(known, delays={name: of for name, of in kept.items() if of})


def mature_delay_ms(known: Maturity, labels_min: int) -> int | None:
    """Return the delay within which nine of ten labels of every class came, or None where that is not known.

    It is known from `labels_min` labels on, of at least two classes where there are classes, and `CLASS_LABELS_MIN` of
    each that had any. A class that never had a label may still be on its way, as long as there is no second one.
    Within its bucket it is interpolated.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0), [("", delay_bucket(ms), 1) for ms in range(0, 100_000, 1_000)])
    >>> mature_delay_ms(known, 100), mature_delay_ms(known, 101)
    (89550, None)
    >>> fast = with_delays(Maturity(0, 0), [("0", delay_bucket(2_000), 900)])
    >>> slow = [with_delays(fast, [("1", delay_bucket(60_000), n)]) for n in (29, 30)]
    >>> [mature_delay_ms(known, 100) for known in (fast, *slow)]
    [None, None, 61027]
    """
    sizes = {name: sum(of.values()) for name, of in known.delays.items()}
    if sum(sizes.values()) < max(labels_min, 1) or min(sizes.values()) < min(labels_min, CLASS_LABELS_MIN):
        return None
    if len(sizes) < 2 and "" not in sizes:
        return None
    return max(_delay_of_most(of, sizes[name]) for name, of in known.delays.items())


def _delay_of_most(of_class: Mapping[int, int], total: int) -> int:
    wanted, before = math.ceil(MATURE_SHARE * total), 0
    for bucket, n in of_class.items():
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
    grain_ms
        Length of a grain.
    """

    judge_after_ms: int | None
    horizon_ms: int
    labels_min: int
    grain_ms: int


def mature_through_ms(known: Maturity, spec: MaturitySpec, now_ms: int) -> int:
    """Return the newest end of a cohort window that is to be judged by now, in event time.

    Examples
    --------
    >>> known = with_delays(Maturity(0, 0), [("", delay_bucket(60_000), 100)])
    >>> auto, fixed = MaturitySpec(None, 10**6, 100, 0), MaturitySpec(5, 10**6, 100, 0)
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
    if observed_ms is None or now_ms < _believed_from_ms(known, spec, observed_ms):
        return now_ms - spec.horizon_ms
    return now_ms - min(observed_ms, spec.horizon_ms)


def _believed_from_ms(known: Maturity, spec: MaturitySpec, observed_ms: int) -> int:
    return known.first_ms + SPAN_FACTOR * (observed_ms + spec.grain_ms)


def arrivals_are_whole(known: Maturity, spec: MaturitySpec, now_ms: int) -> bool:
    """Return whether what arrives is a fair part of all labels, the slow ones too.

    Of a version's first labels only the fast ones have arrived, whatever they are of. Later, slow labels of before
    come beside the fast ones of now.

    Examples
    --------
    >>> arrivals_are_whole(Maturity(0, 0), MaturitySpec(5, 10**6, 100, 0), 4)
    False
    >>> arrivals_are_whole(Maturity(0, 0), MaturitySpec(5, 10**6, 100, 0), 5)
    True
    """
    return mature_through_ms(known, spec, now_ms) >= known.first_ms
