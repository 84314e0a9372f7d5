"""How is a reference profile made of reference data? Quantile bins, frequent categories, and their counts.

Invariants: the same data give the same profile, bit for bit; a constant, empty or gigantic feature yields a profile,
not an error.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.canonical import canonical
from detectors.reference.profile import (
    PREDICTION,
    SCORE,
    BoolArray,
    FeatureProfile,
    FloatArray,
    IntArray,
    Profile,
    Task,
    bin_categorical,
    bin_numeric,
    bin_score,
)

SCORE_BINS = 1024

_IQR_OF_STANDARD_NORMAL = 1.349
# Above this the difference of two finite values may be infinite, so quantiles are taken of the values' quarters.
_SAFE_MAX = 1e307


class Coded(NamedTuple):
    """A dictionary-encoded column: `codes` point into `values`; -1 is missing, -2 is other."""

    codes: NDArray[np.int32]
    values: Sequence[str]


def numeric_feature(name: str, values: FloatArray, missing: BoolArray, bins: int) -> FeatureProfile:
    """Profile a numeric feature.

    Parameters
    ----------
    name
        The feature's name.
    values
        One value a row, NaN where missing or of a wrong type.
    missing
        True where the row has no value; a value that is neither missing nor finite is other.
    bins
        Quantile bins asked for; equal quantiles coincide, so a discrete feature has fewer.

    Examples
    --------
    >>> feature = numeric_feature("age", np.array([1.0, 2.0, 3.0, np.nan]), np.array([False, False, False, True]), 2)
    >>> feature.bin_labels(), feature.counts
    (['(-inf, 2]', '(2, inf)', 'missing', 'other'], (2, 1, 1, 0))
    """
    finite = values[np.isfinite(values) & ~missing]
    edges = _quantile_edges(finite, bins)
    centre, scale = _centre_and_scale(finite)
    empty = FeatureProfile(name, "numeric", edges, (), centre, scale, (), _span(name, finite))
    return _with_counts(empty, bin_numeric(empty, values, missing))


def categorical_feature(
    name: str, codes: NDArray[np.int32], values: Sequence[str], categories_max: int
) -> FeatureProfile:
    """Profile a categorical feature, keeping its `categories_max` most frequent categories.

    Parameters
    ----------
    name
        The feature's name.
    codes
        One index into `values` a row; -1 is missing, -2 is other.
    values
        The texts; those with the same canonical text are one category.
    categories_max
        Categories kept; rows of the rest are other.
    """
    totals: dict[str, int] = {}
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    for text, count in zip(values, counts.tolist(), strict=True):
        if count:
            totals[canonical(text)] = totals.get(canonical(text), 0) + count
    ranked = sorted(totals, key=lambda category: (-totals[category], category))
    empty = FeatureProfile(name, "categorical", (), tuple(ranked[:categories_max]), 0.0, 1.0, ())
    return _with_counts(empty, bin_categorical(empty, codes, values))


def build_profile(
    task: Task,
    features: Sequence[FeatureProfile],
    *,
    prediction: Coded | FloatArray,
    score: FloatArray | None = None,
    label: Coded | FloatArray | None = None,
    label_delay_p90_ms: int | None = None,
) -> Profile:
    """Freeze the reference.

    Parameters
    ----------
    task
        Classification takes `prediction` and `label` as `Coded`, regression as float64 with NaN for none.
    features
        Every feature's profile, with ``@prediction``, and with ``@score`` exactly when `score` is given; these two are
        moved last.
    prediction, score, label
        One entry a row. Labels may be absent (-1 or NaN) row by row, or altogether (None).
    label_delay_p90_ms
        The reference's 90th percentile of label minus prediction time.

    Raises
    ------
    ValueError
        If ``@prediction`` or ``@score`` is lacking or superfluous, or if names repeat.
    """
    names = [feature.name for feature in features]
    own = [PREDICTION] if score is None else [PREDICTION, SCORE]
    if sorted(name for name in names if name in (PREDICTION, SCORE)) != own or len(set(names)) < len(names):
        raise ValueError(f"a profile needs each of {own} and every other feature exactly once, not {names}")
    ordered = sorted(
        features, key=lambda feature: (PREDICTION, SCORE).index(feature.name) if feature.name in own else -1
    )
    common: dict[str, Any] = {"task": task, "features": tuple(ordered), "label_delay_p90_ms": label_delay_p90_ms}
    if isinstance(prediction, Coded):
        if isinstance(label, np.ndarray):
            raise ValueError("a classification's labels are coded")
        return _classification(common, prediction, score, label)
    if isinstance(label, Coded):
        raise ValueError("a regression's labels are numbers")
    known = label if label is not None and np.isfinite(label).any() else prediction
    error_scale = _centre_and_scale(known[np.isfinite(known)])[1]
    return Profile(**common, n=len(prediction), classes=(), score_edges=(), score_counts=(), error_scale=error_scale)


def _with_counts(feature: FeatureProfile, codes: IntArray) -> FeatureProfile:
    return replace(feature, counts=tuple(np.bincount(codes, minlength=feature.n_bins).tolist()))


def _span(name: str, finite: FloatArray) -> tuple[float, float] | None:
    """Return the smallest and the largest value; what a model puts out is not its input, and has no range to keep."""
    if name.startswith("@") or not finite.size:
        return None
    return float(finite.min()) + 0.0, float(finite.max()) + 0.0  # -0.0 and 0.0 are one value, as for edges


def _quantiles(finite: FloatArray, shares: FloatArray) -> FloatArray:
    # A quarter is exact in binary, so this changes no bit of a quantile and keeps huge values from overflowing.
    factor = 0.25 if np.abs(finite).max() > _SAFE_MAX else 1.0
    quantiles: FloatArray = np.quantile(finite * factor, shares) / factor
    return quantiles + 0.0  # -0.0 and 0.0 are one edge and must have one digest


def _quantile_edges(finite: FloatArray, bins: int) -> tuple[float, ...]:
    if not finite.size:
        return ()
    return tuple(np.unique(_quantiles(finite, np.linspace(0.0, 1.0, bins + 1)[1:-1])).tolist())


def _centre_and_scale(finite: FloatArray) -> tuple[float, float]:
    if not finite.size:
        return 0.0, 1.0
    low, centre, high = (float(quantile) for quantile in _quantiles(finite, np.array([0.25, 0.5, 0.75])))
    for scale in ((high - low) / _IQR_OF_STANDARD_NORMAL, _standard_deviation(finite)):
        if 0.0 < scale < np.inf:
            return centre, scale
    return centre, 1.0


def _standard_deviation(finite: FloatArray) -> float:
    # Rounding gives a constant a tiny deviation, which would turn every later value into an outlier.
    if finite.min() == finite.max():
        return 0.0
    largest = float(np.abs(finite).max())
    return float(np.std(finite / largest)) * largest


def _classification(
    common: dict[str, Any], prediction: Coded, score: FloatArray | None, label: Coded | None
) -> Profile:
    columns = [prediction] if label is None else [prediction, label]
    classes = tuple(sorted({canonical(column.values[code]) for column in columns for code in _used(column)}))
    edges = () if score is None else _quantile_edges(score[np.isfinite(score)], SCORE_BINS)
    bare = Profile(
        **common, n=len(prediction.codes), classes=classes, score_edges=edges, score_counts=(), error_scale=1.0
    )
    predicted = _class_indices(classes, prediction)
    true = np.full_like(predicted, -1) if label is None else _class_indices(classes, label)
    score_bin = bin_score(bare, np.full(predicted.size, np.nan) if score is None else score)
    rows = np.stack([score_bin, predicted, true], axis=1)[predicted >= 0]
    cells, counts = np.unique(rows, axis=0, return_counts=True)
    score_counts = tuple((*cell, count) for cell, count in zip(cells.tolist(), counts.tolist(), strict=True))
    return replace(bare, score_counts=score_counts)


def _used(column: Coded) -> list[int]:
    return [int(code) for code in np.unique(column.codes) if code >= 0]


def _class_indices(classes: Sequence[str], column: Coded) -> IntArray:
    index = {text: position for position, text in enumerate(classes)}
    positions = [index.get(canonical(text), -1) for text in column.values]
    return np.array([*positions, -1, -1], dtype=np.int64)[column.codes]
