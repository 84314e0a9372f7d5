"""What do our window statistics say of streams of windows? Judged as by a worker."""

from __future__ import annotations

from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.windows import Windows
from detectors.budget import Budget, allowance, shared_noise
from detectors.noise.swings import PIECES_A_SLIDE, FeatureSwings
from detectors.reference.building import categorical_feature, numeric_feature
from detectors.reference.profile import FeatureProfile, bin_categorical, bin_numeric
from detectors.windows.distances import DISTANCES, Histograms, line
from detectors.windows.drift import judge
from driftline.settings import WINDOW_DETECTORS, AlarmSettings, DriftSettings, RetrainingSettings

WINDOWS_A_PERIOD = 720.0
"""Windows of an hour in 30 days, the period of the default budget."""

IN_A_ROW = RetrainingSettings().consecutive
CATEGORIES_MAX = 200

Alarm = tuple[int, str]
"""A window and the feature that is said to have drifted in it."""


class Counted(NamedTuple):
    """What a worker keeps of a stream of windows.

    Parameters
    ----------
    profiles
        Of each feature.
    parts
        By window and feature, int64 [parts of a slide, bins].
    size
        Rows of a window.
    """

    profiles: list[FeatureProfile]
    parts: list[list[NDArray[np.int64]]]
    size: int


def count(windows: Windows) -> Counted:
    """Count the rows of all windows in the bins of the reference."""
    profiles = [_profile(name, column) for name, column in windows.reference.items()]
    parts = [[_counts(of, windows.window(number)[of.name]) for of in profiles] for number in range(windows.n)]
    return Counted(profiles, parts, windows.size)


def alarms_of(detector: str, counted: Counted) -> list[Alarm]:
    """Return where one of our window statistics says drift."""
    is_seen = [of.kind == "numeric" or not DISTANCES[detector].is_ordered for of in counted.profiles]
    kept = list(compress(counted.profiles, is_seen))
    if not kept:
        return []
    lengths = np.array([of.n_bins for of in kept])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    freedoms = np.maximum(lengths - 3.0, 1.0)
    places = [line(of) for of in kept]
    widths, jumps = (np.concatenate([of[part] for of in places]) for part in (0, 1))
    reference = np.concatenate([np.array(of.counts) for of in kept])
    swings, found = FeatureSwings.unknown(len(kept), len(reference), 0), []
    drift = DriftSettings(detectors=WINDOW_DETECTORS)
    budget = Budget(AlarmSettings().budget, WINDOWS_A_PERIOD, IN_A_ROW)
    spent = allowance(budget, len(counted.profiles), 1, shared_noise(sum(kept[0].counts), counted.size))
    for number, of_features in enumerate(counted.parts):
        parts = np.concatenate(list(compress(of_features, is_seen)), axis=1)
        swings = swings.after(parts, number, starts)
        verdicts = judge(
            detector,
            Histograms(reference, parts.sum(axis=0), starts, widths, jumps),
            effect=drift.window_effects[detector],  # type: ignore[index]
            significance=spent.significance,
            seed=number,
            dependence=swings.known(freedoms),
        )
        found += [(number, of.name) for of, said in zip(kept, verdicts, strict=True) if said.level == "drift"]
    return found


def in_a_row(alarms: list[Alarm], times: int = IN_A_ROW) -> list[Alarm]:
    """Return the alarms that opened an episode or went on with one: a feature at drift in so many windows in a row."""
    said = set(alarms)
    return [(number, name) for number, name in alarms if all((number - back, name) in said for back in range(times))]


def _profile(name: str, column: NDArray[Any]) -> FeatureProfile:
    if column.dtype.kind == "U":
        values = sorted(set(column.tolist()) - {""})
        return categorical_feature(name, _codes(column, values), values, CATEGORIES_MAX)
    return numeric_feature(name, column, np.isnan(column), DriftSettings().bins)


def _counts(of: FeatureProfile, column: NDArray[Any]) -> NDArray[np.int64]:
    """Count the rows of each part of a slide."""
    return np.stack(
        [np.bincount(part, minlength=of.n_bins) for part in np.array_split(_bins(of, column), PIECES_A_SLIDE)]
    )


def _bins(of: FeatureProfile, column: NDArray[Any]) -> NDArray[np.int64]:
    if of.kind == "numeric":
        return bin_numeric(of, column, np.isnan(column))
    values = sorted(set(column.tolist()) - {""})
    return bin_categorical(of, _codes(column, values), values)


def _codes(column: NDArray[Any], values: list[str]) -> NDArray[np.int32]:
    place = {text: index for index, text in enumerate(values)}
    return np.array([place.get(text, -1) for text in column.tolist()], np.int32)
