"""How does a model's reference become a profile?

Invariants: a file and the same rows sent as events give the same profile, bit for bit; `@prediction` and `@score` come
last; rows without features do not count as rows whose features are missing; a segment's rows are counted by the very
code that counts the traffic, so what does not change compares as equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa

from detectors.reference.building import Coded as ProfileCoded
from detectors.reference.building import build_profile, categorical_feature, numeric_feature
from detectors.reference.profile import PREDICTION, SCORE, FeatureProfile, Profile, SegmentCounts
from detectors.reference.reconstruction import RECONSTRUCTION, errors, fit
from detectors.reference.summaries import ALL_TRAFFIC
from driftline.errors import InputError, problem_line
from driftline.events import MISSING, Coded, FeatureColumn, FeatureType, Floats, Ints, PredictionBatch
from driftline.settings.metrics import Task
from driftline.settings.models import ModelSettings
from driftline.settings.services import LimitSettings
from streams.counting import summarise_predictions
from streams.decode.arrow import finder
from streams.decode.batches import feature_column
from streams.decode.files import (
    FileDecoder,
    batch_from_table,
    feature_types,
    has_field,
    outcomes_in,
    read_table,
    require_mapped,
)
from streams.decode.shapes import EventShape, event_shape
from streams.monitored import REST_NAMES
from streams.panes import pane_layout, steps_of
from streams.references.relation import effects_of

FEATURES_MAX = 500
"""Features inferred from events; the most frequent names are kept."""

RawFeatures = Mapping[str, object]


def profile_from_file(path: Path, settings: ModelSettings, limits: LimitSettings) -> Profile:
    """Read a reference file and freeze it.

    Raises
    ------
    InputError
        If the file can't be read, lacks a column or a listed feature, has more features than allowed, or has no usable
        row.
    """
    return profile_from_table(read_table(path), settings, limits, str(path))


def profile_from_table(table: pa.Table, settings: ModelSettings, limits: LimitSettings, name: str) -> Profile:
    """Freeze a reference table; it needs neither ids nor times, and labels only if it has them.

    Parameters
    ----------
    name
        What to call the file in errors.

    Raises
    ------
    InputError
        As `profile_from_file`.
    """
    require_mapped(table, "reference", event_shape("", settings, None), name)
    types = feature_types(table, settings)
    if len(types) > limits.features_max:
        raise InputError(
            f"has {len(types)} features, limits.features_max is {limits.features_max}",
            where=name,
            remedy="list the features to watch in the model's features",
        )
    shape = event_shape("", settings, types)
    _require_columns(table, shape, name)
    rows = np.arange(table.num_rows)
    given = {"id": pa.array(rows).cast(pa.string()), "time": pa.array(rows)}
    batch, dead = batch_from_table(table, "prediction", FileDecoder(shape, limits, b"reference"), name, given)
    if not len(batch):
        raise InputError(f"has no usable row{f': {dead[0].detail}' if dead else ''}", where=name)
    labels = outcomes_in(table, shape, "label").take(batch.order) if has_field(table, shape, "label") else None
    return profile_from_batch(
        batch,
        types,
        labels,
        task=settings.task,
        bins=settings.drift.bins,
        categories_max=limits.categories_max,
        segments=settings.segments,
        segments_max=limits.segments_max,
        reconstruction=settings.drift.reconstruction,
    )


def _require_columns(table: pa.Table, shape: EventShape, name: str) -> None:
    """Refuse features that nothing in the table is: a misspelt one would be missing, and look steady, for ever."""
    find = finder(table)
    asked = zip(shape.features or (), shape.inner_features, shape.outer_features, strict=True)
    absent = [feature.name for feature, *paths in asked if all(find(path) is None for found in paths for path in found)]
    columns = [column for column in table.column_names if column not in shape.columns.values()]
    if absent:
        raise InputError.of(
            [
                problem_line(
                    f"has no column of the feature `{feature}`",
                    where=name,
                    remedy=" ".join(f"did you mean `{near}`?" for near in get_close_matches(feature, columns, 1)),
                )
                for feature in absent
            ]
        )


def profile_from_batch(
    batch: PredictionBatch,
    types: Sequence[FeatureType],
    labels: FeatureColumn | None = None,
    *,
    task: Task,
    bins: int,
    categories_max: int,
    segments: Sequence[str] = (),
    segments_max: int = 0,
    reconstruction: bool = False,
) -> Profile:
    """Freeze a batch of predictions as the reference.

    Parameters
    ----------
    types
        The features to profile, in the profile's order.
    labels
        One a row: `Coded` for classification, `Numeric` for regression; rows without a label are missing.
    bins
        Quantile bins of a numeric feature.
    categories_max
        Categories kept of a categorical feature; the rest is other.
    segments
        The names of the batch's segments.
    segments_max
        Segments kept, the largest; the rest of each name is other, besides what is missing.
    reconstruction
        Whether the error of reconstructing an event from the reference's components is a feature too.
    """
    columns = batch.features if batch.raw_features is None else columns_from_raw(batch.raw_features, types)
    profiles = [
        _feature_profile(feature.name, columns[feature.name].take(batch.has_features), bins, categories_max)
        for feature in types
    ]
    components = None
    numeric = [profile for profile in profiles if profile.kind == "numeric"]
    if reconstruction and numeric:
        steps = steps_of(numeric, columns)[batch.has_features]
        components = fit([profile.name for profile in numeric], steps)
        if components is not None:
            error = errors(components, steps)
            profiles.append(numeric_feature(RECONSTRUCTION, error, np.zeros(len(error), np.bool_), bins))
    profiles.append(_feature_profile(PREDICTION, batch.prediction, bins, categories_max))
    score = batch.score if np.isfinite(batch.score).any() else None
    if score is not None:
        profiles.append(numeric_feature(SCORE, score, np.isnan(score), bins))
    profile = build_profile(
        task,
        profiles,
        prediction=_outcome(batch.prediction),
        score=score,
        label=None if labels is None else _outcome(labels),
    )
    profile = replace(profile, reconstruction=components)
    counts = _segment_counts(replace(batch, features=dict(columns)), profile, segments, segments_max)
    effects = None
    if labels is not None:
        effects = effects_of(profile, columns, _outcome(batch.prediction), _outcome(labels), batch.has_features)
    return replace(profile, segments=counts, effects=effects)


def _segment_counts(
    batch: PredictionBatch, profile: Profile, names: Sequence[str], segments_max: int
) -> tuple[SegmentCounts, ...]:
    layout, nothing = pane_layout(profile), np.zeros(len(batch), np.int64)
    at_one_time = replace(batch, time_ms=nothing)
    found = []
    # One name at a time: all at once would be a summary for each combination of their values.
    for rows, segments in _segments_of_rows(batch, names, segments_max):
        deltas = summarise_predictions(at_one_time, nothing, rows[:, np.newaxis], nothing > 0, layout, 1)
        for segment, vector in zip(deltas.segment.tolist(), deltas.vectors, strict=True):
            if segment != ALL_TRAFFIC:
                counts = np.frombuffer(vector, "<i8")[: layout.n_bins].tolist()
                found.append(SegmentCounts(segments[segment], tuple(counts)))
    return tuple(sorted(found, key=lambda segment: segment.name))


def _segments_of_rows(
    batch: PredictionBatch, names: Sequence[str], segments_max: int
) -> list[tuple[Ints, dict[int, str]]]:
    """Return, for each name, the segment of each row as a number, and what the numbers stand for."""
    columns = list(zip(names, batch.segments, strict=True))
    n_rows: Counter[str] = Counter()
    for name, column in columns:
        codes, counts = np.unique(column.codes[column.codes >= 0], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            n_rows[f"{name}={column.values[code]}"] += count
    rest = {f"{name}={of}" for name in names for of in REST_NAMES}
    ranked = sorted(n_rows.keys() - rest, key=lambda segment: (-n_rows[segment], segment))
    kept = {*rest, *ranked[:segments_max]}
    found = []
    for name, column in columns:
        # Codes -1 and -2 find their segments at the table's end.
        table = [f"{name}={value}" for value in (*column.values, *REST_NAMES)]
        table = [segment if segment in kept else f"{name}={REST_NAMES[0]}" for segment in table]
        number = {segment: place for place, segment in enumerate(table)}
        rows = np.array([number[segment] for segment in table], np.int64)[column.codes]
        found.append((rows, {place: segment for segment, place in number.items()}))
    return found


def _feature_profile(name: str, column: FeatureColumn, bins: int, categories_max: int) -> FeatureProfile:
    if isinstance(column, Coded):
        return categorical_feature(name, column.codes, column.values, categories_max)
    return numeric_feature(name, column.values, column.missing, bins)


def _outcome(column: FeatureColumn) -> ProfileCoded | Floats:
    if isinstance(column, Coded):
        return ProfileCoded(np.maximum(column.codes, MISSING), column.values)
    return column.values


def columns_from_raw(raw: Sequence[RawFeatures], types: Iterable[FeatureType]) -> dict[str, FeatureColumn]:
    """Make columns of features that were decoded before their types were known.

    Examples
    --------
    >>> columns_from_raw([{"age": 3}, {}], [FeatureType("age", "numeric")])["age"].missing
    array([False,  True])
    """
    return {feature.name: feature_column([row.get(feature.name) for row in raw], feature) for feature in types}


def infer_feature_types(raw: Sequence[RawFeatures], features_max: int = FEATURES_MAX) -> tuple[FeatureType, ...]:
    """Type features from events: numeric if all values that are not null are numbers, else categorical.

    Parameters
    ----------
    features_max
        Of more names the most frequent are kept, equals by name.

    Returns
    -------
    Sorted by name.

    Examples
    --------
    >>> [feature.kind for feature in infer_feature_types([{"a": 1, "b": True}, {"a": None, "b": "x"}])]
    ['numeric', 'categorical']
    """
    seen = Counter(name for row in raw for name in row)
    kept = sorted(seen, key=lambda name: (-seen[name], name))[:features_max]
    other = {name for row in raw for name, value in row.items() if type(value) not in (int, float, type(None))}
    return tuple(FeatureType(name, "categorical" if name in other else "numeric") for name in sorted(kept))
