"""How sure must each test be, so that a model raises no more false episodes than it may?

An episode opens when one cause (a feature in a segment) is at `drift` in several disjoint windows in a row. Without any
change that happens by chance; how often depends on how often one test alarms, on how many windows there are and on
how much the windows have in common: all are compared with the same reference, whose own noise none of them can average
away. Every look spends the same, the first as the ten-thousandth: a stream that was quiet for years is watched as
closely as on its first day.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

SIGNIFICANCE_MAX = 0.01
"""However much is allowed, a test that alarms more often than this says nothing about a single window."""

SIGNIFICANCE_LEAST = 1e-5
"""Simulated tables cannot tell smaller p-values apart."""

EXACT_LEAST, EXACT_MAX = 1e-15, 1e-5
"""Of tests whose p-values are exact however small. Broken data are not missed by asking for so much."""

SHARED_MAX = 0.99
CUTS_A_DELTA = {"adwin": 1 / 200, "page_hinkley": 1 / 15, "cusum": 1 / 12, "ddm": 1 / 20, "hddm_a": 1 / 5}
"""How often a sequential detector finds a change in an unchanged independent series, for each pane and unit of delta:
at most so often where it was measured (`docs/statistics.md`), which is less than their bounds promise."""

DELTA_MAX = 0.002
"""The usual confidence of ADWIN: less sure is no sequential detector ever."""

_SHARED_STEPS = 20
_NEARLY_ONE = 1.0 - 1e-9
_HALVINGS = 40
# Deviations of the reference, in its own standard errors, over which expectations are taken.
_DEVIATIONS = np.linspace(-9.0, 9.0, 3601)
_WEIGHTS = np.exp(-_DEVIATIONS * _DEVIATIONS / 2.0) / np.exp(-_DEVIATIONS * _DEVIATIONS / 2.0).sum()


@dataclass(frozen=True)
class Budget:
    """What a model may spend.

    Parameters
    ----------
    episodes
        False episodes in a period, in expectation, above 0.
    windows
        Windows that end in a period, overlapping ones all counted; above 0, need not be whole.
    consecutive
        Disjoint windows in a row that open an episode, and close it.
    """

    episodes: float
    windows: float
    consecutive: int


@dataclass(frozen=True)
class Allowance:
    """What one look may spend: the largest p-value that counts, and the false episodes that are expected of it."""

    significance: float
    expected: float


def shared_noise(n_reference: int, n_current: int) -> float:
    """Return the correlation of two windows' deviations from one reference, rounded up to a twentieth.

    The difference of a window of m and a reference of n has variance 1/m + 1/n, of which all windows share 1/n.

    Examples
    --------
    >>> shared_noise(10_000, 100), shared_noise(5_000, 5_000), shared_noise(1_000, 10**6)
    (0.05, 0.5, 0.99)
    """
    share = n_current / max(n_reference + n_current, 1)
    return min(math.ceil(share * _SHARED_STEPS) / _SHARED_STEPS, SHARED_MAX)


@lru_cache(maxsize=4096)
def false_episodes(significance: float, windows: float, consecutive: int, shared: float) -> float:
    """Bound the expected number of false episodes of one unchanged cause.

    Parameters
    ----------
    significance
        How often a window says drift by chance.
    windows
        How many windows there are, overlapping ones all counted.
    consecutive
        Disjoint windows in a row that open an episode, and close it.
    shared
        Correlation of two disjoint windows' deviations, from 0 to below 1, see `shared_noise`.

    Notes
    -----
    Given how far the reference deviates by chance, r standard errors, disjoint windows are independent and each alarms
    with a probability g(r). Each opening ends a row of c alarms, of which N windows hold at most N g^c in expectation,
    overlapping or not; and each but the first follows a row of c calm windows, of which there are at most N (1 - g)^c.
    So the expectation is at most that of min(N g^c, 1 + N (1 - g)^c) over r. With shared = 0 it is N times the
    significance to the power of c. Tests of one degree of freedom have the heaviest joint tails; of more degrees this
    is up to twice too much.

    Examples
    --------
    >>> round(false_episodes(0.001, 720, 2, 0.0), 6), round(false_episodes(0.001, 720, 2, 0.5), 3)
    (0.00072, 0.03)
    """
    critical = special.ndtri(1.0 - significance / 2.0)
    own = math.sqrt(1.0 - shared)
    centre = math.sqrt(shared) * _DEVIATIONS
    alarms = special.ndtr((-critical - centre) / own) + special.ndtr((centre - critical) / own)
    opened = windows * alarms**consecutive
    reopened = 1.0 + windows * (1.0 - alarms) ** consecutive
    return float(_WEIGHTS @ np.minimum(opened, reopened))


@lru_cache(maxsize=4096)
def significance_for(
    allowed: float,
    windows: float,
    consecutive: int,
    shared: float,
    least: float = SIGNIFICANCE_LEAST,
    most: float = SIGNIFICANCE_MAX,
) -> float:
    """Return the largest significance at which one cause has at most so many false episodes.

    It is at least `least`, which may be more than is allowed, and at most `most`.

    Examples
    --------
    >>> round(significance_for(0.00072, 720, 2, 0.0), 6)
    0.001
    """
    low, high = math.log(least), math.log(most)
    if false_episodes(most, windows, consecutive, shared) <= allowed:
        return most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if false_episodes(math.exp(middle), windows, consecutive, shared) <= allowed:
            low = middle
        else:
            high = middle
    return math.exp(low)


def allowance(budget: Budget, causes: int, detectors: int, shared: float, given: float | None = None) -> Allowance:
    """Return what each look at one cause may spend in one window.

    Parameters
    ----------
    causes
        Features times segments times versions that are watched: each gets the same part.
    detectors
        Detectors that look at each cause. They look at the same events, so they depend on one another; each gets an
        equal part of the significance, which holds whatever their dependence (Bonferroni).
    shared
        See `shared_noise`.
    given
        A significance that is to be used whatever the budget says.

    Examples
    --------
    >>> hourly = Budget(episodes=1.0, windows=720.0, consecutive=2)
    >>> [round(allowance(hourly, causes, 2, 0.0).significance, 6) for causes in (20, 2_000)]
    [0.004167, 0.000417]
    """
    each = given
    if each is None:
        together = significance_for(budget.episodes / causes, budget.windows, budget.consecutive, shared)
        each = max(together / detectors, SIGNIFICANCE_LEAST)
    together = min(each * detectors, _NEARLY_ONE)
    expected = false_episodes(together, budget.windows, budget.consecutive, shared)
    return Allowance(each, expected / budget.windows)


def exact_allowance(budget: Budget, causes: int, detectors: int, shared: float) -> Allowance:
    """Return what each look may spend whose p-values are exact however small they are; parameters as for `allowance`.

    Examples
    --------
    >>> exact_allowance(Budget(episodes=0.05, windows=720.0, consecutive=1), 20, 4, 0.0).significance < 1e-6
    True
    """
    allowed = budget.episodes / causes
    together = significance_for(
        allowed, budget.windows, budget.consecutive, shared, EXACT_LEAST * detectors, EXACT_MAX * detectors
    )
    expected = false_episodes(together, budget.windows, budget.consecutive, shared)
    return Allowance(together / detectors, expected / budget.windows)


def delta_for(cuts_a_pane: float, detector: str) -> float:
    """Return the confidence at which a detector cuts an unchanged series at most so often, never more than `DELTA_MAX`.

    Parameters
    ----------
    detector
        One of `CUTS_A_DELTA`.

    Examples
    --------
    >>> round(delta_for(1e-6, "adwin"), 6), round(delta_for(1e-6, "cusum"), 6), delta_for(1e-3, "adwin")
    (0.0002, 1.2e-05, 0.002)
    """
    return min(cuts_a_pane / CUTS_A_DELTA[detector], DELTA_MAX)
