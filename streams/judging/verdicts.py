"""What is said of a feature when a window closes, and what its distributions say, judged over the rollups. No I/O.

What the sequential detectors say stands in `streams.judging.series`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from detectors.reference.summaries import Ints
from detectors.windows.distances import DISTANCES, Histograms, line
from detectors.windows.drift import judge
from driftline.settings import DriftSettings
from streams.panes import PaneLayout

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


Reason = Literal["few_events", "season_unknown", "no_reference", "no_values", "no_change_yet"]
"""Why a verdict is not ready: fewer events than a window must have, past seasons that are not known, no rows in the
reference, none in the window, a sequential detector whose window has no older part."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of `v_drift`, without its model, version, segment and window.

    Parameters
    ----------
    p_value
        NaN where the detector has none.
    counts
        Events by bin of the window, with the first window statistic of a feature.
    changed_ms
        Estimated event time of the change, for sequential detectors that found one.
    fell
        Whether the change was downwards, for sequential detectors that found one: errors that become fewer are no harm.
    shares
        What a check of the data's quality compared, in the reference and in the window.
    expected
        What a check of the traffic expected: events, or the greatest age in milliseconds.
    reason
        Why it is not ready, if it is not.
    """

    feature: str
    detector: str
    score: float
    threshold: float
    p_value: float
    n_reference: int
    n_current: int
    level: str
    counts: tuple[int, ...] | None = None
    changed_ms: int | None = None
    fell: bool = False
    shares: tuple[float, float] | None = None
    expected: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True, eq=False)
class _Watched:
    """The features that a window statistic can judge, and their bins among all bins.

    Parameters
    ----------
    places
        Places of the features in the profile.
    bins
        Places of their bins in the pane's vector; None for all bins.
    starts
        Where each of these features' bins start among `bins`.
    widths, jumps
        See `detectors.windows.distances.line`.
    """

    places: tuple[int, ...]
    bins: Ints | None
    starts: Ints
    widths: Floats
    jumps: Floats

    def of(self, counts: Ints) -> Ints:
        """Return the counts of these features only."""
        return counts if self.bins is None else counts[self.bins]


@lru_cache(maxsize=4096)
def reference_counts(layout: PaneLayout, segment: str | None, ordered: bool = False) -> Ints:
    """Return the reference's counts of a segment, or of all rows for None, one feature's bins after the other.

    With `ordered` only those of features that have an order, see `detectors.windows.distances.Distance`.
    """
    return _watched(layout, ordered).of(np.array(layout.profile.counts_of(segment), np.int64))


@lru_cache(maxsize=4096)
def _watched(layout: PaneLayout, ordered: bool) -> _Watched:
    features = layout.profile.features
    places = [place for place, feature in enumerate(features) if feature.kind == "numeric" or not ordered]
    bins = [np.arange(layout.starts[place], layout.starts[place + 1]) for place in places]
    lines = [line(features[place]) for place in places]
    starts = np.cumsum([0, *(of.size for of in bins)])[:-1]
    joined = np.concatenate([np.zeros(0, np.int64), *bins])
    widths, jumps = (np.concatenate([np.zeros(0), *(of[part] for of in lines)]) for part in (0, 1))
    return _Watched(tuple(places), joined if ordered else None, starts, widths, jumps)


def window_verdicts(
    vector: Ints,
    layout: PaneLayout,
    drift: DriftSettings,
    *,
    significance: float,
    ready: bool,
    segment: str | None = None,
    dependence: Floats | None = None,
    reference: Ints | None = None,
) -> list[Verdict]:
    """Judge every feature of a window by the window statistics, each segment against its own rows of the reference.

    Parameters
    ----------
    vector
        int64; the window's merged pane vector.
    significance
        Largest p-value that counts as a change.
    segment
        Whose vector it is, such as `SEX=1`; None for all traffic. One that the reference has no row of is `not_ready`.
    ready
        False where the window holds too few events to be judged: scores stand, levels say `not_ready`.
    dependence
        Of each feature, see `detectors.windows.drift.judge`.
    reference
        int64 [bins]; what the window is compared with instead, such as the like phases of past seasons.

    Returns
    -------
    list of Verdict
        One for each statistic and feature that it can judge. The first of each feature carries its counts.
    """
    current = vector[: layout.n_bins]
    verdicts: list[Verdict] = []
    counted: set[int] = set()
    for detector, effect in drift.window_effects.items():
        ordered = DISTANCES[detector].is_ordered
        watched = _watched(layout, ordered)
        judged = judge(
            detector,
            Histograms(
                reference_counts(layout, segment, ordered) if reference is None else watched.of(reference),
                watched.of(current),
                watched.starts,
                watched.widths,
                watched.jumps,
            ),
            effect=effect,
            significance=significance,
            seed=int(layout.profile.digest[:12], 16),
            dependence=None if dependence is None else dependence[list(watched.places)],
        )
        for place, found in zip(watched.places, judged, strict=True):
            counts = current[layout.starts[place] : layout.starts[place + 1]]
            verdicts.append(
                Verdict(
                    layout.profile.features[place].name,
                    detector,
                    found.score,
                    found.threshold,
                    found.p_value,
                    found.n_reference,
                    found.n_current,
                    found.level if ready else "not_ready",
                    None if place in counted else tuple(counts.tolist()),
                )
            )
        counted.update(watched.places)
    return verdicts


def with_reasons(verdicts: Iterable[Verdict], reason: Reason | None) -> list[Verdict]:
    """Say of each verdict that is not ready why: for the reason that holds for all of them, else for its own.

    Examples
    --------
    >>> age = Verdict("age", "psi", 0.0, 0.1, 1.0, 0, 200, "not_ready")
    >>> [of.reason for of in with_reasons([age], None)], [of.reason for of in with_reasons([age], "few_events")]
    (['no_reference'], ['few_events'])
    """
    return [
        verdict
        if verdict.level != "not_ready"
        else replace(verdict, reason=reason or ("no_values" if verdict.n_reference else "no_reference"))
        for verdict in verdicts
    ]
