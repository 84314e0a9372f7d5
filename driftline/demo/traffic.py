"""What does a fraud model see in two days, while three things go wrong one after the other?

Invariants: everything is drawn from the seed, so the same seed gives the same events, only the day on which they happen
is another; the reference is drawn from the same model without incidents; truth never depends on what was recorded, only
on what was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
HOURS = 48
TAIL_MS = 10 * MINUTE_MS
"""Traffic goes on for so long after the last window, so that the watermark passes its end."""

PREDICTIONS_AN_HOUR = 1_200
NIGHT_AND_DAY = 0.5
"""Traffic swings by this share around its mean, lowest at 2 o'clock."""

NUMERIC = ("amount", "account_age_days", "merchant_risk", "transactions_last_hour", "distance_km")
CATEGORICAL = {"channel": ("web", "app", "terminal"), "card": ("debit", "credit", "prepaid")}

# How long the truth takes: a chargeback comes later than a payment is taken to be good.
_LABEL_DELAY_MS_MIN = 30 * MINUTE_MS
_LABEL_DELAY_MS_MEAN = {0: 20 * MINUTE_MS, 1: 60 * MINUTE_MS}
_MISSING_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that goes wrong.

    Parameters
    ----------
    told
        What happens, for people.
    told_over
        What is so afterwards, for people.
    shows_in
        The features, series or metrics in one of which it has to be found.
    moves
        All of them that it changes, by itself or through the model's answers.
    start_hour, end_hour
        When, counted from the first event.
    advice
        What whoever watches such a model would do.
    """

    name: str
    told: str
    told_over: str
    shows_in: frozenset[str]
    moves: frozenset[str]
    start_hour: int
    end_hour: int
    advice: str


_ANSWERS = frozenset({"@prediction", "@score", "@error.0", "@error.1", "recall"})

SHIFT = Incident(
    name="shift",
    told="amounts grow by half",
    told_over="amounts are as before",
    shows_in=frozenset({"amount"}),
    moves=_ANSWERS | {"amount"},
    start_hour=6,
    end_hour=10,
    advice="ask what changed; accept it as the new normal, or mend the data",
)
MISSING = Incident(
    name="missing",
    told="account_age_days is empty in 4 of 10 events",
    told_over="account_age_days is filled in again",
    shows_in=frozenset({"account_age_days"}),
    moves=_ANSWERS | {"account_age_days"},
    start_hour=17,
    end_hour=21,
    advice="mend its source; do not serve a version that was trained on the gap",
)
RELATION = Incident(
    name="relation",
    told="fraudsters change their ways, the model does not",
    told_over="fraudsters are back at their old ways",
    shows_in=frozenset({"@error.1", "recall"}),
    moves=frozenset({"@error.0", "@error.1", "recall"}),
    start_hour=29,
    end_hour=35,
    advice="retrain on what came since: same inputs, another meaning",
)
INCIDENTS = (SHIFT, MISSING, RELATION)


@dataclass(frozen=True, slots=True)
class Payments:
    """What was paid, what the model said and what the truth was; all arrays [payments], ordered by time.

    Parameters
    ----------
    offset_ms
        Event time since the first midnight.
    features
        By name, in the order of the events; None where a value is missing.
    score
        Probability of fraud, as the model sees it.
    label_offset_ms
        When the truth is known.
    """

    offset_ms: Ints
    features: dict[str, list[object]]
    score: Floats
    label: Ints
    label_offset_ms: Ints

    @property
    def prediction(self) -> Ints:
        """What the model answered: 1 for fraud."""
        return (self.score >= 0.5).astype(np.int64)


def payments(seed: int, hours: int, *, incidents: tuple[Incident, ...] = INCIDENTS) -> Payments:
    """Draw some hours of payments, and `TAIL_MS` more.

    Examples
    --------
    >>> one, other = payments(1, 2), payments(1, 2)
    >>> bool((one.score == other.score).all())
    True
    """
    chance = np.random.default_rng([seed, bool(incidents)])
    offset_ms = _times(chance, hours * HOUR_MS + TAIL_MS)
    n = len(offset_ms)

    def during(incident: Incident) -> Mask:
        hour = offset_ms // HOUR_MS
        mask: Mask = (incident in incidents) & (incident.start_hour <= hour) & (hour < incident.end_hour)
        return mask

    larger_by_day = 0.04 * np.sin(2 * np.pi * (offset_ms / HOUR_MS - 8) / 24)
    amount = np.exp(3.5 + larger_by_day + 0.8 * chance.standard_normal(n))
    amount = np.where(during(SHIFT), 1.5 * amount, amount).round(2)
    age = chance.gamma(1.5, 400.0, n).round()
    risk = chance.beta(2.0, 6.0, n).round(4)
    recent = chance.poisson(1.5, n)
    distance = np.exp(2.0 + 1.1 * chance.standard_normal(n)).round(1)
    channel = chance.choice(3, n, p=(0.45, 0.4, 0.15))
    card = chance.choice(3, n, p=(0.6, 0.3, 0.1))
    age_is_missing = chance.random(n) < np.where(during(MISSING), 0.4, _MISSING_SHARE)

    youth = 0.8 * (600.0 - age) / 500.0
    seen_youth = np.where(age_is_missing, 0.0, youth)
    known_pattern = 2.6 * (np.log(amount) - 3.5) / 0.8 + 3.4 * (risk - 0.25) / 0.14
    common = -9.0 + 2.0 * (recent - 1.5) / 1.2 + (np.log(np.maximum(distance, 0.1)) - 2.0) / 1.1
    common += 1.5 * ((card == 2) & (channel != 2))
    score = _sigmoid(common + known_pattern + seen_youth)
    truth = _sigmoid(common + known_pattern + youth)
    # The new way: small amounts at trusted merchants, of which the model has learnt nothing.
    mixed_truth = 0.35 * truth + 0.65 * _sigmoid(common - known_pattern + youth)
    label = (chance.random(n) < np.where(during(RELATION), mixed_truth, truth)).astype(np.int64)
    delay_ms = chance.exponential(np.where(label == 1, _LABEL_DELAY_MS_MEAN[1], _LABEL_DELAY_MS_MEAN[0]))
    ages = zip(age_is_missing, age.tolist(), strict=True)
    return Payments(
        offset_ms,
        {
            "amount": amount.tolist(),
            "account_age_days": [None if missing else value for missing, value in ages],
            "merchant_risk": risk.tolist(),
            "transactions_last_hour": recent.tolist(),
            "distance_km": distance.tolist(),
            "channel": [CATEGORICAL["channel"][code] for code in channel],
            "card": [CATEGORICAL["card"][code] for code in card],
        },
        score.round(6),
        label,
        offset_ms + _LABEL_DELAY_MS_MIN + delay_ms.astype(np.int64),
    )


def _times(chance: np.random.Generator, until_ms: int) -> Ints:
    """Draw arrival times, more by day than by night."""
    minutes = np.arange(until_ms // MINUTE_MS)
    rate = PREDICTIONS_AN_HOUR / 60 * (1 + NIGHT_AND_DAY * np.sin(2 * np.pi * (minutes / 60 - 8) / 24))
    per_minute = chance.poisson(rate)
    within_ms = chance.integers(0, MINUTE_MS, per_minute.sum())
    times: Ints = np.sort(np.repeat(minutes, per_minute) * MINUTE_MS + within_ms)
    return times


def _sigmoid(logit: Floats) -> Floats:
    odds: Floats = 1.0 / (1.0 + np.exp(-logit))
    return odds


def reference_table(seed: int) -> pa.Table:
    """Draw a day without incidents as the table that a reference file holds."""
    day = payments(seed, 24, incidents=())
    columns = {name: pa.array(values) for name, values in day.features.items()}
    answers = {"prediction": day.prediction, "score": day.score, "label": day.label}
    return pa.table(columns | {name: pa.array(values) for name, values in answers.items()})


@dataclass(frozen=True, slots=True)
class Message:
    """An event to be sent.

    Parameters
    ----------
    kind
        `predictions` or `labels`.
    """

    offset_ms: int
    kind: str
    key: bytes
    value: bytes


def messages(of: Payments, model: str, start_ms: int) -> Iterator[Message]:
    """Yield predictions and labels in the order of their times, until the last prediction's.

    Parameters
    ----------
    start_ms
        The midnight, in milliseconds since 1970 UTC, at which the traffic begins.
    """
    n = len(of.offset_ms)
    offset_ms = np.concatenate((of.offset_ms, of.label_offset_ms))
    prediction, names = of.prediction, list(of.features)
    for place in np.argsort(offset_ms, kind="stable").tolist():
        row, at_ms = place % n, int(offset_ms[place])
        if at_ms > of.offset_ms[-1]:
            return
        identity = f"payment-{row:06}"
        event: dict[str, object] = {"prediction_id": identity, "model": model, "timestamp": start_ms + at_ms}
        if place < n:
            event |= {
                "version": "v1",
                "prediction": int(prediction[row]),
                "score": float(of.score[row]),
                "features": {name: of.features[name][row] for name in names},
            }
        else:
            event |= {"label": int(of.label[row]), "prediction_timestamp": start_ms + int(of.offset_ms[row])}
        yield Message(at_ms, "predictions" if place < n else "labels", identity.encode(), orjson.dumps(event))
