"""How far off are accuracy and ROC area before labels, when the labels come? On real data, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.detection.concepts import Floats, Ints
from benchmarks.detection.real import Data, employment, housing
from detectors.reference.building import Coded, build_profile, categorical_feature, numeric_feature
from detectors.reference.profile import Profile, bin_score
from detectors.reference.summaries import pack_cells
from labels_join.estimate import estimated_metrics

METRICS = ("accuracy", "roc_auc")
NAMES = ("0", "1")


class Windowed(NamedTuple):
    """A data set, and into windows of which sizes its later rows are cut; one that is not whole is left out."""

    name: str
    data: Data
    sizes: tuple[int, ...]


def windowed(folder: Path) -> list[Windowed]:
    """Return the data sets: of employment 417 to 41 windows, of housing 41 to 8."""
    return [
        Windowed("employment", employment(folder), (500, 2_000, 5_000)),
        Windowed("California housing", housing(folder), (200, 500, 1_000)),
    ]


def windows_of(data: Data, size: int) -> list[slice]:
    """Return where windows of this size lie among the later rows."""
    return [slice(start, start + size) for start in range(0, len(data.later_label) - size + 1, size)]


def profile_of(data: Data) -> Profile:
    """Return the reference of a binary model with labels."""
    predicted, label = (codes.astype(np.int32) for codes in (data.predicted, data.label))
    features = [
        categorical_feature("@prediction", predicted, NAMES, 50),
        numeric_feature("@score", data.score, np.isnan(data.score), 10),
    ]
    return build_profile(
        "binary", features, prediction=Coded(predicted, NAMES), score=data.score, label=Coded(label, NAMES)
    )


def estimated(data: Data, size: int) -> dict[str, Floats]:
    """Return our estimates of each window, by metric; NaN where there is none."""
    profile, found = profile_of(data), []
    for rows in windows_of(data, size):
        cells, n = np.unique(_cells(profile, data.later_predicted[rows], data.later_score[rows]), return_counts=True)
        found.append(estimated_metrics(pack_cells(cells, n), profile, "1", METRICS))
    values = {metric: [np.nan if (value := of[metric].value) is None else value for of in found] for metric in METRICS}
    return {metric: np.array(of, np.float64) for metric, of in values.items()}


def _cells(profile: Profile, predicted: Ints, score: Floats) -> Ints:
    return predicted * (profile.unscored_bin + 1) + bin_score(profile, score)


def realised(data: Data, size: int) -> dict[str, Floats]:
    """Return what labels say of each window; NaN for an area where they are all of one class."""
    rows = windows_of(data, size)
    accuracy = [np.mean(data.later_predicted[of] == data.later_label[of]) for of in rows]
    area = [_area(data.later_label[of], data.later_score[of]) for of in rows]
    return {"accuracy": np.array(accuracy), "roc_auc": np.array(area)}


def _area(label: Ints, score: Floats) -> float:
    return float(roc_auc_score(label, score)) if label.min() < label.max() else np.nan


class Off(NamedTuple):
    """How far estimates were off, over the windows in which the metric exists."""

    windows: int
    mean_absolute: float
    bias: float


def off(estimates: Mapping[str, Floats], truth: Mapping[str, Floats]) -> dict[str, Off]:
    """Return by metric how far estimates were off."""
    found = {}
    for metric in METRICS:
        error = (np.asarray(estimates[metric], np.float64) - truth[metric])[np.isfinite(truth[metric])]
        found[metric] = Off(len(error), float(np.abs(error).mean()), float(error.mean()))
    return found
