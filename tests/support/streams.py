"""Predictions and labels at random times, for what must hold for any of them."""

from collections.abc import Iterable

import numpy as np

from tests.support.pipelines import START_MS, Event, label, prediction


def stream(seed: int, n: int, span_ms: int) -> list[Event]:
    """Make predictions at random times, in order, of two versions and some segments, with scores and both classes."""
    chance = np.random.default_rng(seed)
    times = np.sort(chance.integers(0, span_ms, n)).tolist()
    return [
        prediction(
            f"s{seed}-{row}",
            at_ms,
            int(chance.random() < 0.4),
            score=round(float(chance.random()), 3),
            version=f"v{chance.integers(1, 3)}",
            features={"x": round(float(chance.normal(0.6, 0.4)), 3), "c": str(chance.choice(["a", "b", "new"]))},
        )
        for row, at_ms in enumerate(times)
    ]


def labels_of(events: Iterable[Event], seed: int, delay_ms_max: int, share: float = 0.7) -> list[Event]:
    """Make labels for some of the predictions, in order of time, four of five as predicted."""
    chance = np.random.default_rng(seed)
    made = []
    for event in events:
        if chance.random() < share:
            at_ms = event["timestamp"] - START_MS + int(chance.integers(0, delay_ms_max))
            truth = event["prediction"] if chance.random() < 0.8 else 1 - event["prediction"]
            made.append(label(event["prediction_id"], at_ms, truth))
    return sorted(made, key=lambda event: event["timestamp"])
