"""Do the parts of a fall of performance add up to it, whatever the metric, and lie where the fall does?"""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import precision_recall_fscore_support

from detectors.reference.profile import Profile
from driftline.settings.models import ModelSettings
from driftline.settings.services import LimitSettings
from labels_join.terms import Ratio, expected_terms, ratio_of, terms
from streams.judging.why import inputs_by_feature, performance_why
from streams.panes import pane_layout
from streams.references.reference import profile_from_table
from tests.support.outcomes import vector_of
from tests.support.profiles import event, profile_of

CHANCE = np.random.default_rng(31)
PROFILE = profile_of([event(row, row, float(CHANCE.normal(50, 20))) for row in range(200)], "regression")


def drawn(n: int, share_of_b: float, spread_of_b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw segments, predictions and labels; errors of `a` have a deviation of 1."""
    is_b, truth = np.arange(n) < share_of_b * n, CHANCE.normal(50, 20, n)
    return is_b, truth + np.where(is_b, spread_of_b, 1.0) * CHANCE.normal(0.5, 1.0, n), truth


def value_of(metric: str, error: np.ndarray, truth: np.ndarray) -> float:
    found = {
        "mae": np.abs(error).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "bias": error.mean(),
        "mape": np.abs(error / truth).mean(),
    }
    return float(found[metric])


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias", "mape"])
@pytest.mark.parametrize(("share_of_b", "spread_of_b", "cause"), [(0.8, 4.0, "inputs"), (0.2, 16.0, "relation")])
def test_errors_that_grow_are_split_by_segments_into_inputs_and_relation(
    metric: str, share_of_b: float, spread_of_b: float, cause: str
) -> None:
    """Those of b are four times as far off as a from the start; then more of them come, or they are off by more."""
    ratio = ratio_of(PROFILE, metric)
    assert ratio is not None
    sides, values = [], []
    for is_b, predicted, truth in (drawn(4000, 0.2, 4.0), drawn(1000, share_of_b, spread_of_b)):
        parts = {"*": np.ones_like(is_b), "plan=a": ~is_b, "plan=b": is_b}
        vectors = {
            name: vector_of(PROFILE, predicted[of], truth[of], np.full(of.sum(), np.nan), [])
            for name, of in parts.items()
        }
        sides.append({name: terms(of, PROFILE, None, metric) for name, of in vectors.items()})
        values.append(value_of(metric, predicted - truth, truth))

    why = performance_why(*sides, ["plan"], ratio, "unknown")

    assert why["baseline"] == pytest.approx(values[0], rel=1e-8)
    assert why["change"] == pytest.approx(values[1] - values[0], rel=1e-7)
    [by_plan] = why["because"]
    assert by_plan["inputs"] + by_plan["relation"] == pytest.approx(why["change"], rel=1e-12)
    told = {of["segment"]: of["inputs"] + of["relation"] for of in by_plan["parts"]}
    assert sum(told.values()) == pytest.approx(why["change"], rel=1e-12)
    if metric != "mape":  # labels near 0 make it swing, whatever else happens
        assert by_plan[cause] == pytest.approx(why["change"], rel=0.25)


def test_a_metric_without_labels_before_is_not_explained() -> None:
    assert performance_why({}, {"*": np.array([[1.0, 2.0]])}, ["plan"], Ratio(), "unknown") == {}


def rows_of(n: int, more: float) -> pa.Table:
    """Draw rows: where `x1` is above 0.9, as in a tenth of them and in `more`, errors are six times as large."""
    x = CHANCE.random((n, 4))
    x[:, 1] = np.where(CHANCE.random(n) < more, 0.9 + 0.1 * x[:, 1], x[:, 1])
    truth = CHANCE.normal(50, 20, n)
    predicted = truth + np.where(x[:, 1] > 0.9, 6.0, 1.0) * CHANCE.normal(0.5, 1.0, n)
    return pa.table({f"x{at}": x[:, at] for at in range(4)} | {"prediction": predicted, "label": truth})


def counts_of(table: pa.Table, profile: Profile) -> np.ndarray:
    """Count each feature's bins as numpy does; what the model puts out has some count, too, which tells nothing."""
    found = []
    for feature in profile.features:
        column = table[feature.name.removeprefix("@")].to_numpy()
        bins = np.searchsorted(feature.edges, column, side="left")
        found.append(np.bincount(bins, minlength=feature.n_bins))
    return np.concatenate(found)


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias"])
@pytest.mark.parametrize("breaks", [(), ("x1",)])
def test_errors_that_grow_are_put_down_to_the_feature_that_moved(metric: str, breaks: tuple[str, ...]) -> None:
    settings = ModelSettings.model_validate({"task": "regression", "reference": {"path": "r.csv"}})
    profile = profile_from_table(rows_of(20_000, 0.0), settings, LimitSettings(), "r.csv")
    tables, ratio = (rows_of(20_000, 0.0), rows_of(20_000, 0.3)), ratio_of(profile, metric)
    assert ratio is not None
    sides, values = [], []
    for table in tables:
        predicted, truth = table["prediction"].to_numpy(), table["label"].to_numpy()
        vector = vector_of(profile, predicted, truth, np.full(len(truth), np.nan), [])
        sides.append({"*": terms(vector, profile, None, metric)})
        values.append(value_of(metric, predicted - truth, truth))
    before, now = (counts_of(table, profile) for table in tables)
    by_feature = inputs_by_feature(pane_layout(profile), before, now, expected_terms(profile, None, metric))

    why = performance_why(*sides, [], ratio, by_feature, breaks)

    [features] = why["because"]
    assert why["change"] == pytest.approx(values[1] - values[0], rel=1e-7)
    assert features["inputs"] + features["broken"] + features["relation"] == pytest.approx(why["change"], rel=1e-12)
    assert features["parts"][0]["feature"] == "x1"
    assert features["broken" if breaks else "inputs"] == pytest.approx(why["change"], rel=0.15)
    assert abs(features["inputs" if breaks else "broken"]) < 0.05 * abs(why["change"])


@pytest.mark.parametrize(("task", "labels"), [("binary", ["0", "1"]), ("multiclass", ["a", "b", "c"])])
def test_a_reference_expects_of_itself_what_its_labels_say(task: str, labels: list[str]) -> None:
    truth, guess = (CHANCE.choice(labels, 3_000) for _ in range(2))
    predicted = np.where(CHANCE.random(3_000) < 0.6, truth, guess)
    table = pa.table({"x": CHANCE.random(3_000), "prediction": predicted, "label": truth})
    settings = ModelSettings.model_validate({"task": task, "reference": {"path": "r.csv"}})
    profile = profile_from_table(table, settings, LimitSettings(), "r.csv")
    shares = np.concatenate([np.array(of.counts) / 3_000 for of in profile.features])
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=labels)
    if task == "binary":
        expected = {"precision": precision[1], "recall": recall[1], "f1": f1[1], "specificity": recall[0]}
    else:
        expected = {
            f"{kind}.{name}": of[at]
            for kind, of in (("precision", precision), ("recall", recall), ("f1", f1))
            for at, name in enumerate(labels)
        }
    for metric, value in (expected | {"accuracy": (predicted == truth).mean()}).items():
        sums = expected_terms(profile, "1", metric)
        assert sums is not None
        numerator, denominator = (of.of_row(shares) for of in sums)
        assert numerator / denominator == pytest.approx(value, abs=1e-4)
    assert expected_terms(profile, "1", "recall.unheard" if task == "multiclass" else "log_loss") is None
