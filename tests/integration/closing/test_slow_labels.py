"""Is a good model left alone, and a bad one found, where the labels of one class take ten times as long?

One in twenty predictions is positive in truth. The positives' labels take 20 minutes on average, the others' two. So
nine in ten labels are in when most positives are not: what was predicted positive and is labelled by then is mostly
wrong, and precision looks half of what it is while coverage looks complete.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from driftline.store.connection import Connection
from streams.replay import END_OF_TIME_MS
from tests.support.pipelines import MINUTE, START_MS, Event, Lab, lab, label, prediction

pytestmark = pytest.mark.postgres

A_MINUTE = 200
POSITIVE_SHARE, RECALL = 0.05, 0.8
DELAY_MINUTES = {1: 20.0, 0: 2.0}
LAST_MINUTE = 160


def log(seed: int, bad_from: int) -> tuple[list[Event], list[Event]]:
    """Make predictions whose precision is 0.65, and from a minute on 0.3, and their labels in the order they come."""
    chance = np.random.default_rng(seed)
    predictions, labels = [], []
    for row in range(LAST_MINUTE * A_MINUTE):
        at_ms = row * MINUTE // A_MINUTE
        precision = 0.3 if at_ms >= bad_from * MINUTE else 0.65
        false_share = POSITIVE_SHARE * RECALL * (1 - precision) / precision / (1 - POSITIVE_SHARE)
        truth = int(chance.random() < POSITIVE_SHARE)
        predicted = int(chance.random() < (RECALL if truth else false_share))
        predictions.append(prediction(f"p{row}", at_ms, predicted, features={"x": 0.5, "c": "a"}))
        labels.append(label(f"p{row}", at_ms + int(chance.exponential(DELAY_MINUTES[truth]) * MINUTE), truth))
    labels.sort(key=lambda event: event["timestamp"])
    return predictions, [event for event in labels if event["timestamp"] < START_MS + LAST_MINUTE * MINUTE]


async def watched(
    connection: Connection, events: tuple[list[Event], list[Event]], detectors: Sequence[str] = ("psi",)
) -> Lab:
    """Read the log minute by minute, as a live worker would, and close windows on the way."""
    performance = {"metrics": ["precision", "recall"], "floor": {"precision": 0.5}, "min_labelled": 200}
    settings: dict[str, Any] = {
        "drift": {"detectors": detectors},
        "labels": {"horizon": "2h"},
        "windows": {"length": "10m", "slide": "10m", "pane": "1m"},
        "performance": performance,
    }
    made = await lab(connection, settings)
    predictions, labels = ([*of] for of in events)
    for minute in range(10, LAST_MINUTE + 1, 10):
        end_ms = START_MS + minute * MINUTE
        for topic, of in (("predictions", predictions), ("labels", labels)):
            n = sum(event["timestamp"] < end_ms for event in of)
            await made.commit(topic, *of[:n])
            del of[:n]
        await made.close(minute * MINUTE)
    return made


async def told(made: Lab) -> list[tuple[str, float]]:
    found = await made.rows("select type, occurred_at as at from driftline.outbox where type like '%%performance%%'")
    return [(row["type"].removeprefix("driftline.performance."), row["at"] / MINUTE) for row in found]


async def test_a_good_model_is_left_alone_though_its_first_labels_say_otherwise(connection: Connection) -> None:
    made = await watched(connection, log(1, bad_from=10**6))

    assert await told(made) == []
    [newest] = await made.performance(metric="precision", basis="cohort", window_end=LAST_MINUTE * MINUTE)
    [oldest] = await made.performance(metric="precision", basis="cohort", window_start=0)
    # What the rows say as they are: with few labels of positives half of the truth, with all of them the truth.
    assert newest["value"] < 0.45
    assert oldest["low"] < 0.65 < oldest["high"]
    assert newest["coverage"] > 0.75


@pytest.mark.parametrize("seed", range(3, 7))
async def test_a_log_that_ends_while_labels_are_on_their_way_accuses_nobody(connection: Connection, seed: int) -> None:
    made = await watched(connection, log(seed, bad_from=10**6), detectors=("psi", "adwin"))
    await made.close(END_OF_TIME_MS - START_MS)

    assert await told(made) == []


async def test_a_bad_model_is_found_all_the_same(connection: Connection) -> None:
    made = await watched(connection, log(2, bad_from=90))

    assert await told(made) == [("degraded", 110)]
