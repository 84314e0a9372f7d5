"""How long is waited before something that failed is tried again? Pure: chance comes in as a number."""

from __future__ import annotations

_DOUBLINGS_MAX = 30


def backoff_ms(attempts: int, chance: float, *, first_ms: int, most_ms: int) -> int:
    """Return how long to wait after so many failed attempts: twice as long each time, up to a bound.

    Parameters
    ----------
    attempts
        How many failed, at least 1.
    chance
        From 0 to 1; those who failed together come again at different times, after half to all of the wait.

    Examples
    --------
    >>> [backoff_ms(attempts, 1.0, first_ms=1_000, most_ms=60_000) for attempts in (1, 2, 3, 7, 1000)]
    [1000, 2000, 4000, 60000, 60000]
    >>> backoff_ms(3, 0.0, first_ms=1_000, most_ms=60_000)
    2000
    """
    whole_ms = min(first_ms << min(attempts - 1, _DOUBLINGS_MAX), most_ms)
    return round(whole_ms * (1 + chance) / 2)
