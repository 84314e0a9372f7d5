"""What happens in one history: a model's configuration, and the records that its producers wrote."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from tests.simulation.log import Place, SimLog
from tests.support.pipelines import END_MS, MINUTE, SECOND, Event, features, label, prediction, reference_events

PARTITIONS = 2
OUT_OF_ORDERNESS_MS = 4 * SECOND


@dataclass(frozen=True)
class Traffic:
    """A model and its log.

    Parameters
    ----------
    model
        Its configuration.
    is_late
        Whether some events come later than `out_of_orderness` allows. Then episodes may depend on when a window was
        restated; everything else must not.
    n_predictions, n_pairs
        How many distinct predictions, and how many of them have a label.
    """

    model: dict[str, Any]
    log: SimLog
    is_late: bool
    n_predictions: int
    n_pairs: int


def draw_traffic(seed: int) -> Traffic:
    """Draw a history's model and log."""
    chance = random.Random(f"traffic {seed}")
    is_late = chance.random() < 0.3
    minutes = chance.randint(3, 6)
    model = _model(chance, is_late)
    # Features that come apart before there is a reference are counted and dropped: which ones, is chance.
    apart = "path" in model["reference"] and chance.random() < 0.3
    predictions = _predictions(chance, chance.randint(40, 160), minutes, apart)
    labelled = [event for event in predictions if chance.random() < 0.8]
    labels = [_label(chance, event) for event in labelled]
    by_topic = {"predictions": predictions, "labels": labels}
    if apart:
        by_topic["features"] = [_served(chance, event) for event in predictions if "features" not in event]
    log = SimLog(dict.fromkeys(by_topic, PARTITIONS))
    for topic, events in by_topic.items():
        for number in range(PARTITIONS):
            own = [event for event in events if sum(event["prediction_id"].encode()) % PARTITIONS == number]
            _write(chance, log, (topic, number), _as_sent(chance, own, is_late))
            _write(chance, log, (topic, number), [_farewell(topic, number, (minutes + 4) * MINUTE)])
    return Traffic(model, log, is_late, len(predictions) + PARTITIONS, len(labels))


def reference() -> list[Event]:
    """Make the events that a reference from a file is made of; both segments have some."""
    return [event | {"segment": {"s": "uv"[number // 2 % 2]}} for number, event in enumerate(reference_events())]


def _model(chance: random.Random, is_late: bool) -> dict[str, Any]:
    windows = {
        "length": "1m",
        "slide": chance.choice(["1m", "30s"]),
        "out_of_orderness": f"{OUT_OF_ORDERNESS_MS // SECOND}s",
        "restate_after": "0s",
        "idle_after": "1h",
        # How far a window of few events reaches back is settled when it closes, before what is late has come.
        "min_events": 1 if is_late else chance.choice([1, 15]),
    }
    # Which events are the first is settled before what is late has come, too.
    of_file = is_late or chance.random() < 0.6
    return {
        "reference": {"path": "reference.parquet"} if of_file else {"first_events": chance.randint(10, 60)},
        "segments": ["s"],
        "windows": windows,
        # So low that chance alone opens and closes episodes of both kinds.
        "drift": {"psi": {"effect": 0.01}, "significance": 0.05},
        "labels": {"horizon": "1h", "on_correction": chance.choice(["ignore", "restate"])},
        "performance": {"floor": {"accuracy": 0.7}, "min_labelled": 5, "judge_after": "90s"},
        "retraining": {"consecutive": 1, "cooldown": "1m"},
    }


def _predictions(chance: random.Random, n: int, minutes: int, apart: bool) -> list[Event]:
    changed_ms, events = minutes * MINUTE * chance.uniform(0.3, 0.8), []
    for number in range(n):
        at_ms = chance.randrange(minutes * MINUTE)
        is_new = at_ms > changed_ms
        values = {"x": chance.random() + 0.5 * is_new, "c": chance.choice("ab" if not is_new else "aac")}
        event = prediction(
            f"p{number}", at_ms, chance.randint(0, 1), features=values, score=round(chance.random(), 2),
            segment={"s": chance.choice("uv")}, version=chance.choice(["v1", "v1", "v2"]),
        )  # fmt: skip
        if apart and chance.random() < 0.4:
            event["later"] = event.pop("features")
        events.append(event)
    return sorted(events, key=lambda event: int(event["timestamp"]))


def _served(chance: random.Random, event: Event) -> Event:
    """Send a prediction's features apart from it, as a feature server does."""
    values = event.pop("later")
    served = features(event["prediction_id"], 0, **values) | {"timestamp": event["timestamp"] + chance.randrange(500)}
    return served | {"version": event["version"], "segment": event["segment"]}


def _label(chance: random.Random, event: Event) -> Event:
    delay_ms = min(int(chance.expovariate(1 / (20 * SECOND))), 2 * MINUTE)
    truth = event["prediction"] if chance.random() < 0.75 else 1 - event["prediction"]
    return label(event["prediction_id"], 0, truth) | {"timestamp": event["timestamp"] + delay_ms}


def _as_sent(chance: random.Random, events: list[Event], is_late: bool) -> list[Event]:
    """Shuffle within bounds, or beyond them, and send some twice or corrected."""
    sent = []
    for event in events:
        delay_ms = chance.random() * OUT_OF_ORDERNESS_MS
        if is_late and chance.random() < 0.05:
            delay_ms = chance.random() * 2 * MINUTE
        sent.append((event["timestamp"] + delay_ms, event))
        if chance.random() < 0.1:
            sent.append((event["timestamp"] + delay_ms + chance.random() * MINUTE, event))
        if "label" in event and chance.random() < 0.05:
            corrected = event | {"label": 1 - event["label"], "timestamp": event["timestamp"] + 1}
            sent.append((event["timestamp"] + delay_ms + 1, corrected))
    return [event for _, event in sorted(sent, key=lambda item: item[0])]


def _farewell(topic: str, number: int, at_ms: int) -> Event:
    """Make an event of a time at which everything before it is closed."""
    name = f"{topic}{number}"
    return {
        "predictions": prediction(name, at_ms, segment={"s": "u"}),
        "labels": label(name, at_ms),
        "features": features(name, at_ms, x=0.5, c="a") | {"segment": {"s": "u"}},
    }[topic]


def _write(chance: random.Random, log: SimLog, place: Place, events: list[Event]) -> None:
    for event in events:
        if chance.random() < 0.01:
            log.append(place, b"{broken", time_ms=END_MS)
        known = {"model": "m"} | {name: value for name, value in event.items() if name != "later"}
        log.append(place, json.dumps(known).encode(), time_ms=END_MS, gap=chance.random() < 0.1)
