"""Data files: the same values as live events, and errors that name the file, the line and the column."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from driftline.errors import InputError
from driftline.events import FeatureType, event_keys
from driftline.settings.models import ModelSettings
from driftline.settings.services import LimitSettings
from streams.decode.files import (
    FileDecoder,
    feature_types,
    has_field,
    labels_from_table,
    predictions_from_table,
    read_table,
)
from streams.decode.shapes import EventShape
from tests.support.events import column, rows, shape

CSV = "id,ts,age,city,score,prediction\n01,2024-01-01 00:00:00,31,Boston,0.5,1\n2,2024-01-01 01:00:00,,,NaN,0\n"
COLUMNS = {"id": "id", "time": "ts"}
MS = 1_704_067_200_000


def decoder(of: EventShape | None = None, **limits: int) -> FileDecoder:
    return FileDecoder(of or shape(columns=COLUMNS), LimitSettings(**limits), b"secret")


def written(folder: Path, name: str, content: str | bytes | pa.Table) -> Path:
    path = folder / name
    if isinstance(content, pa.Table):
        parquet.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"task": "binary", "reference": {"path": "r.csv"}, **changes})


def test_a_csv_becomes_predictions(tmp_path: Path) -> None:
    batch, dead = predictions_from_table(read_table(written(tmp_path, "p.csv", CSV)), decoder(), "p.csv")
    assert dead == []
    assert batch.key.tolist() == event_keys("m", ["01", "2"], b"secret").tolist()
    assert batch.time_ms.tolist() == [MS, MS + 3_600_000]
    assert column(batch.features["age"]) == [31.0, None]
    assert column(batch.features["city"]) == ["Boston", None]
    assert column(batch.prediction) == ["1", "0"]
    assert column(batch.version) == ["unversioned", "unversioned"]
    assert batch.score.tolist()[0] == 0.5
    assert np.isnan(batch.score[1])
    assert batch.has_features.all()


def test_the_same_rows_are_the_same_batch_in_every_kind_of_file(tmp_path: Path) -> None:
    events = [
        {"id": "a", "ts": "2024-01-01T00:00:00Z", "age": 31.5, "city": "Boston", "score": 0.5, "prediction": 1.0},
        {"id": "b", "ts": "2024-01-01T00:00:00Z", "age": None, "city": "1.0", "score": None, "prediction": 0.0},
        {"id": "1.10", "ts": "2024-01-01T00:00:00Z", "age": None, "city": "1.10", "score": None, "prediction": 0.0},
        {"id": "1.1", "ts": "2024-01-01T00:00:00Z", "age": None, "city": "1e3", "score": None, "prediction": 0.0},
    ]
    csv = "id,ts,age,city,score,prediction\r\n" + "".join(
        ",".join("" if value is None else str(value) for value in event.values()) + "\r\n" for event in events
    )
    table = pa.Table.from_pylist(events)
    encoded = table.set_column(3, "city", table["city"].dictionary_encode())
    moments = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 4, pa.timestamp("us", "America/New_York"))
    files = [
        written(tmp_path, "a.csv", csv),
        written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, events))),
        written(tmp_path, "a.ndjson", "\n\n".join(map(json.dumps, events)) + "\n"),
        written(tmp_path, "a.parquet", table),
        written(tmp_path, "b.parquet", encoded.set_column(1, "ts", moments)),
    ]
    first, *others = [rows(predictions_from_table(read_table(path), decoder(), "x")[0]) for path in files]
    assert [row["feature city"] for row in first] == ["Boston", "1", "1.10", "1e3"]
    assert len({row["key"] for row in first}) == 4
    assert [other == first for other in others] == [True] * 4


def test_a_file_of_contract_events_is_read_like_the_log(tmp_path: Path) -> None:
    event = {"prediction_id": "a", "model": "m", "timestamp": MS, "prediction": 1, "features": {"age": 3}}
    lines = [event, event | {"features": None, "age": 4}, event | {"model": "else"}]
    table = read_table(written(tmp_path, "e.jsonl", "\n".join(map(json.dumps, lines))))
    batch, dead = predictions_from_table(table, decoder(), "e.jsonl")
    assert dead == []
    assert column(batch.features["age"]) == [3.0, 4.0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2024-01-01 00:00:00", "2024-01-01T00:00:00.5", None], [MS, MS + 500]),
        (["2024-01-01T01:00:00+01:00", "2024-01-01", None], [MS, MS]),
        (["1704067200000", "1704067200000.0", None], [MS, MS]),
        ([MS, MS + 1, None], [MS, MS + 1]),
        ([float(MS), MS + 1.0, None], [MS, MS + 1]),
        ([datetime(2024, 1, 1), datetime(2024, 1, 1, 1), None], [MS, MS + 3_600_000]),
        ([date(2024, 1, 1), date(2024, 1, 2), None], [MS, MS + 86_400_000]),
    ],
)
def test_times_may_be_texts_numbers_timestamps_or_dates_and_are_utc(values: list[object], expected: list[int]) -> None:
    table = pa.table({"id": [1, 2, 3], "ts": values, "prediction": [0, 1, 0]})
    batch, dead = predictions_from_table(table, decoder(), "t.parquet")
    assert batch.time_ms.tolist() == expected
    assert [(letter.reason, letter.offset) for letter in dead] == [("missing_field", 3)]


def test_rows_without_times_get_the_given_ones() -> None:
    table = pa.table({"id": [1, 2], "prediction": [0, 1]})
    batch, _ = predictions_from_table(table, decoder(), "t.parquet", np.array([7, 9]))
    assert batch.time_ms.tolist() == [7, 9]
    broken = pa.table({"id": [1, None], "prediction": [None, 1]})
    _, dead = predictions_from_table(broken, decoder(), "t.parquet", np.array([7, 9]))
    assert [(letter.reason, letter.detail) for letter in dead] == [
        ("missing_field", "prediction is missing"),
        ("missing_field", "id is missing"),
    ]


def test_an_unusable_row_is_a_dead_letter_with_its_line(tmp_path: Path) -> None:
    lines = ["1,2024-01-01,0.5,1", ",2024-01-01,0.5,1", "3,yesterday,0.5,1", "4,2024-01-01,high,1", "5,2024-01-01,2,1"]
    csv = "\n".join(["id,ts,score,prediction", *lines])
    batch, dead = predictions_from_table(read_table(written(tmp_path, "p.csv", csv)), decoder(), "p.csv")
    assert batch.order.tolist() == [0]
    assert [(letter.reason, letter.topic, letter.offset, letter.model) for letter in dead] == [
        ("missing_field", "p.csv", 3, "m"),
        ("bad_timestamp", "p.csv", 4, "m"),
        ("not_finite", "p.csv", 5, "m"),
        ("bad_score", "p.csv", 6, "m"),
    ]
    assert dead[1].detail == 'ts: expected RFC 3339 or epoch milliseconds, found "yesterday"'
    assert b'"ts":"yesterday"' in dead[1].payload
    assert b'"score":"high"' in dead[2].payload


def test_nan_in_a_column_of_floats_is_other_and_null_is_missing() -> None:
    table = pa.table({"id": [1, 2, 3], "ts": [1, 2, 3], "prediction": [0, 1, 0], "age": [1.0, float("nan"), None]})
    batch, _ = predictions_from_table(table, decoder(), "t.parquet")
    assert column(batch.features["age"]) == [1.0, "<other>", None]


def test_numbers_in_a_csv_may_be_spelt_freely_and_texts_are_other(tmp_path: Path) -> None:
    ages = ["1e3", ".5", "007", "+1", "-2.", "inf", "old", "1_0"]
    csv = "\n".join(["id,ts,prediction,age", *(f"{row},1,1,{age}" for row, age in enumerate(ages))])
    batch, _ = predictions_from_table(read_table(written(tmp_path, "p.csv", csv)), decoder(), "p.csv")
    assert column(batch.features["age"]) == [1000.0, 0.5, 7.0, 1.0, -2.0, "<other>", "<other>", "<other>"]


def test_labels_become_a_batch_with_the_same_keys(tmp_path: Path) -> None:
    labelled = decoder(shape(columns={**COLUMNS, "label": "truth"}))
    table = read_table(written(tmp_path, "l.csv", "id,ts,truth\n01,2024-01-01,1.0\n2,2024-01-02,0\n3,2024-01-02,\n"))
    batch, dead = labels_from_table(table, labelled, "l.csv")
    assert batch.key.tolist() == event_keys("m", ["01", "2"], b"secret").tolist()
    assert column(batch.label) == ["1", "0"]
    assert [(letter.reason, letter.detail) for letter in dead] == [("missing_field", "truth is missing")]


def test_a_missing_column_is_an_error_that_names_the_file_and_the_column() -> None:
    table = pa.table({"key": [1], "ts": [1]})
    with pytest.raises(InputError) as error:
        predictions_from_table(table, decoder(), "p.csv", None)
    assert str(error.value) == "p.csv: has no column `id` or `prediction_id`; name it in columns.id"
    with pytest.raises(InputError, match="has no column `prediction`"):
        predictions_from_table(table.rename_columns(["id", "ts"]), decoder(), "p.csv")
    assert has_field(table, decoder().shape, "time")
    assert not has_field(table, decoder().shape, "label")


@pytest.mark.parametrize("role", ["score", "version", "model", "variant"])
def test_a_mapped_column_that_no_row_of_predictions_has_is_an_error_with_the_nearest_name(role: str) -> None:
    table = pa.table({"id": [1], "ts": [MS], "prediction": [1], "y_pred_proba": [0.5]})
    with pytest.raises(InputError) as error:
        predictions_from_table(table, decoder(shape(columns=COLUMNS | {role: "y_pred_prob"})), "p.csv")
    assert str(error.value) == (
        f"p.csv: has no column `y_pred_prob` or `{role}`; did you mean `y_pred_proba`? name it in columns.{role}"
    )


def test_a_mapped_reward_is_demanded_of_labels_and_not_of_predictions() -> None:
    of = decoder(shape(columns=COLUMNS | {"reward": "gain"}))
    with pytest.raises(InputError, match=r"l\.csv: has no column `gain` or `reward`; name it in columns.reward"):
        labels_from_table(pa.table({"id": [1], "ts": [MS], "label": [1]}), of, "l.csv")
    assert len(predictions_from_table(pa.table({"id": [1], "ts": [MS], "prediction": [1]}), of, "p.csv")[0]) == 1


@pytest.mark.parametrize("role", ["segment", "probabilities", "features"])
def test_a_mapped_object_is_demanded_of_files_that_hold_objects(role: str) -> None:
    of = decoder(shape(columns=COLUMNS | {role: "contxt"}))
    flat = pa.table({"id": [1], "ts": [MS], "prediction": [1]})
    assert len(predictions_from_table(flat, of, "p.csv")[0]) == 1
    with pytest.raises(InputError, match="did you mean `context`"):
        predictions_from_table(flat.append_column("context", pa.array([{"plan": "gold"}])), of, "p.jsonl")


def test_every_mapped_column_that_is_missing_is_told_at_once() -> None:
    of = decoder(shape(columns=COLUMNS | {"score": "s1", "version": "v1"}))
    with pytest.raises(InputError) as error:
        predictions_from_table(pa.table({"id": [1], "ts": [MS], "prediction": [1]}), of, "p.csv")
    assert len(error.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "a,b\n1,2\n3,4,5\n", "a.csv:3: can't be read: "),
        ("a.csv", "", "a.csv: can't be read: "),
        ("a.csv", b"a,b\n1,\xff\n", "a.csv:2: can't be read: "),
        ("a.jsonl", '{"a":1}\n\n{"a":\n', "a.jsonl:3: can't be read: "),
        ("a.jsonl", "null\n", "a.jsonl:1: can't be read: a line must be one JSON object"),
        ("a.jsonl", '{"a": 1}\n{"b":' + "[" * 2_000 + "]" * 2_000 + "}", "a.jsonl:2: can't be read: "),
        ("a.jsonl", "[1]\n", "a.jsonl:1: can't be read: "),
        ("a.parquet", "nonsense", "a.parquet: can't be read: "),
        ("a.xlsx", "nonsense", "a.xlsx: is of no known kind, which are .parquet, .csv, .jsonl, .ndjson"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it_and_the_line(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    with pytest.raises(InputError) as error:
        read_table(written(tmp_path, name, content))
    assert str(error.value).startswith(f"{tmp_path}/{problem}")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: does not exist"):
        read_table(tmp_path / "none.csv")


def test_types_follow_the_columns_and_leave_out_what_is_read_as_something_else(tmp_path: Path) -> None:
    names = "id,ts,prediction,label,age,zip,when,flag,empty,year"
    lines = ["1,2024-01-01,0,1,31,01234,2024-01-01,true,,inf", "2,2024-01-01,1,0,2.5,99999,x,false,,7"]
    csv = "\n".join([names, *lines])
    kinds = {"age": "numeric", "zip": "categorical", "when": "categorical", "flag": "categorical", "empty": "numeric"}
    found = feature_types(read_table(written(tmp_path, "a.csv", csv)), settings(columns=COLUMNS))
    assert {each.name: each.kind for each in found} == {**kinds, "year": "numeric"}


def test_types_of_a_parquet_file_follow_its_own_types() -> None:
    table = pa.table(
        {
            "prediction_id": [1],
            "prediction": [1],
            "count": pa.array([1], pa.int8()),
            "text": ["1"],
            "code": pa.array(["a"]).dictionary_encode(),
            "flag": [True],
            "when": [datetime(2024, 1, 1)],
            "list": [[1]],
            "none": pa.nulls(1),
        }
    )
    assert {each.name: each.kind for each in feature_types(table, settings())} == {
        "count": "numeric",
        "text": "categorical",
        "code": "categorical",
        "flag": "categorical",
        "none": "numeric",
    }


def test_types_come_from_the_features_object_or_the_settings_where_there_is_one() -> None:
    table = pa.table({"prediction": [1], "latency_ms": [3], "features": [{"age": 1, "city": "x"}]})
    expected = (FeatureType("age", "numeric"), FeatureType("city", "categorical"))
    assert feature_types(table, settings()) == expected
    listed = settings(features=[{"name": "age", "type": "categorical"}])
    assert feature_types(table, listed) == (FeatureType("age", "categorical"),)


def test_a_dotted_feature_leaves_the_column_before_its_dot_alone(tmp_path: Path) -> None:
    csv = "id,ts,prediction,a,a.b\n1,1,1,x,2\n"
    dotted = shape(features={"a": "categorical", "a.b": "numeric"}, columns=COLUMNS)
    batch, _ = predictions_from_table(read_table(written(tmp_path, "p.csv", csv)), decoder(dotted), "p.csv")
    assert (column(batch.features["a"]), column(batch.features["a.b"])) == (["x"], [2.0])


def test_a_byte_order_mark_and_line_breaks_in_quotes_are_no_part_of_a_csv(tmp_path: Path) -> None:
    csv = '\ufeffid,ts,prediction,city\n1,1,1,"New\nYork"\n'
    batch, dead = predictions_from_table(read_table(written(tmp_path, "p.csv", csv)), decoder(), "p.csv")
    assert dead == []
    assert column(batch.features["city"]) == ["New\nYork"]
