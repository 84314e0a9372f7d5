"""Are the metrics in the store scikit-learn's, whatever the task?"""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    precision_score,
    recall_score,
    root_mean_squared_error,
)

from driftline.store.connection import Connection
from tests.support.pipelines import MINUTE, lab, label, prediction, reference_events

pytestmark = pytest.mark.postgres


async def test_regression_metrics_are_scikit_learns(connection: Connection) -> None:
    chance = np.random.default_rng(8)
    reference = [prediction(f"r{n}", n, float(chance.normal(10, 3))) for n in range(200)]
    settings = {"task": "regression", "labels": {"on_correction": "restate"}}
    made = await lab(connection, settings, reference=reference)
    predicted, truth = chance.normal(10, 3, 200), chance.normal(10, 4, 200)
    await made.commit(
        "predictions", *(prediction(str(n), n * 500, value) for n, value in enumerate(predicted.tolist()))
    )
    await made.commit("labels", *(label(str(n), n * 500, 1e9) for n in range(0, 200, 10)))
    await made.commit("labels", *(label(str(n), n * 500 + 1, value) for n, value in enumerate(truth.tolist())))
    await made.close()

    assert (await made.drift(feature="@prediction", detector="psi"))[0]["n_reference"] == 200
    assert {row["feature"] for row in await made.drift(detector="adwin")} == {"x", "c", "@prediction", "@error"}
    for minute in range(2):
        of = slice(minute * 120, minute * 120 + 120)
        for basis in ("cohort", "arrival"):
            rows = await made.performance(basis=basis, window_start=minute * MINUTE)
            found = {row["metric"]: row["value"] for row in rows}
            assert found == {
                "mae": pytest.approx(mean_absolute_error(truth[of], predicted[of]), abs=1e-7),
                "rmse": pytest.approx(root_mean_squared_error(truth[of], predicted[of]), abs=1e-7),
            }
            assert {row["n_labelled"] for row in rows} == {len(truth[of])}


async def test_multiclass_metrics_are_scikit_learns(connection: Connection) -> None:
    chance = np.random.default_rng(9)
    names = np.array(["ant", "bee", "cat", "dog"])
    reference = [prediction(f"r{n}", n, str(names[n % 4])) for n in range(200)]
    made = await lab(connection, {"task": "multiclass", "segments": ["c"]}, reference=reference)
    truth = names[chance.integers(0, 4, 300)]
    predicted = np.where(chance.random(300) < 0.7, truth, names[chance.integers(0, 3, 300)])
    segment = np.array(["a", "b"])[chance.integers(0, 2, 300)]
    await made.commit(
        "all",
        *(prediction(str(n), n, str(predicted[n]), features={"x": 1, "c": str(segment[n])}) for n in range(300)),
        *(label(str(n), n, str(truth[n])) for n in range(300)),
    )
    await made.close()

    for name, of in (("*", np.full(300, True)), ("c=a", segment == "a"), ("c=b", segment == "b")):
        rows = await made.performance(basis="cohort", segment=name)
        macro = {"average": "macro", "zero_division": 0}
        assert {row["metric"]: row["value"] for row in rows} == {
            "accuracy": pytest.approx(accuracy_score(truth[of], predicted[of]), abs=1e-12),
            "macro_precision": pytest.approx(precision_score(truth[of], predicted[of], **macro), abs=1e-12),
            "macro_recall": pytest.approx(recall_score(truth[of], predicted[of], **macro), abs=1e-12),
            "macro_f1": pytest.approx(f1_score(truth[of], predicted[of], **macro), abs=1e-12),
        }
    assert {row["feature"] for row in await made.drift(detector="adwin")} >= {f"@error.{name}" for name in names}


async def test_in_a_binary_task_every_other_label_is_negative(connection: Connection) -> None:
    # Also where the reference knows one class only, because nothing else was predicted there.
    made = await lab(connection, reference=[event | {"prediction": 1} for event in reference_events()])
    await made.commit("all", prediction("a", 0, 1), prediction("b", 1, 1), prediction("c", 2, 0))
    await made.commit("all", label("a", 0, 1), label("b", 1, 0), label("c", 2, 0))
    await made.close()

    found = {row["metric"]: row["value"] for row in await made.performance(basis="cohort")}
    assert (found["accuracy"], found["precision"], found["recall"]) == (pytest.approx(2 / 3), 0.5, 1.0)


async def test_a_label_of_a_third_class_is_no_success(connection: Connection) -> None:
    made = await lab(connection)
    await made.commit("all", prediction("a", 0, 1), prediction("b", 1, 1), prediction("c", 2, 0))
    await made.commit("all", label("a", 0, 1), label("b", 1, "unknown"))
    await made.close()

    found = {row["metric"]: row["value"] for row in await made.performance(basis="cohort")}
    assert (found["accuracy"], found["precision"], found["recall"]) == (0.5, 0.5, 1.0)
