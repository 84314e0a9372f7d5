"""Accepting a stretch of a lab's model, and what its reference is then."""

from typing import Any

import numpy as np

from detectors.reference.profile import Profile
from streams.monitored import EVERY_VERSION
from streams.references.accept import Accepted, Stretch, accept_stretch, find_model
from tests.support.pipelines import START_MS, Event, Lab, prediction


def stream(seed: int, n: int, from_ms: int, to_ms: int, **rest: Any) -> list[Event]:
    """Make predictions in order of time that are unlike the reference: `x` is larger, and there is a category more."""
    chance = np.random.default_rng(seed)
    return [
        prediction(
            f"s{seed}-{row}",
            int(at_ms),
            int(chance.random() < 0.4),
            score=round(float(chance.random()), 3),
            features={"x": round(float(chance.normal(0.9, 0.3)), 3), "c": str(chance.choice(["a", "b", "new"]))},
            **rest,
        )
        for row, at_ms in enumerate(np.sort(chance.integers(from_ms, to_ms, n)))
    ]


async def accept(made: Lab, from_ms: int, to_ms: int, version: str | None = None) -> Accepted:
    """Accept a stretch, in milliseconds from `START_MS`."""
    stretch = Stretch(version, START_MS + from_ms, START_MS + to_ms)
    model = await find_model(made.connection, made.model.name, made.model.settings)
    return await accept_stretch(made.connection, model, stretch, "ann", "new prices")


async def in_force(made: Lab, version: str = EVERY_VERSION) -> Profile | None:
    """Return the reference that a version has of its own, or that of all."""
    found = await made.pipeline.profiles.in_force(made.connection, [made.model])
    profile_id = found.get((made.model.model_id, version))
    return None if profile_id is None else (await made.pipeline.profiles.layout(made.connection, profile_id)).profile
