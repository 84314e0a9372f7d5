"""Are the columns of a data file guessed as a person would, and is what was guessed written so that it loads?"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from driftline.settings import load_settings
from driftline.settings.document import read_document
from driftline.starter.columns import columns_of
from driftline.starter.guess import Guess, guess
from driftline.starter.template import render, scalar

ROWS = 200
RNG = np.random.default_rng(7)
LABEL = RNG.integers(0, 2, ROWS)
PREDICTION = np.where(RNG.random(ROWS) < 0.8, LABEL, 1 - LABEL)
BASE: dict[str, Any] = {"id": list(range(100, 100 + ROWS)), "prediction": PREDICTION}


def guessed(labels: Any = None, **columns: Any) -> Guess:
    found = guess(columns_of(pa.table(columns)), columns_of(pa.table(labels)) if labels else None)
    assert isinstance(found, Guess), found
    return found


def roles(guess: Guess) -> dict[str, str]:
    return {role: found.column.name for role, found in guess.found.items()}


@pytest.mark.parametrize(
    ("prediction", "score", "label"),
    [
        ("prediction", "score", "label"),
        ("y_pred", "y_pred_proba", "y_true"),
        ("predicted_class", "predicted_probability", "ground_truth"),
        ("churnPrediction", "churnProbability", "churnTarget"),
        ("Predicted", "P(churn) prob", "Actual"),
        ("model_pred", "fraud score", "is_actual"),
    ],
)
def test_columns_are_known_by_their_usual_names(prediction: str, score: str, label: str) -> None:
    found = guessed(**{score: RNG.random(ROWS), label: LABEL, prediction: PREDICTION, "age": RNG.normal(40, 9, ROWS)})

    assert {role: roles(found)[role] for role in ("prediction", "score", "label")} == {
        "prediction": prediction,
        "score": score,
        "label": label,
    }
    assert [column.name for column in found.features] == ["age"]


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        ("predicted_price", "price"),
        ("price_predicted", "price"),
        ("pred_price", "price"),
        ("pricePrediction", "price"),
        ("predicted_house_price", "HousePrice"),
        ("predicted_price", "true_price"),
        ("price_pred", "price_observed"),
        ("predicted_target", "target"),
    ],
)
def test_the_truth_is_called_like_what_is_predicted(prediction: str, truth: str) -> None:
    price = RNG.normal(300, 50, ROWS)
    found = guessed(rooms=RNG.normal(4, 1, ROWS), **{truth: price, prediction: price + RNG.normal(0, 9, ROWS)})

    assert (roles(found)["prediction"], roles(found)["label"]) == (prediction, truth)
    assert [column.name for column in found.features] == ["rooms"]


def test_the_truth_of_a_measured_prediction_may_be_few_whole_numbers() -> None:
    stars = RNG.integers(1, 6, ROWS)
    found = guessed(predicted_stars=stars + RNG.normal(0, 0.5, ROWS), stars=stars)

    assert (found.task, roles(found)["label"]) == ("regression", "stars")


def test_what_is_called_like_the_prediction_is_not_believed_where_the_values_say_otherwise() -> None:
    found = guessed(predicted_price=RNG.normal(300, 50, ROWS), price=["cheap", "dear"] * (ROWS // 2))

    assert "label" not in roles(found)


def test_the_probability_of_a_class_is_no_predicted_class() -> None:
    columns = columns_of(pa.table({"predicted_churn": RNG.random(ROWS), "churn": LABEL}))

    assert guess(columns) == "no prediction column: predicted_churn holds probabilities, not classes"


def test_a_name_is_not_believed_where_the_values_say_otherwise() -> None:
    found = guessed(**BASE, risk_score=RNG.normal(600, 50, ROWS), target=["a"] * ROWS, time=["noon"] * ROWS)

    assert roles(found) == {"prediction": "prediction", "id": "id"}
    assert {column.name for column in found.features} == {"risk_score", "target", "time"}


def test_a_feature_that_would_be_read_as_a_field_of_the_event_is_left_out() -> None:
    found = guessed(**BASE, score=RNG.normal(600, 50, ROWS))

    assert roles(found).keys() == {"prediction", "id"}
    assert [column.name for column, _ in found.left_out] == ["score"]


def test_a_label_without_a_telling_name_is_known_by_its_agreement() -> None:
    found = guessed(**BASE, coin=RNG.integers(0, 2, ROWS), employed=LABEL)

    assert roles(found)["label"] == "employed"
    assert f"{np.mean(LABEL == PREDICTION):.0%} of the rows" in found.found["label"].reason
    assert [column.name for column in found.features] == ["coin"]


def test_labels_apart_are_looked_for_in_their_own_file() -> None:
    found = guessed(labels={"id": BASE["id"], "employed": LABEL}, **BASE, employed_before=LABEL)

    assert roles(found)["label"] == "employed"
    assert [column.name for column in found.features] == ["employed_before"]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"], "binary"),
        ([True, False], "binary"),
        ([1.0, 0.0], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([0, 1, 2, 3], "multiclass"),
        ([1.5, 2.0, 2.5], "regression"),
        (list(range(40)), "regression"),
    ],
)
def test_the_task_is_read_from_the_predictions(values: list[Any], task: str) -> None:
    assert guessed(prediction=values * 5).task == task


def test_a_class_that_only_labels_know_makes_a_task_multiclass() -> None:
    assert guessed(prediction=["a", "b"] * 9, label=["a", "c"] * 9).task == "multiclass"


@pytest.mark.parametrize(
    ("values", "positive"), [([0, 1], "1"), ([-1, 1], "1"), ([False, True], "true"), (["No", "Yes"], "Yes")]
)
def test_the_usual_positive_class_is_chosen(values: list[Any], positive: str) -> None:
    assert guessed(prediction=values * 5).positive_class == positive


def test_else_the_class_with_the_higher_score_is_positive_and_without_scores_the_rarer() -> None:
    names = ["good", "bad", "good"] * 10

    assert guessed(prediction=names, score=[0.9, 0.2, 0.8] * 10).positive_class == "good"
    assert guessed(prediction=names).positive_class == "bad"


@pytest.mark.parametrize(
    "times",
    [
        [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(ROWS)],
        [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(ROWS)],
        [f"2024-01-01T00:00:00.{ms:03}+02:00" for ms in range(ROWS)],
        [1_700_000_000_000 + 1000 * second for second in range(ROWS)],
        [date(2024, 1, 1) + timedelta(days=day) for day in range(ROWS)],
    ],
)
def test_times_are_known_by_their_values(times: list[Any]) -> None:
    assert roles(guessed(**BASE, when=times))["time"] == "when"


@pytest.mark.parametrize(("apart_s", "length"), [(0.001, "1m"), (1, "15m"), (10, "6h"), (3600, "30d"), (86_400, "30d")])
def test_a_window_is_the_shortest_usual_one_with_500_events(apart_s: float, length: str) -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=apart_s * n) for n in range(ROWS)]

    assert guessed(**BASE, time=times).window_length == length


def test_one_time_for_all_rows_says_nothing_about_a_window() -> None:
    assert guessed(**BASE, time=[datetime(2024, 1, 1, tzinfo=UTC)] * ROWS).window_length is None


def test_an_id_without_a_telling_name_is_a_row_number_or_a_text_that_differs() -> None:
    assert roles(guessed(prediction=PREDICTION, **{"Unnamed: 0": range(ROWS)}))["id"] == "Unnamed: 0"
    assert roles(guessed(prediction=PREDICTION, customer=[f"c{n}" for n in range(ROWS)]))["id"] == "customer"
    by_chance = guessed(prediction=PREDICTION, income=RNG.permutation(ROWS * 7)[:ROWS])
    assert "id" not in roles(by_chance)
    assert [column.name for column in by_chance.features] == ["income"]


def test_what_moves_by_itself_or_is_no_value_is_left_out_with_a_reason() -> None:
    found = guessed(
        **BASE,
        age=RNG.integers(18, 80, ROWS),
        year=[2015] * ROWS,
        customer_id=list(range(ROWS)),
        born=[date(1990, 1, 1)] * ROWS,
        tags=[["a"]] * ROWS,
        variant=["champion"] * ROWS,
    )

    assert roles(found).keys() == {"prediction", "id", "time"}
    assert [column.name for column in found.features] == ["age"]
    assert {column.name: reason for column, reason in found.left_out} == {
        "year": "a calendar value moves by itself",
        "customer_id": "different in each row",
        "tags": "neither number nor text",
        "variant": "called like a field of an event, and not one by its values",
    }


def test_the_features_of_events_are_those_inside_them() -> None:
    found = guessed(**{"prediction_id": BASE["id"], "prediction": PREDICTION, "latency_ms": [1.5] * ROWS,
                       "features.age": RNG.normal(40, 9, ROWS), "features.id": ["x", "y"] * (ROWS // 2)})  # fmt: skip

    assert roles(found) == {"prediction": "prediction", "id": "prediction_id"}
    assert [column.name for column in found.features] == ["age", "id"]


def test_a_file_without_predictions_is_told_why() -> None:
    assert guess(columns_of(pa.table({"age": [1, 2], "class": [0, 1]}))) == "no prediction column among age, class"
    probabilities = columns_of(pa.table({"prediction": [0.2, 0.7, 0.4], "label": [0, 1, 0]}))
    assert guess(probabilities) == "no prediction column: prediction holds probabilities, not classes"


def test_a_column_without_any_value_is_no_column() -> None:
    table = pa.table({"prediction": [1, 0], "empty": pa.nulls(2), "nan": [float("nan")] * 2})

    assert [column.name for column in columns_of(table)] == ["prediction"]


@pytest.mark.parametrize(
    "text", ["1", "1e3", "no", "true", "~", "", " a", "a: b", "a #b", "{a", "*a", "😀\x85\u2028", "'"]
)
def test_any_text_is_written_so_that_it_is_read_as_that_text(text: str) -> None:
    document = read_document(f"key: {scalar(text)}")

    assert document.problems == []
    assert document.value == {"key": text}


_NAMES = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["id", "no", "1.0", "a.b", "label", "score", "x\ny", "# x", "{", "features.a", "time", "class", "😀", "é"]
)
_VALUES = st.sampled_from(
    [
        [0, 1, 0, 1],
        ["a\nb", "c: d", "#", "e"],
        ["no", "no", "yes", "yes"],
        [0.5, 0.1, None, float("nan")],
        [True, False, True, None],
        [1, 2, 3, 4],
        [10**18, -(10**18), 0, 5],
        [float("inf"), 1.0, 2.0, 3.0],
        [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
        [[1], [2], [], None],
    ]
)


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.dictionaries(_NAMES, _VALUES, max_size=8), _VALUES, st.text(min_size=1, max_size=20))
def test_whatever_the_columns_are_called_the_written_configuration_loads_as_guessed(
    tmp_path: Path, columns: dict[str, list[Any]], prediction: list[Any], model: str
) -> None:
    found = guess(columns_of(pa.table(columns | {"prediction": prediction})))
    if isinstance(found, str):
        return
    config = tmp_path / "monitor.yaml"
    config.write_text(render(found, source="a\nb", rows=4, model=model, reference="r: #.csv"), encoding="utf-8")

    loaded = load_settings(config, {}).models[model]

    assert loaded.task == found.task
    assert loaded.positive_class == found.positive_class
    assert loaded.columns.model_dump(exclude_none=True) == roles(found)
    assert loaded.has_labels == ("label" in found.found)
    assert loaded.reference is not None
    assert loaded.reference.path == tmp_path / "r: #.csv"
