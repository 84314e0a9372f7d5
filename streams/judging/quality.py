"""What do a window's odd values say of the data that feed a model? Judged over the rollups. No I/O.

Each check compares, feature by feature, the share of one kind of odd values with the reference's. A feature without any
has nothing to say, so only the others get a verdict, and every look is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from detectors.reference.profile import FeatureProfile
from detectors.reference.summaries import Ints, Mask
from detectors.windows.quality import Odd, judge_odd
from driftline.settings.quality import QualityCheck
from streams.judging.verdicts import Floats, Verdict, reference_counts, with_reasons
from streams.panes import PaneLayout, odd_values

PREFIX = "quality."
"""Before the name of a check it is the name of its detector."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What the checks of one version and segment said.

    Parameters
    ----------
    verdicts
        Of features that had odd values.
    looks
        How many features were looked at, by all checks together; 0 where the window was not ready.
    expected
        False episodes that are to be expected of them.
    """

    verdicts: tuple[Verdict, ...] = ()
    looks: int = 0
    expected: float = 0.0


NO_CHECKS = Quality()


@dataclass(frozen=True, eq=False)
class _Counts:
    """Of each feature, in the window or in the reference: all rows, what is missing, what is other, and what is odd."""

    n: Ints
    missing: Ints
    other: Ints
    odd: Ints


@dataclass(frozen=True, slots=True)
class _Check:
    """Which features a check looks at, and what it counts of how many: (odd, of how many), in sample and reference."""

    of: Callable[[FeatureProfile], bool]
    current: Callable[[_Counts], tuple[Ints, Ints]]
    reference: Callable[[_Counts], tuple[Ints, Ints]]


def _is_category(feature: FeatureProfile) -> bool:
    return feature.kind == "categorical"


def _has_range(feature: FeatureProfile) -> bool:
    return feature.span is not None


# A category's `other` holds both what was never seen and what is no category; in the reference they are not told
# apart, so each check takes all of them for its own. Outside of the reference's range one row stands for the reference,
# see `detectors.windows.quality.excess_p`.
_CHECKS: Mapping[QualityCheck, _Check] = {
    "missing": _Check(lambda of: True, lambda of: (of.missing, of.n), lambda of: (of.missing, of.n)),
    "unseen": _Check(_is_category, lambda of: (of.other - of.odd, of.n - of.missing), lambda of: _present(of)),
    "range": _Check(_has_range, lambda of: (of.odd, of.n - of.missing - of.other), lambda of: _in_range(of)),
    "type": _Check(lambda of: True, lambda of: (of.odd, of.n - of.missing), lambda of: _present(of)),
}


def _present(of: _Counts) -> tuple[Ints, Ints]:
    return of.other, of.n - of.missing


def _in_range(of: _Counts) -> tuple[Ints, Ints]:
    n = of.n - of.missing - of.other
    return np.minimum(of.odd + 1, n), n


def quality_verdicts(
    vector: Ints,
    layout: PaneLayout,
    effects: Mapping[QualityCheck, float],
    *,
    significance: float,
    ready: bool,
    segment: str | None = None,
    dependence: Floats | None = None,
) -> tuple[tuple[Verdict, ...], int]:
    """Judge every feature of a window by the checks, each segment against its own rows of the reference.

    Parameters
    ----------
    vector, significance, ready, segment, dependence
        As for `streams.judging.verdicts.window_verdicts`.
    effects
        The checks to make, and by how much a share must grow to matter.

    Returns
    -------
    One verdict for each check and feature that had odd values; and at how many features the checks looked.
    """
    features = layout.profile.features
    is_numeric, outside, watched_by = _features(layout)
    reference = _counts(reference_counts(layout, segment), layout, outside)
    current = _counts(vector[: layout.n_bins], layout, odd_values(vector, layout))
    names: list[QualityCheck] = []
    places: list[Ints] = []
    odds: list[list[Ints]] = []
    known: list[Ints] = []
    looks = 0
    for name in effects:
        check, watched = _CHECKS[name], watched_by[name]
        of = current if name != "type" else _with_types(current, is_numeric)
        looks += int(watched.sum())
        at = np.flatnonzero(watched & (check.current(of)[0] > 0))
        odds.append([part[at] for part in (*check.reference(reference), *check.current(of))])
        known.append(outside[at] if name == "range" else odds[-1][0])  # without the row that stands for the reference
        places.append(at)
        names += [name] * at.size
    if not names:
        return (), looks if ready else 0
    where = np.concatenate(places)
    odd = Odd(*(np.concatenate(part) for part in zip(*odds, strict=True)))
    judged = judge_odd(
        odd,
        effects=np.array([effects[name] for name in names]),
        significance=significance,
        dependence=None if dependence is None else dependence[where],
    )
    before, now = np.concatenate(known) / np.maximum(odd.n_reference, 1), odd.current / np.maximum(odd.n_current, 1)
    found = tuple(
        Verdict(
            features[place].name,
            PREFIX + name,
            drift.score,
            drift.threshold,
            drift.p_value,
            drift.n_reference,
            drift.n_current,
            drift.level if ready else "not_ready",
            shares=shares,
        )
        for name, place, drift, shares in zip(
            names, where.tolist(), judged, zip(before.tolist(), now.tolist(), strict=True), strict=True
        )
    )
    return tuple(with_reasons(found, None if ready else "few_events")), looks if ready else 0


@lru_cache(maxsize=4096)
def _features(layout: PaneLayout) -> tuple[Mask, Ints, Mapping[QualityCheck, Mask]]:
    """Return which features are numeric, how many rows of each lie outside, and which of them each check watches."""
    features = layout.profile.features
    is_numeric = np.array([feature.kind == "numeric" for feature in features], np.bool_)
    outside = np.array([feature.outside for feature in features], np.int64)
    watched = {name: np.array([check.of(of) for of in features], np.bool_) for name, check in _CHECKS.items()}
    return is_numeric, outside, watched


def _counts(bins: Ints, layout: PaneLayout, odd: Ints) -> _Counts:
    last = layout.starts[1:] - 1
    return _Counts(np.add.reduceat(bins, layout.starts[:-1]), bins[last - 1], bins[last], odd)


def _with_types(of: _Counts, is_numeric: Mask) -> _Counts:
    """Of numbers, what is other is of a wrong type, or not finite."""
    return _Counts(of.n, of.missing, of.other, np.where(is_numeric, of.other, of.odd))
