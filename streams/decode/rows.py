"""How does one event become one row? This is the reference that the fast path must equal.

Invariants: `Refused` is the only exception; an event is either a row or a refusal, never half of one; a wrong value in
a feature or segment is that column's `other`, a wrong value in any other field refuses the event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from detectors.canonical import canonical
from driftline.events import CHAMPION, NO_TIME, UNVERSIONED
from streams.decode.messages import Refused
from streams.decode.shapes import Event, EventShape, lookup
from streams.decode.values import TEXT_BYTES_MAX, file_time_ms, number_of, text_of, time_ms

OFFLINE, SERVING = "offline", "serving"


class Features(NamedTuple):
    """What one event carries of features and segments."""

    values: tuple[object, ...]
    carried: bool
    segments: tuple[object, ...]
    raw: Mapping[str, object] | None


class PredictionRow(NamedTuple):
    """One prediction event."""

    order: int
    id: str
    time_ms: int
    version: str
    variant: str
    prediction: str | float
    score: float
    features: Features


class LabelRow(NamedTuple):
    """One label event."""

    order: int
    id: str
    time_ms: int
    label: str | float
    reward: float
    prediction_time_ms: int


class FeatureRow(NamedTuple):
    """One feature event."""

    order: int
    id: str
    time_ms: int
    version: str
    features: Features


class Reading(NamedTuple):
    """How to read a model's events: its shape, the longest id, and whether times are as free as in files."""

    shape: EventShape
    id_bytes_max: int
    is_file: bool = False


def read_prediction(event: Event, order: int, reading: Reading) -> PredictionRow:
    """Make a prediction event a row.

    Raises
    ------
    Refused
    """
    shape = reading.shape
    prediction = _outcome(event, shape, "prediction")
    score = _number(event, shape, "score")
    if score is None:
        score = _score_of_probabilities(event, shape, prediction)
    elif shape.task == "binary" and not 0 <= score <= 1:
        raise Refused("bad_score", f"{_name(shape, 'score')}: expected a probability between 0 and 1", score)
    return PredictionRow(
        order,
        _id(event, reading),
        _time(event, reading, "time"),
        _text(event, shape, "version", UNVERSIONED),
        _text(event, shape, "variant", CHAMPION),
        prediction,
        score,
        read_features(event, shape),
    )


def read_label(event: Event, order: int, reading: Reading) -> LabelRow:
    """Make a label event a row.

    Raises
    ------
    Refused
    """
    shape = reading.shape
    reward = _number(event, shape, "reward")
    predicted = shape.look["prediction_time"](event)
    return LabelRow(
        order,
        _id(event, reading),
        _time(event, reading, "time"),
        _outcome(event, shape, "label"),
        math.nan if reward is None else reward,
        NO_TIME if predicted is None else _time(event, reading, "prediction_time"),
    )


def read_feature(event: Event, order: int, reading: Reading) -> FeatureRow | None:
    """Make a feature event a row; None for one of source `offline`, which is for parity checks only.

    Raises
    ------
    Refused
    """
    shape = reading.shape
    source = shape.look["source"](event)
    if source == OFFLINE:
        return None
    if source is not None and source != SERVING:
        raise Refused("wrong_type", f'{_name(shape, "source")}: expected "{SERVING}" or "{OFFLINE}"', source)
    features = read_features(event, shape)
    if not features.carried:
        raise Refused("missing_field", f"{_name(shape, 'features')} is missing")
    version = _text(event, shape, "version", UNVERSIONED)
    return FeatureRow(order, _id(event, reading), _time(event, reading, "time"), version, features)


def read_features(event: Event, shape: EventShape) -> Features:
    """Return the features and segments of an event, as they were sent.

    Raises
    ------
    Refused
        `wrong_type` if the features are not an object.
    """
    found = shape.look["features"](event)
    if found is not None and type(found) is not dict:
        raise Refused("wrong_type", f"{_name(shape, 'features')}: expected an object", found)
    segments: tuple[object, ...] = ()
    if shape.segments:
        segments = tuple(lookup(event, paths) for paths in shape.segment_paths)
    if shape.features is None:
        raw = _scalars(found if found is not None else _unmapped(event, shape))
        return Features((), found is not None or bool(raw), segments, raw)
    if found is not None and shape.plain_names is not None:
        return Features(tuple(map(found.get, shape.plain_names)), True, segments, None)
    candidates = shape.outer_features if found is None else shape.inner_features
    values = tuple(lookup(event, paths) for paths in candidates)
    return Features(values, found is not None or any(value is not None for value in values), segments, None)


def _unmapped(event: Event, shape: EventShape) -> Mapping[str, object]:
    return {name: value for name, value in event.items() if name not in shape.known_fields or name in shape.segments}


def _scalars(features: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in features.items() if not isinstance(value, dict | list)}


def _name(shape: EventShape, role: str) -> str:
    return ".".join(shape.paths[role][0])


def _id(event: Event, reading: Reading) -> str:
    shape = reading.shape
    value: Any = shape.look["id"](event)
    if value is None or value == "":
        raise Refused("missing_field", f"{_name(shape, 'id')} is missing")
    try:
        text = canonical(value) if type(value) in (str, int, float, bool) else None
    except ValueError:
        text = None
    if text is None:
        raise Refused("wrong_type", f"{_name(shape, 'id')}: expected a text or a number", value)
    if len(text) > reading.id_bytes_max or len(text.encode("utf-8", "surrogatepass")) > reading.id_bytes_max:
        raise Refused("id_too_long", f"{_name(shape, 'id')}: expected at most {reading.id_bytes_max} bytes", value)
    return text


def _time(event: Event, reading: Reading, role: str) -> int:
    value = reading.shape.look[role](event)
    if value is None:
        raise Refused("missing_field", f"{_name(reading.shape, role)} is missing")
    ms = file_time_ms(value) if reading.is_file else time_ms(value)
    if ms is None:
        expected = "RFC 3339" if reading.is_file else "RFC 3339 with an offset"
        raise Refused(
            "bad_timestamp", f"{_name(reading.shape, role)}: expected {expected} or epoch milliseconds", value
        )
    return ms


def _text(event: Event, shape: EventShape, role: str, absent: str) -> str:
    value = shape.look[role](event)
    if value is None:
        return absent
    text = text_of(value)
    if text is None:
        raise Refused("wrong_type", f"{_name(shape, role)}: expected a text of at most {TEXT_BYTES_MAX} bytes", value)
    return text


def _number(event: Event, shape: EventShape, role: str) -> float | None:
    value = shape.look[role](event)
    if value is None:
        return None
    return _finite(value, _name(shape, role))


def _finite(value: object, name: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise Refused("wrong_type", f"{name}: expected a number", value)
    number = number_of(value)
    if math.isnan(number):
        raise Refused("not_finite", f"{name}: expected a finite number", value)
    return number


def _outcome(event: Event, shape: EventShape, role: str) -> str | float:
    value = shape.look[role](event)
    if value is None:
        raise Refused("missing_field", f"{_name(shape, role)} is missing")
    if shape.task == "regression":
        return _finite(value, _name(shape, role))
    if type(value) is float and not math.isfinite(value):
        raise Refused("not_finite", f"{_name(shape, role)}: expected a class", value)
    text = text_of(value)
    if text is None:
        raise Refused("wrong_type", f"{_name(shape, role)}: expected a class of at most {TEXT_BYTES_MAX} bytes", value)
    return text


def _score_of_probabilities(event: Event, shape: EventShape, prediction: str | float) -> float:
    if shape.task != "multiclass":
        return math.nan
    probabilities = shape.look["probabilities"](event)
    if probabilities is None:
        return math.nan
    name = _name(shape, "probabilities")
    if type(probabilities) is not dict:
        raise Refused("wrong_type", f"{name}: expected an object", probabilities)
    value = probabilities.get(prediction)
    if value is None:
        alike = (value for key, value in probabilities.items() if text_of(key) == prediction)
        value = next((value for value in alike if value is not None), None)
    if value is None:
        return math.nan
    score = _finite(value, f"{name} of the predicted class")
    if not 0 <= score <= 1:
        raise Refused("bad_score", f"{name}: expected a probability between 0 and 1", score)
    return score
