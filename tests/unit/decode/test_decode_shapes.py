"""Where a model's fields stand and which topics carry it, as its settings say."""

from driftline.events import FeatureType
from driftline.settings.root import Settings
from streams.decode.shapes import TopicRoute, event_shape, lookup, topic_routes

SETTINGS = Settings.model_validate(
    {
        "kafka": {"bootstrap_servers": "localhost:9092", "topics": {"labels": "driftline.predictions"}},
        "models": {
            "a": {
                "task": "binary",
                "reference": {"path": "a.csv"},
                "columns": {"id": "meta.id", "score": "p"},
                "segments": ["plan"],
            },
            "b": {
                "task": "regression",
                "reference": {"first_events": 100},
                "features": [{"name": "score", "type": "numeric", "path": "input.score"}],
                "columns": {"score": "confidence"},
                "topics": {"predictions": "b.predictions"},
            },
        },
    }
)


def test_a_topic_carries_what_its_models_send_there() -> None:
    assert topic_routes(SETTINGS) == {
        "driftline.predictions": TopicRoute("driftline.predictions", {"prediction": ("a",), "label": ("a", "b")}),
        "b.predictions": TopicRoute("b.predictions", {"prediction": ("b",)}),
        "driftline.features": TopicRoute("driftline.features", {"feature": ("a", "b")}),
    }
    assert topic_routes(SETTINGS)["driftline.predictions"].models == ("a", "b")


def test_a_shape_maps_the_fields_that_the_settings_map() -> None:
    types = [FeatureType("age", "numeric")]
    shape = event_shape("a", SETTINGS.models["a"], types)
    assert (shape.model, shape.task, shape.segments, shape.features) == ("a", "binary", ("plan",), tuple(types))
    assert shape.paths["id"] == (("meta.id",), ("meta", "id"), ("prediction_id",))
    assert shape.paths["score"] == (("p",), ("score",))
    assert shape.paths["time"] == (("timestamp",),)


def test_listed_features_come_before_those_of_a_reference_and_may_have_paths() -> None:
    shape = event_shape("b", SETTINGS.models["b"], [FeatureType("age", "numeric")])
    assert shape.features == (FeatureType("score", "numeric"),)
    assert lookup({"features": {"score": 2}, "input": {"score": 1}}, shape.inner_features[0]) == 1
    assert lookup({"features": {"score": 2}}, shape.inner_features[0]) == 2


def test_a_feature_named_like_a_field_of_the_contract_is_not_that_field() -> None:
    shape = event_shape("b", SETTINGS.models["b"], None)
    assert shape.look["score"]({"score": 0.5}) is None
    assert shape.look["score"]({"confidence": 0.25, "score": 0.5}) == 0.25


def test_features_stay_unknown_until_something_tells_them() -> None:
    assert event_shape("a", SETTINGS.models["a"], None).features is None
