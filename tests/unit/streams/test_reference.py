"""References: files and events freeze to the same profile, and the numbers in it are those of the data."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from driftline.errors import InputError
from driftline.events import Coded, FeatureType, Numeric
from driftline.settings.models import ModelSettings
from driftline.settings.services import LimitSettings
from streams.references.reference import (
    columns_from_raw,
    infer_feature_types,
    profile_from_batch,
    profile_from_file,
    profile_from_table,
)
from tests.support.events import column, decoder, messages, shape

ROWS = 400


@pytest.fixture(scope="module")
def table() -> pa.Table:
    random = np.random.default_rng(7)
    return pa.table(
        {
            "age": pa.array([None if row % 40 == 0 else float(row % 37) for row in range(ROWS)]),
            "city": random.choice(["Boston", "Salem", "Lynn"], ROWS),
            "prediction": random.integers(0, 2, ROWS),
            "score": random.random(ROWS),
            "label": pa.array([None if row % 10 == 0 else row % 2 for row in range(ROWS)]),
        }
    )


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"task": "binary", "reference": {"path": "r.csv"}, **changes})


def test_a_profile_holds_the_features_then_the_prediction_and_the_score(table: pa.Table) -> None:
    profile = profile_from_table(table, settings(), LimitSettings(), "r.parquet")
    assert [feature.name for feature in profile.features] == ["age", "city", "@prediction", "@score"]
    assert (profile.n, profile.classes) == (ROWS, ("0", "1"))
    age, city, prediction, score = profile.features
    ages = np.array([value for value in table["age"].to_pylist() if value is not None])
    assert age.edges == tuple(np.unique(np.quantile(ages, np.linspace(0, 1, 11)[1:-1])))
    assert age.counts[age.missing_index] == 10
    assert dict(zip(city.bin_labels(), city.counts, strict=True)) == {
        **Counter(table["city"].to_pylist()),
        "missing": 0,
        "other": 0,
    }
    assert sum(prediction.counts) == sum(score.counts) == ROWS


def test_labels_beside_the_predictions_enter_the_score_histogram(table: pa.Table) -> None:
    profile = profile_from_table(table, settings(), LimitSettings(), "r.parquet")
    by_classes: Counter[tuple[int, int]] = Counter()
    for _, predicted, true, count in profile.score_counts:
        by_classes[predicted, true] += count
    labels = [-1 if label is None else label for label in table["label"].to_pylist()]
    assert by_classes == Counter(zip(table["prediction"].to_pylist(), labels, strict=True))
    without = profile_from_table(table.drop_columns("label"), settings(), LimitSettings(), "r.parquet")
    assert {true for _, _, true, _ in without.score_counts} == {-1}


def test_labels_beside_the_predictions_say_what_goes_with_each_bin(table: pa.Table) -> None:
    """As least squares on the rows with a label find it, a row of each frequent bin alone beside them."""
    profile = profile_from_table(table, settings(), LimitSettings(), "r.parquet")
    effects, (age, city) = profile.effects, profile.features[:2]
    assert effects is not None
    rows = [row for row in table.to_pylist() if row["label"] is not None]
    bins = [len(age.edges) + 1 if row["age"] is None else np.searchsorted(age.edges, row["age"]) for row in rows]
    cities = [age.n_bins + city.categories.index(row["city"]) for row in rows]
    dummies = (np.stack([bins, cities], axis=1)[:, :, None] == np.arange(age.n_bins + city.n_bins)).any(axis=1)
    frequent = np.flatnonzero(dummies.sum(axis=0) >= 20)
    centred = dummies[:, frequent] - dummies[:, frequent].mean(axis=0)
    right = np.array([row["prediction"] == row["label"] for row in rows], float)
    hits = np.array([row["prediction"] == row["label"] == 1 for row in rows], float)

    assert effects.bins == tuple(frequent.tolist())
    assert effects.of == ("right", *(f"{kind}.{name}" for name in "01" for kind in ("hit", "predicted", "true")))
    for name, values in (("right", right), ("hit.1", hits)):
        expected = np.linalg.lstsq(
            np.vstack([centred, np.eye(len(frequent))]),
            np.concatenate([values - values.mean(), np.zeros(len(frequent))]),
            rcond=None,
        )[0]
        assert np.array(effects.by_bin[effects.of.index(name)]) / 2**20 == pytest.approx(expected, abs=1e-6)
    without = profile_from_table(table.drop_columns("label"), settings(), LimitSettings(), "r.parquet")
    assert without.effects is None


def test_a_regression_s_errors_are_explained_in_the_error_scale(table: pa.Table) -> None:
    profile = profile_from_table(table, settings(task="regression"), LimitSettings(), "r.parquet")
    rows = [row for row in table.to_pylist() if row["label"] is not None]
    error = np.array([row["prediction"] - row["label"] for row in rows]) / profile.error_scale

    assert profile.effects is not None
    assert profile.effects.of == ("error", "absolute", "square")
    shares = np.zeros(sum(feature.n_bins for feature in profile.features))
    age, city = profile.features[:2]
    for row in rows:
        of_age = age.missing_index if row["age"] is None else np.searchsorted(age.edges, row["age"])
        shares[[of_age, age.n_bins + city.categories.index(row["city"])]] += 1.0 / len(rows)
    expected = [error.mean(), np.abs(error).mean(), (error**2).mean()]
    found = np.array(profile.effects.bases) + np.array(profile.effects.by_bin) @ shares[list(profile.effects.bins)]
    assert found / 2**20 == pytest.approx(expected, abs=1e-5)


def test_a_file_and_the_same_rows_as_events_freeze_to_the_same_profile(table: pa.Table, tmp_path: Path) -> None:
    parquet.write_table(table.drop_columns("label"), tmp_path / "r.parquet")
    from_file = profile_from_file(tmp_path / "r.parquet", settings(), LimitSettings())
    events = [
        {
            "prediction_id": row,
            "timestamp": row,
            "prediction": event["prediction"],
            "score": event["score"],
            "features": {"age": event["age"], "city": event["city"]},
        }
        for row, event in enumerate(table.to_pylist())
    ]
    for known in ({"age": "numeric", "city": "categorical"}, None):
        of = shape(features=known)
        if known is None:
            of = replace(of, features=None)
        batch = decoder(of).decode("t", 0, messages(*events)).predictions["m"]
        types = infer_feature_types(batch.raw_features or ()) or (of.features or ())
        frozen = profile_from_batch(batch, types, task="binary", bins=10, categories_max=200)
        assert frozen.digest == from_file.digest
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert profile_from_file(tmp_path / "r.jsonl", settings(), LimitSettings()).digest == from_file.digest


def test_a_regression_has_no_classes_and_scales_its_errors(table: pa.Table) -> None:
    profile = profile_from_table(table, settings(task="regression"), LimitSettings(), "r.parquet")
    assert (profile.classes, profile.score_counts) == ((), ())
    assert [feature.kind for feature in profile.features[-2:]] == ["numeric", "numeric"]


def test_rows_without_a_usable_prediction_are_left_out_with_their_labels(table: pa.Table) -> None:
    predictions = pa.array([None if row < 100 else row % 2 for row in range(ROWS)])
    broken = table.set_column(2, "prediction", predictions).set_column(4, "label", predictions)
    profile = profile_from_table(broken, settings(), LimitSettings(), "r.parquet")
    assert profile.n == 300
    assert all(predicted == true for _, predicted, true, _ in profile.score_counts)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"age": [1.0]}, "r.csv: has no column `prediction`; name it in columns.prediction"),
        ({"prediction": pa.nulls(1)}, "r.csv: has no usable row: prediction is missing"),
        ({"prediction": pa.array([], pa.int64())}, "r.csv: has no usable row"),
        (
            {"prediction": [1], "a": [1], "b": [1]},
            "r.csv: has 2 features, limits.features_max is 1; list the features to watch in the model's features",
        ),
    ],
)
def test_a_table_that_can_not_be_a_reference_is_an_error(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as error:
        profile_from_table(pa.table(columns), settings(), LimitSettings(features_max=1), "r.csv")
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("role", "written"), [("score", "scor"), ("score", "s"), ("version", "citys"), ("id", "citys")]
)
def test_a_mapped_column_that_the_reference_lacks_or_spells_otherwise_is_an_error(
    table: pa.Table, role: str, written: str
) -> None:
    renamed = table.rename_columns(["age", "city", "prediction", "scores", "label"])
    with pytest.raises(InputError, match=rf"r\.csv: has no column `{written}` or .*name it in columns\.{role}"):
        profile_from_table(renamed, settings(columns={role: written}), LimitSettings(), "r.csv")


def test_a_reference_needs_neither_ids_nor_times_nor_versions_nor_labels_though_they_are_mapped(
    table: pa.Table,
) -> None:
    mapped = {"id": "key", "time": "when", "version": "model_version", "label": "truth", "reward": "gain", "model": "m"}
    profile = profile_from_table(table.drop(["label"]), settings(columns=mapped), LimitSettings(), "r.csv")
    assert [feature.name for feature in profile.features] == ["age", "city", "@prediction", "@score"]


def test_listed_features_are_no_misspelt_columns(table: pa.Table) -> None:
    listed = [{"name": "city", "type": "categorical"}]
    profile = profile_from_table(
        table, settings(columns={"version": "citys"}, features=listed), LimitSettings(), "r.csv"
    )
    assert [feature.name for feature in profile.features] == ["city", "@prediction", "@score"]


def test_events_without_features_do_not_count_as_missing_features() -> None:
    events = [{"prediction_id": row, "timestamp": row, "prediction": 1} for row in range(4)]
    events += [event | {"features": {"age": 3}} for event in events]
    batch = decoder(shape()).decode("t", 0, messages(*events)).predictions["m"]
    profile = profile_from_batch(batch, shape().features or (), task="binary", bins=2, categories_max=5)
    assert [sum(feature.counts) for feature in profile.features] == [4, 4, 8]


def test_each_segment_has_its_own_counts_in_the_bins_of_all_rows(table: pa.Table) -> None:
    regions = ["east", "west", None, "other"]
    table = table.append_column("region", pa.array([regions[row % 7 % 4] for row in range(ROWS)]))
    profile = profile_from_table(table, settings(segments=["region", "city"]), LimitSettings(), "r.parquet")
    segments_of = [(f"region={row['region'] or 'missing'}", f"city={row['city']}") for row in table.to_pylist()]
    assert [segment.name for segment in profile.segments] == sorted({name for of in segments_of for name in of})
    age, city = profile.features[:2]
    for segment in profile.segments:
        own = table.filter(pa.array([segment.name in of for of in segments_of]))
        ages = np.array([value for value in own["age"].to_pylist() if value is not None])
        in_bins = np.bincount(np.searchsorted(age.edges, ages), minlength=len(age.edges) + 1).tolist()
        cities = Counter(own["city"].to_pylist())
        expected = (*in_bins, own["age"].null_count, 0, *(cities.get(label, 0) for label in city.bin_labels()))
        assert profile.counts_of(segment.name)[: len(expected)] == expected
        assert sum(segment.counts) == len(profile.features) * own.num_rows
    everything = np.sum([profile.counts_of(name) for name in {of[1] for of in segments_of}], axis=0)
    assert tuple(everything.tolist()) == profile.counts_of(None)
    assert set(profile.counts_of("city=Paris")) == {0}


def test_segments_beyond_the_bound_are_the_rest_of_their_name(table: pa.Table) -> None:
    sizes = {"a": 200, "b": 100, "c": 60, "d": 30, "e": 10}
    regions = [value for value, n in sizes.items() for _ in range(n)]
    table = table.append_column("region", pa.array(regions))
    profile = profile_from_table(table, settings(segments=["region", "city"]), LimitSettings(segments_max=4), "r")
    cities = Counter(table["city"].to_pylist())
    largest = sorted({**sizes, **cities}.items(), key=lambda item: -item[1])[:4]
    n_rows = {segment.name.partition("=")[2]: sum(segment.counts[-12:]) for segment in profile.segments}
    assert {name: n for name, n in n_rows.items() if name != "other"} == dict(largest)
    rest = {segment.name: sum(segment.counts[-12:]) for segment in profile.segments if segment.name.endswith("=other")}
    assert rest["region=other"] == sum(n for name, n in sizes.items() if name not in dict(largest))
    assert sum(rest.values()) == 2 * ROWS - sum(dict(largest).values())


def test_types_are_inferred_from_all_values_that_are_not_null() -> None:
    raw = [{"a": 1, "b": 1, "c": None, "d": True}, {"a": 2.5, "b": "x", "d": None}, {"e": "only here"}]
    assert {each.name: each.kind for each in infer_feature_types(raw)} == {
        "a": "numeric",
        "b": "categorical",
        "c": "numeric",
        "d": "categorical",
        "e": "categorical",
    }
    assert [each.name for each in infer_feature_types(raw, features_max=2)] == ["a", "b"]


def test_raw_features_become_columns_of_the_given_types() -> None:
    types = [FeatureType("a", "numeric"), FeatureType("b", "categorical")]
    columns = columns_from_raw([{"a": 1, "b": 1.0}, {"a": "x"}, {}], types)
    assert isinstance(columns["a"], Numeric)
    assert isinstance(columns["b"], Coded)
    assert column(columns["a"]) == [1.0, "<other>", None]
    assert column(columns["b"]) == ["1", None, None]
