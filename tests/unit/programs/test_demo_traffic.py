"""Is the demo's traffic what its script says: the same for a seed, clean but for the incidents, and in order?"""

import json
from collections import Counter

import numpy as np
import pytest

from driftline.demo.traffic import (
    HOUR_MS,
    HOURS,
    MISSING,
    RELATION,
    SHIFT,
    Incident,
    Payments,
    messages,
    payments,
    reference_table,
)

SEED = 3
START_MS = 1_700_006_400_000


@pytest.fixture(scope="module")
def all_three() -> Payments:
    return payments(SEED, HOURS)


def only(incident: Incident) -> Payments:
    return payments(SEED, HOURS, incidents=(incident,))


def during(incident: Incident, of: Payments) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    hour = of.offset_ms // HOUR_MS
    return (hour >= incident.start_hour) & (hour < incident.end_hour)


def test_a_seed_says_everything(all_three: Payments) -> None:
    def sent(of: Payments) -> list[bytes]:
        return [message.value for message in messages(of, "fraud", START_MS)]

    assert sent(payments(SEED, HOURS)) == sent(all_three)
    assert sent(payments(SEED + 1, HOURS)) != sent(all_three)


def test_the_shift_changes_amounts_by_half_and_nothing_else_that_is_recorded() -> None:
    shifted, other = only(SHIFT), only(MISSING)
    inside = during(SHIFT, shifted)
    ratio = np.array(shifted.features["amount"]) / np.array(other.features["amount"])

    assert np.allclose(ratio[inside], 1.5, rtol=0.01, atol=0.02)
    assert (ratio[~inside] == 1).all()
    unmoved = shifted.features.keys() - SHIFT.moves - MISSING.moves
    assert len(unmoved) == 5
    assert all(shifted.features[name] == other.features[name] for name in unmoved)


def test_the_missing_feature_is_missing_in_four_of_ten_events_and_before_and_after_in_one_of_a_hundred(
    all_three: Payments,
) -> None:
    missing = np.array([value is None for value in all_three.features["account_age_days"]])
    inside = during(MISSING, all_three)

    assert missing[inside].mean() == pytest.approx(0.4, abs=0.03)
    assert missing[~inside].mean() == pytest.approx(0.01, abs=0.003)


def test_the_relation_changes_labels_only_and_recall_falls_by_more_than_half() -> None:
    changed, other = only(RELATION), only(SHIFT)
    inside = during(RELATION, changed)
    calm = ~inside & ~during(SHIFT, changed)

    def recall(of: Payments, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
        return float(of.prediction[where & (of.label == 1)].mean())

    assert (changed.score[inside] == other.score[inside]).all()
    assert (changed.label[calm] == other.label[calm]).all()
    assert recall(changed, inside) < recall(changed, calm) / 2
    assert recall(other, inside) == pytest.approx(recall(changed, calm), abs=0.06)


def test_the_reference_is_a_day_without_incidents() -> None:
    reference = reference_table(SEED).to_pydict()
    clean = np.array(reference["amount"])

    assert len(clean) > 25_000
    assert np.median(clean) == pytest.approx(np.exp(3.5), rel=0.02)
    assert np.mean([value is None for value in reference["account_age_days"]]) == pytest.approx(0.01, abs=0.003)
    assert set(reference) >= {"prediction", "score", "label"}


def test_there_is_less_traffic_by_night_than_by_day(all_three: Payments) -> None:
    by_hour = Counter((all_three.offset_ms // HOUR_MS).tolist())

    assert by_hour[2] < by_hour[14] / 2


def test_frauds_are_known_later_than_good_payments_and_both_late(all_three: Payments) -> None:
    delay_ms = all_three.label_offset_ms - all_three.offset_ms

    assert delay_ms.min() >= 30 * 60_000
    assert delay_ms[all_three.label == 1].mean() > 1.5 * delay_ms[all_three.label == 0].mean()


def test_messages_come_in_the_order_of_their_times_and_a_label_never_before_its_prediction(all_three: Payments) -> None:
    last_ms, predicted, labelled = -1, set[str](), set[str]()
    for message in messages(all_three, "fraud", START_MS):
        event = json.loads(message.value)
        assert event["timestamp"] == START_MS + message.offset_ms
        assert event["prediction_id"].encode() == message.key
        assert message.offset_ms >= last_ms
        last_ms = message.offset_ms
        if message.kind == "labels":
            assert event["prediction_id"] in predicted
            labelled.add(event["prediction_id"])
        else:
            predicted.add(event["prediction_id"])

    assert len(predicted) == len(all_three.offset_ms)
    assert 0.9 < len(labelled) / len(predicted) < 1
