"""Does a configuration become what it says, and is each rule kept?

Each rule is tested on the plain values; `test_settings_load` tests how problems are told.
"""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from driftline.settings import DEFAULT_METRICS, METRICS, ModelSettings, Settings
from driftline.settings.document import read_document
from driftline.settings.metrics import ERROR_METRICS, TWO_SIDED_METRICS, NamedMetric

BINARY = {"task": "binary", "reference": {"first_events": 1000}}
KAFKA = {"bootstrap_servers": "broker:9092"}


def model(**given: Any) -> ModelSettings:
    return ModelSettings.model_validate(BINARY | given)


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"models": {"m": BINARY}} | given)


def refusals(**given: Any) -> dict[str, str]:
    """The problems of a configuration, by dotted key below it."""
    with pytest.raises(ValidationError) as caught:
        settings(**given)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


def refusals_of_model(**given: Any) -> dict[str, str]:
    return {key.removeprefix("models.m."): text for key, text in refusals(models={"m": BINARY | given}).items()}


def test_task_and_reference_are_all_a_model_needs() -> None:
    loaded = model()

    assert loaded.positive_class == "1"
    assert loaded.features is None
    assert loaded.segments == ()
    assert loaded.drift.detectors == ("psi", "adwin")
    assert loaded.windows.length_ms == loaded.windows.slide_ms == 3_600_000
    assert loaded.windows.pane_ms == 60_000
    assert loaded.windows.lookback_max_ms == 7 * 3_600_000
    assert not loaded.has_labels
    assert loaded.performance is None


def test_replay_needs_neither_kafka_nor_postgres() -> None:
    loaded = settings()

    assert loaded.kafka is None
    assert loaded.postgres is None


def test_a_configuration_without_a_model_watches_nothing_and_is_refused() -> None:
    assert "models" in refusals(models={})


def test_nothing_of_loaded_settings_can_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().web.port = 1


def test_a_model_is_canonical_json_so_that_its_digest_is_one() -> None:
    given = BINARY | {"windows": {"length": "2h"}, "labels": {"horizon": "7d"}}
    reordered = {key: given[key] for key in reversed(given)}

    dumps = [ModelSettings.model_validate(one).model_dump(mode="json") for one in (given, reordered)]

    assert json.dumps(dumps[0], sort_keys=True) == json.dumps(dumps[1], sort_keys=True)
    assert dumps[0]["windows"]["length_ms"] == 7_200_000


@pytest.mark.parametrize("given", [{"labels": {}}, {"performance": {}}, {"columns": {"label": "y"}}])
def test_labels_are_joined_as_soon_as_anything_says_there_are_some(given: dict[str, Any]) -> None:
    loaded = model(**given)

    assert loaded.has_labels
    assert loaded.labels is not None
    assert loaded.labels.horizon_ms == 30 * 86_400_000
    assert loaded.performance is not None
    assert loaded.performance.judge_after_ms is None


def test_a_label_section_that_is_no_section_is_refused() -> None:
    assert list(refusals_of_model(labels=False)) == ["labels"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_without_a_choice_the_usual_metrics_of_the_task_are_computed(task: Any) -> None:
    loaded = model(task=task, performance={})

    assert loaded.performance is not None
    assert loaded.performance.metrics == DEFAULT_METRICS[task]


def test_a_metric_must_fit_the_task() -> None:
    problems = refusals_of_model(task="regression", performance={"metrics": ["mae", "recall"]})
    known = "mae, rmse, mape, r2, bias, reward_sum, reward_mean"
    assert problems == {"performance.metrics.1": f"recall is not a metric of a regression task; known: {known}"}


def test_a_floor_must_be_of_a_metric_that_is_computed() -> None:
    problems = refusals_of_model(performance={"metrics": ["accuracy"], "floor": {"recall": 0.5}})

    assert problems == {"performance.floor.recall": "recall is not one of the metrics that are computed: accuracy"}


def test_a_floor_of_a_share_lies_between_0_and_1_and_one_of_an_error_does_not_have_to() -> None:
    assert "performance.floor.recall" in refusals_of_model(performance={"floor": {"recall": 75}})
    assert model(task="regression", performance={"floor": {"mae": 75}}).performance is not None


@pytest.mark.parametrize(
    ("given", "text"), [(True, "true"), ("True", "true"), (1, "1"), (1.0, "1"), ("1", "1"), ("fraud", "fraud")]
)
def test_the_positive_class_is_canonical_text(given: object, text: str) -> None:
    assert model(positive_class=given).positive_class == text


def test_only_a_binary_task_has_a_positive_class() -> None:
    assert model(task="multiclass").positive_class is None
    assert "positive_class" in refusals_of_model(task="multiclass", positive_class="a")


@pytest.mark.parametrize("reference", [{}, {"path": "r.csv", "first_events": 10}])
def test_a_reference_is_a_file_or_the_first_events(reference: dict[str, Any]) -> None:
    assert "reference" in refusals_of_model(reference=reference)


def test_a_model_without_a_reference_needs_one_for_each_version() -> None:
    without = {"task": "binary"}
    by_version = {"versions": {"v1": {"reference": {"first_events": 5}}}}

    assert "models.m.reference" in refusals(models={"m": without})
    assert "models.m.versions.v2.reference" in refusals(
        models={"m": without | {"versions": by_version["versions"] | {"v2": {}}}}
    )
    assert ModelSettings.model_validate(without | by_version).reference is None


def test_versions_are_named_as_events_name_them() -> None:
    own = {"reference": {"first_events": 5}}
    assert list(model(versions={"2.0": own, "1.10": own, "1.1": own, "v3": own}).versions) == ["2", "1.10", "1.1", "v3"]
    assert "versions" in refusals_of_model(versions={"2.0": own, "2": own})


@pytest.mark.parametrize(
    ("windows", "key"),
    [
        ({"length": "1h", "slide": "2h"}, "slide"),  # a gap between windows
        ({"length": "1h", "pane": "7m"}, "pane"),
        ({"length": "1h", "slide": "40m", "pane": "30m"}, "pane"),
        ({"length": "500ms"}, "pane"),  # no pane can be derived
        ({"length": "30d", "slide": "1s"}, "pane"),  # 2.6 million panes a window
        ({"length": "1h", "lookback_max": "59m"}, "lookback_max"),
        ({"length": "0s"}, "length"),
        ({"min_events": 0}, "min_events"),
        ({"seasonality": "12h"}, "seasonality"),  # neither a day nor a week
        ({"length": "7h", "seasonality": "24h"}, "seasonality"),  # no window begins at the same hour again
        ({"length": "2d", "slide": "12h", "seasonality": "24h"}, "seasonality"),  # it would hold its own like phase
    ],
)
def test_a_window_that_cannot_be_cut_is_refused_at_the_key_that_is_wrong(windows: dict[str, Any], key: str) -> None:
    assert _causes(windows) == [f"windows.{key}"]


def _causes(windows: dict[str, Any]) -> list[str]:
    problems = refusals_of_model(windows=windows)
    return [key.removesuffix("_ms") for key, text in problems.items() if "default factory" not in text]


def test_a_season_is_a_day_or_a_week_and_bounds_how_far_back_is_read() -> None:
    of_day, of_week = (model(windows={"length": "6h", "seasonality": given}).windows for given in ("24h", "7d"))
    assert (of_day.seasons_ms, of_week.seasons_ms) == (7 * 86_400_000, 28 * 86_400_000)
    # Seven lengths are 42 hours: a stretch of a day's season must not meet its own like phases.
    assert (of_day.reach_ms, of_week.reach_ms) == (24 * 3_600_000, 42 * 3_600_000)
    assert model(windows={"length": "6h"}).windows.seasons_ms == 0


def test_a_pane_may_be_set_and_may_be_auto() -> None:
    assert model(windows={"length": "1s", "pane": "100ms"}).windows.pane_ms == 100
    assert model(windows={"length": "1h", "pane": "auto"}).windows.pane_ms == 60_000


def test_features_may_be_auto_or_a_list_in_which_each_stands_once() -> None:
    age, sex = {"name": "age", "type": "numeric", "path": "person.age"}, {"name": "sex", "type": "categorical"}

    assert model(features="auto").features is None
    loaded = model(features=[age, sex]).features
    assert loaded is not None
    assert [(feature.name, feature.path) for feature in loaded] == [("age", "person.age"), ("sex", None)]
    assert refusals_of_model(features=[age, sex, age]) == {"features.2.name": "age is named more than once"}


WRONG_FEATURES: list[Any] = ["age", "all", 3, True, {}, {"age": "numeric"}, {"name": "age", "type": "numeric"}]


@pytest.mark.parametrize("wrong", WRONG_FEATURES)
def test_features_that_are_no_list_are_told_what_does_load(wrong: Any) -> None:
    [(key, text)] = refusals_of_model(features=wrong).items()
    written = re.fullmatch(r"must be (auto), or a list such as (.+)", text)

    assert key == "features"
    assert written is not None
    assert model(features=written[1]).features is None
    [feature] = model(features=read_document(written[2]).value).features or ()
    assert feature.name == "age"


@pytest.mark.parametrize("wrong", [["age", "city"], ["auto"], [3], [None], [["age"]]])
def test_items_of_features_that_are_none_are_told_what_does_load(wrong: list[Any]) -> None:
    told = refusals_of_model(features=wrong)
    written = {
        re.fullmatch(r"must be a feature such as (.+), or features: (auto) for all", text) for text in told.values()
    }

    assert list(told) == [f"features.{index}" for index in range(len(wrong))]
    for found in written:
        assert found is not None
        assert model(features=[read_document(found[1]).value]).features is not None
        assert model(features=found[2]).features is None


def test_more_features_than_the_limit_are_refused() -> None:
    features = [{"name": f"f{n}", "type": "numeric"} for n in range(3)]

    problems = refusals(limits={"features_max": 2}, models={"m": BINARY | {"features": features}})

    assert problems == {"models.m.features": "lists 3, but limits.features_max is 2"}


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("segments", ["a", "b", "a"]),
        *(("drift", {name: {"effect": 1}}) for name in ("js", "hellinger", "chi2", "linf", "ks")),
        ("drift", {"detectors": ["psi", "psi"]}),
        ("drift", {"detectors": ["kswin"]}),
        ("drift", {"significance": 0}),
        ("drift", {"bins": 1}),
        ("drift", {"psi": {"effect": 0}}),
        ("drift", {"adwin": {"delta": 1}}),
        ("labels", {"keep_share": 0}),
        ("labels", {"on_correction": "replace"}),
        ("labels", {"horizon": "1h", "dedupe_window": "2h"}),
        ("retraining", {"when": ["always"]}),
        ("retraining", {"consecutive": 0}),
        ("columns", {"id": ""}),
    ],
)
def test_a_value_outside_its_range_is_refused(key: str, given: Any) -> None:
    assert all(found.startswith(key) for found in refusals_of_model(**{key: given}))


@pytest.mark.parametrize("name", ["", "m" * 201])
def test_a_model_has_a_name_of_1_to_200_characters(name: str) -> None:
    assert refusals(models={name: BINARY})


def test_a_models_own_topic_comes_before_the_shared_one() -> None:
    loaded = settings(
        kafka=KAFKA | {"topics": {"labels": "truth"}}, models={"m": BINARY | {"topics": {"predictions": "mine"}}}
    )

    assert loaded.input_topics("m") == {"predictions": "mine", "labels": "truth", "features": "driftline.features"}


def test_several_inputs_may_share_a_topic() -> None:
    assert settings(kafka=KAFKA | {"topics": {"predictions": "all", "labels": "all"}}).kafka is not None


def test_a_topic_that_driftline_writes_cannot_be_read() -> None:
    assert list(refusals(kafka=KAFKA | {"topics": {"labels": "driftline.drift"}})) == ["kafka.topics.labels"]
    assert list(refusals(kafka=KAFKA | {"topics": {"retraining_status": "driftline.dead-letters"}})) == [
        "kafka.topics.retraining_status"
    ]
    assert list(refusals(kafka=KAFKA, models={"m": BINARY | {"topics": {"labels": "driftline.drift"}}})) == [
        "models.m.topics.labels"
    ]


def test_the_topics_of_a_configuration_without_kafka_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="without a kafka section"):
        settings().input_topics("m")


def test_a_topic_name_is_one_that_kafka_takes() -> None:
    assert list(refusals(kafka=KAFKA | {"topics": {"labels": "a/b"}})) == ["kafka.topics.labels"]


def test_a_heartbeat_must_come_before_the_session_ends() -> None:
    assert list(refusals(kafka=KAFKA | {"heartbeat": "10s"})) == ["kafka.heartbeat"]


@pytest.mark.parametrize(
    ("security", "missing"),
    [
        ({"protocol": "sasl_ssl"}, ["sasl_mechanism", "username", "password"]),
        ({"username": "me"}, ["username"]),
        ({"ca_file": "ca.pem"}, ["ca_file"]),
        ({"protocol": "ssl", "key_file": "key.pem"}, ["certificate_file"]),
    ],
)
def test_security_that_is_half_given_is_refused(security: dict[str, Any], missing: list[str]) -> None:
    assert list(refusals(kafka=KAFKA | {"security": security})) == [f"kafka.security.{key}" for key in missing]


def test_security_that_is_whole_is_taken() -> None:
    security = {"protocol": "sasl_ssl", "sasl_mechanism": "PLAIN", "username": "me", "password": "p", "ca_file": "ca"}

    loaded = settings(kafka=KAFKA | {"security": security})

    assert loaded.kafka is not None
    assert loaded.kafka.security.ca_file == Path("ca")


@pytest.mark.parametrize("url", ["mysql://h/d", "h:5432", "postgresql//h", "host=h dbname=d", "postgresql://[h/d"])
def test_a_postgres_url_is_one(url: str) -> None:
    assert list(refusals(postgres={"url": url})) == ["postgres.url"]


def test_a_postgres_place_names_no_user_and_no_password() -> None:
    loaded = settings(postgres={"url": "postgresql://me:p%40ss@db.example:6432/ml?sslmode=require"})

    assert loaded.postgres is not None
    assert loaded.postgres.place == "db.example:6432/ml"


@pytest.mark.parametrize("key", ["short", "x" * 65])
def test_an_id_key_is_neither_guessable_nor_longer_than_the_hash_takes(key: str) -> None:
    assert list(refusals(privacy={"id_key": key})) == ["privacy.id_key"]


def test_every_named_metric_is_one_of_some_task() -> None:
    [names, _] = get_args(NamedMetric)
    assert sorted(get_args(names)) == sorted({name for of in METRICS.values() for name in of})
    for task, usual in DEFAULT_METRICS.items():
        assert set(usual) <= set(METRICS[task])
    assert {name for of in METRICS.values() for name in of} >= ERROR_METRICS | TWO_SIDED_METRICS


def test_several_classes_have_metrics_of_one_class_by_its_canonical_text() -> None:
    loaded = model(task="multiclass", performance={"metrics": ["recall.1.0", "f1.True"], "floor": {"recall.1": 0.5}})
    assert loaded.performance is not None
    assert loaded.performance.metrics == ("recall.1", "f1.true")
    problems = refusals_of_model(task="binary", performance={"metrics": ["recall.1"]})
    assert problems == {
        "performance.metrics.0": "recall.1 is not a metric of a binary task; did you mean recall?",
    }


@pytest.mark.parametrize(
    ("task", "metric", "good", "bad"),
    [
        ("binary", "ece", 0.1, 1.5),
        ("binary", "log_loss", 1.5, -0.1),
        ("binary", "fp", 200, -1),
        ("regression", "bias", 2.0, -2.0),
        ("multiclass", "recall.a", 0.5, 2.0),
    ],
)
def test_a_floor_must_be_one_that_its_metric_can_have(task: Any, metric: str, good: float, bad: float) -> None:
    assert model(task=task, performance={"metrics": [metric], "floor": {metric: good}}).performance is not None
    assert f"performance.floor.{metric}" in refusals_of_model(
        task=task, performance={"metrics": [metric], "floor": {metric: bad}}
    )
