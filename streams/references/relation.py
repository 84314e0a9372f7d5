"""What do the labelled rows of a reference say of the relation between features and right answers? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.canonical import canonical
from detectors.reference.building import Coded as ProfileCoded
from detectors.reference.effects import Effects, fit_effects
from detectors.reference.profile import Profile, bin_categorical, bin_numeric
from driftline.events import Coded, FeatureColumn, Floats, Ints, Mask

CLASSES_MAX = 8
"""With more classes, only right answers are explained, not those of each class."""

ERROR_SCALES_MAX = 2.0**16
"""No error counts for more, so that one odd row explains nothing."""


def effects_of(
    profile: Profile,
    columns: Mapping[str, FeatureColumn],
    prediction: ProfileCoded | Floats,
    label: ProfileCoded | Floats,
    has_features: Mask,
) -> Effects | None:
    """Fit what goes with the bins of a reference's features, or return None where too few rows have labels.

    Parameters
    ----------
    profile
        The reference, as far as it is frozen.
    columns
        Its features.
    prediction, label
        One entry a row, `Coded` for classification.
    has_features
        bool [rows].
    """
    if isinstance(prediction, ProfileCoded) and isinstance(label, ProfileCoded):
        wanted, known = _answers(profile, prediction, label)
    else:
        wanted, known = _errors(profile, np.asarray(prediction, np.float64), np.asarray(label, np.float64))
    rows = np.flatnonzero(known & has_features)
    bins, start = [], 0
    for feature in profile.features:
        if not feature.name.startswith("@"):  # what a model puts out is not its input
            column = columns[feature.name].take(rows)
            if isinstance(column, Coded):
                bins.append(start + bin_categorical(feature, column.codes, column.values))
            else:
                bins.append(start + bin_numeric(feature, column.values, column.missing))
        start += feature.n_bins
    codes: Ints = np.stack(bins, axis=1) if bins else np.zeros((len(rows), 0), np.int64)
    return fit_effects(codes, start, {name: of[rows] for name, of in wanted.items()})


def _answers(profile: Profile, prediction: ProfileCoded, label: ProfileCoded) -> tuple[dict[str, Floats], Mask]:
    """Return what is right, and of each class what is a hit, predicted and true; and which rows have a label."""
    predicted, true = (_class_of(profile.classes, column) for column in (prediction, label))
    found = {"right": predicted == true}
    if len(profile.classes) <= CLASSES_MAX:
        for place, name in enumerate(profile.classes):
            of = {"hit": (predicted == place) & (true == place), "predicted": predicted == place, "true": true == place}
            found |= {f"{kind}.{name}": rows for kind, rows in of.items()}
    return {name: of.astype(np.float64) for name, of in found.items()}, (predicted >= 0) & (true >= 0)


def _class_of(classes: Sequence[str], column: ProfileCoded) -> Ints:
    place = {name: at for at, name in enumerate(classes)}
    # A code of -1 or -2 finds its place from the end.
    return np.array([*(place.get(canonical(text), -1) for text in column.values), -1, -1], np.int64)[column.codes]


def _errors(profile: Profile, prediction: Floats, label: Floats) -> tuple[dict[str, Floats], Mask]:
    """Return errors, their sizes and squares in the error scale; and which rows have one."""
    known = np.isfinite(prediction) & np.isfinite(label)
    with np.errstate(over="ignore", invalid="ignore"):
        error = (prediction - label) / profile.error_scale
    error = np.where(known, np.clip(error, -ERROR_SCALES_MAX, ERROR_SCALES_MAX), 0.0)
    return {"error": error, "absolute": np.abs(error), "square": error * error}, known
