"""Batches and reference profiles of made-up events, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.reference.profile import Profile
from detectors.reference.summaries import merge_vectors
from driftline.events import FeatureType, Ints, PredictionBatch
from driftline.settings.metrics import Task
from streams.counting import summarise_predictions
from streams.panes import PaneLayout
from streams.references.reference import profile_from_batch
from tests.support.events import decoder, messages, shape

TYPES = (FeatureType("x", "numeric"), FeatureType("c", "categorical"))

Event = dict[str, Any]


def event(name: object, at_ms: int, predicted: Any = 1, **rest: Any) -> Event:
    """Make a prediction with the features `x` and `c`."""
    made = {"prediction_id": f"p{name}", "timestamp": at_ms, "prediction": predicted, "features": {"x": 0.5, "c": "a"}}
    return made | rest


def batch_of(events: Sequence[Event], task: Task = "binary", segments: Sequence[str] = ()) -> PredictionBatch:
    """Decode predictions of the model `m`."""
    made = shape("m", task, {feature.name: feature.kind for feature in TYPES}, segments)
    return decoder(made).decode("t", 0, messages(*({"model": "m"} | each for each in events))).predictions["m"]


def profile_of(events: Sequence[Event], task: Task = "binary", bins: int = 4) -> Profile:
    """Freeze predictions as a reference."""
    return profile_from_batch(batch_of(events, task), TYPES, task=task, bins=bins, categories_max=50)


def vector_of(events: Sequence[Event], of: PaneLayout) -> Ints:
    """Summarise predictions as one pane."""
    n = len(events)
    deltas = summarise_predictions(
        batch_of(events, of.profile.task),
        np.zeros(n, np.int64),
        np.empty((n, 0), np.int64),
        np.zeros(n, np.bool_),
        of,
        10**9,
    )
    return merge_vectors(deltas.vectors, of.width)


def random_events(seed: int, n: int, classes: Sequence[Any] = (0, 1), span_ms: int = 10_000) -> list[Event]:
    """Make predictions whose features are sometimes missing, unknown or of a wrong type."""
    chance = np.random.default_rng(seed)
    values = [None, "text", True, 1e300, -1e300, 0.25, 0.5, 0.75]
    made = []
    for row in range(n):
        x = float(chance.normal(0.5, 0.3)) if chance.random() < 0.7 else values[int(chance.integers(len(values)))]
        carried = {"x": x, "c": ["a", "b", "new", None, ["list"]][int(chance.integers(5))]}
        each = event(
            f"{seed}-{row}",
            int(chance.integers(0, span_ms)),
            classes[int(chance.integers(len(classes)))],
            version=f"v{chance.integers(2)}",
        )
        each["features"] = carried if chance.random() < 0.9 else None
        if chance.random() < 0.9:
            each["score"] = round(float(chance.random()), 2)
        made.append(each)
    return made


def codes(chance: np.random.Generator, n_rows: int, n_codes: int) -> Ints:
    """Draw codes."""
    return chance.integers(0, n_codes, n_rows).astype(np.int64)
