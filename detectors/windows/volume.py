"""Do far fewer or far more events come than at such times before?

Counts are compared with those of earlier stretches of the same length, of the same time of day where enough are known.
On the scale of 2 sqrt(n + 3/8) a Poisson count has variance 1 whatever its mean (Anscombe 1948); traffic that swings
more has a larger one, which is estimated, and the test is that of one more observation (Student's t). Invariants: no
drift without both evidence and effect; a threshold is reached exactly at ``drift``; everything is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from detectors.reference.profile import FloatArray
from detectors.windows.drift import Level

DAY_MS = 86_400_000
PAST_MIN = 7
"""So few stretches say nothing of how much traffic swings."""

LIKE_MIN = 6
"""From so many days on, stretches are compared with those of the same time of day only."""

_SHIFT = 0.5


@dataclass(frozen=True, slots=True)
class Volume:
    """What a count says.

    Parameters
    ----------
    expected
        Events that were expected.
    score
        How many times as many, or as few, as expected there are; at least 1.
    threshold
        The score at which the level becomes ``drift``.
    """

    expected: float
    score: float
    threshold: float
    p_value: float
    level: Level


def judge_volume(
    past: Sequence[tuple[int, int]],
    start_ms: int,
    now: int,
    length_ms: int,
    *,
    factor: float,
    significance: float,
    scale: float = 1.0,
    bursts: bool = True,
) -> Volume | None:
    """Judge the count of one stretch.

    Parameters
    ----------
    past
        (start, events) of earlier stretches.
    start_ms, now, length_ms
        The stretch, and its events.
    factor
        By how many times a count must differ from what is expected to matter, above 1.
    significance
        Largest two-sided p-value that counts.
    scale
        Which part of what was usual is to be expected, from 0 to 1.
    bursts
        Whether too many events are a fault, too.

    Returns
    -------
    None while fewer than `PAST_MIN` stretches are known.

    References
    ----------
    .. [1] F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 1948.

    Examples
    --------
    >>> past = [(hour * 3_600_000, 1_000 + hour % 7) for hour in range(100)]
    >>> found = judge_volume(past, 360_000_000, 10, 3_600_000, factor=4.0, significance=1e-5)
    >>> found.level, round(found.expected), round(found.score), found.threshold
    ('drift', 1003, 96, 4.0)
    """
    if len(past) < PAST_MIN:
        return None
    counts = np.array([n for _, n in past], np.float64) * scale
    phases = _phases(np.array([at_ms for at_ms, _ in past]), start_ms, length_ms)
    stable = _stable(counts)
    like = phases == 0
    mean = float(stable[like].mean())
    own = float(stable[like].std(ddof=1))
    within, freedom = _within(stable, phases)
    spread = max(own, within, 1.0) * math.sqrt(1.0 + 1.0 / like.sum())
    distance = float(_stable(np.array([now]))[0]) - mean
    p_value = max(float(2.0 * special.stdtr(freedom, -abs(distance) / spread)), float(np.finfo(np.float64).tiny))
    expected = _count(mean)
    is_fewer = distance < 0
    score = _times(expected, now)
    critical = mean + (-1.0 if is_fewer else 1.0) * spread * -float(special.stdtrit(freedom, significance / 2.0))
    reached = _times(expected, _count(critical)) if critical > 0 else math.inf
    is_significant = p_value <= significance
    at_least = min(reached, score) if is_significant else max(min(reached, 1e300), math.nextafter(score, math.inf))
    if not is_fewer and not bursts:
        return Volume(expected, 1.0, max(factor, 1.0), 1.0, "ok")
    level: Level = "ok"
    if is_significant and score >= math.sqrt(factor):
        level = "drift" if score >= max(factor, at_least) else "warning"
    return Volume(expected, score, max(factor, at_least), p_value, level)


def _stable(counts: FloatArray) -> FloatArray:
    stable: FloatArray = 2.0 * np.sqrt(counts + 0.375)
    return stable


def _count(stable: float) -> float:
    return max(stable * stable / 4.0 - 0.375, 0.0)


def _times(expected: float, now: float) -> float:
    """Return how many times the larger is the smaller; half an event is added to both, so none is some."""
    ratio = (now + _SHIFT) / (expected + _SHIFT)
    return max(ratio, 1.0 / ratio)


def _phases(starts_ms: np.ndarray[tuple[int], np.dtype[np.int64]], at_ms: int, length_ms: int) -> FloatArray:
    """Return a number for each earlier stretch's time of day, 0 for that of this one; 0 for all while few are alike."""
    since_ms = (starts_ms - at_ms) % DAY_MS
    phases: FloatArray = np.round(since_ms / length_ms) % max(round(DAY_MS / length_ms), 1) * 1.0
    return phases if (phases == 0).sum() >= LIKE_MIN else np.zeros(len(starts_ms))


def _within(stable: FloatArray, phases: FloatArray) -> tuple[float, float]:
    """Return the standard deviation within times of day, and its degrees of freedom."""
    _, place = np.unique(phases, return_inverse=True)
    n = np.bincount(place)
    residuals = stable - (np.bincount(place, stable) / n)[place]
    freedom = max(len(stable) - len(n), 1)
    return math.sqrt(float(residuals @ residuals) / freedom), float(freedom)
