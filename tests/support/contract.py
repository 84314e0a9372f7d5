"""Events of the contract, decoded as the messages of one topic."""

from typing import Any

from driftline.events import Decoded, FeatureBatch, LabelBatch, PredictionBatch
from streams.decode.decoder import Decoder
from tests.support.events import messages, rows

PREDICTION: dict[str, Any] = {
    "prediction_id": "a",
    "model": "m",
    "version": "7",
    "timestamp": 1_700_000_000_000,
    "prediction": 1,
    "score": 0.75,
    "features": {"age": 31, "city": "Boston"},
}


LABEL: dict[str, Any] = {"prediction_id": "a", "model": "m", "timestamp": 1_700_000_000_000, "label": 1}


def decode(topic: Decoder, *events: object, headers: dict[str, str] | None = None) -> Decoded:
    """Decode events, or bytes, each as a message of its own."""
    return topic.decode("t", 3, messages(*events, headers=headers))


def only_row(decoded: Decoded) -> dict[str, Any]:
    """Return the one row that everything became."""
    assert decoded.dead == []
    batches: list[PredictionBatch | LabelBatch | FeatureBatch] = [
        *decoded.predictions.values(), *decoded.labels.values(), *decoded.features.values()
    ]  # fmt: skip
    (batch,) = batches
    (row,) = rows(batch)
    return row


def refusals(decoded: Decoded) -> list[tuple[str, str]]:
    """Return why each dead letter is one: its reason and its detail."""
    return [(letter.reason, letter.detail) for letter in decoded.dead]
