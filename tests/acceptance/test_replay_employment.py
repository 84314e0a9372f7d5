"""Is every number that a replay writes the one that numpy and scikit-learn get straight from the files?

The data: 68,785 people of 2015 as the reference, 208,892 of 2016-2018 a second apart, their labels an hour later.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from tests.support.replays import EMPLOYMENT, Replayed, Row, replayed

START_MS = 1_451_606_400_000
HOUR_MS = 3_600_000
TIMES = ("--start", "2016-01-01T00:00:00Z", "--interval", "1s", "--label-delay", "1h")
METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc")
SEGMENTS = ("*", "SEX=1", "SEX=2")
NUMERIC = ("AGEP", "year", "@score")
MIN_EVENTS = 500
NOT_FEATURES = {"id", "prediction", "predicted_probability", "employed"}
Z = 1.959963984540054


@dataclass(frozen=True)
class Truth:
    """The files, and where every row belongs."""

    folder: Path

    @cached_property
    def reference(self) -> dict[str, np.ndarray]:
        return _columns(self.folder / "employment_ma_reference.parquet")

    @cached_property
    def current(self) -> dict[str, np.ndarray]:
        return _columns(self.folder / "employment_ma_analysis.parquet")

    @cached_property
    def label(self) -> np.ndarray:
        labels = _columns(self.folder / "employment_ma_labels.parquet")
        place = {identity: row for row, identity in enumerate(labels["id"].tolist())}
        return np.array([labels["employed"][place[identity]] for identity in self.current["id"].tolist()])

    @cached_property
    def time_ms(self) -> np.ndarray:
        return START_MS + 1000 * np.arange(len(self.current["id"]))

    @cached_property
    def last_window(self) -> int:
        return int((self.time_ms[-1] - START_MS) // HOUR_MS)

    @cached_property
    def features(self) -> list[str]:
        return [*(name for name in self.current if name not in NOT_FEATURES), "@prediction", "@score"]

    @cached_property
    def segments(self) -> dict[str, np.ndarray]:
        return _segments(self.current)

    def rows(self, segment: str, start_ms: int, end_ms: int) -> np.ndarray:
        """Which predictions of a segment were made in a stretch of time."""
        return np.flatnonzero(self.segments[segment] & (self.time_ms >= start_ms) & (self.time_ms < end_ms))


def _columns(path: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def _segments(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    sex = columns["SEX"]
    return {"*": np.full(len(sex), True), "SEX=1": sex == "1", "SEX=2": sex == "2"}


@cache
def _truth(folder: Path) -> Truth:
    return Truth(folder)


@cache
def _replayed(data: Path, folder: Path) -> Replayed:
    model = EMPLOYMENT | {
        "reference": {"path": str(data / "employment_ma_reference.parquet")},
        "windows": {"length": "1h"},
    }
    predictions, labels = data / "employment_ma_analysis.parquet", data / "employment_ma_labels.parquet"
    return replayed(folder, model, predictions, labels, *TIMES)


@pytest.fixture
def truth(shared_data: Path) -> Truth:
    return _truth(shared_data)


@pytest.fixture
def found(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """One replay of everything, for all tests."""
    return _replayed(shared_data, tmp_path_factory.getbasetemp() / "employment")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def window_of(row: Row) -> tuple[int, int]:
    return ms(row["window_start"]), ms(row["window_end"])


def by_key(rows: list[Row], *names: str) -> dict[tuple[str, ...], Row]:
    keyed = {tuple(row[name] for name in names): row for row in rows}
    assert len(keyed) == len(rows), "a row stands there twice"
    return keyed


def hour(window: int) -> str:
    moment = datetime.fromtimestamp((START_MS + window * HOUR_MS) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def number(row: Row, name: str) -> float:
    return float(row[name]) if row[name] else float("nan")


def test_every_prediction_and_label_is_counted_and_joined_once(found: Replayed) -> None:
    expected = {
        "predictions": 208_892,
        "labels": 208_892,
        "labels_joined": 208_892,
        "labels_unmatched": 0,
        "dead_letters": 0,
        "repeated_predictions": 0,
        "repeated_labels": 0,
    }
    assert {name: found.summary[name] for name in expected} == expected
    # 58 full hours and a piece of the next one; the last labels come in the hour behind that.
    assert found.summary["windows"] == 60
    assert {row["model"] for row in found.drift + found.performance} == {"m"}
    assert {row["version"] for row in found.drift + found.performance} == {"unversioned"}


def expected_outcomes(truth: Truth) -> Iterator[tuple[tuple[str, ...], np.ndarray, int, int]]:
    """Every window that has metrics: (window_end, segment, basis), its labelled rows, and how many predictions."""
    n = truth.last_window
    for segment in SEGMENTS:
        for window in range(n + 2):
            start_ms = START_MS + window * HOUR_MS
            made = truth.rows(segment, start_ms, start_ms + HOUR_MS)
            arrived = truth.rows(segment, start_ms - HOUR_MS, start_ms)
            if len(made):
                yield (hour(window + 1), segment, "cohort"), made, len(made), len(made)
            if len(arrived):
                yield (hour(window + 1), segment, "arrival"), arrived, len(made), len(arrived)


def test_every_metric_of_every_window_is_scikit_learns(found: Replayed, truth: Truth) -> None:
    known = [row for row in found.performance if row["basis"] != "estimated"]
    rows = by_key(known, "window_end", "segment", "basis", "metric")
    score, predicted = truth.current["predicted_probability"], truth.current["prediction"]
    inner = np.linspace(0, 1, 1025)[1:-1]
    edges = np.unique(np.quantile(truth.reference["predicted_probability"], inner))
    score_bin = np.searchsorted(edges, score, side="left")
    n_rows = 0
    for key, chosen, n_predictions, n_labelled in expected_outcomes(truth):
        y, y_predicted = truth.label[chosen], predicted[chosen]
        area, tied = binned_area(y, score_bin[chosen])
        # What binning may change is half the share of pairs that it can't tell apart, and it is little.
        assert abs(area - roc_auc_score(y, score[chosen])) <= min(tied / 2 + 1e-12, 0.001)
        values = dict(
            zip(METRICS[1:4], precision_recall_fscore_support(y, y_predicted, average="binary")[:3], strict=True),
            accuracy=accuracy_score(y, y_predicted),
            roc_auc=area,
        )
        for metric in METRICS:
            row = rows[(*key, metric)]
            n_rows += 1
            assert (int(row["n_predictions"]), int(row["n_labelled"])) == (n_predictions, n_labelled)
            if n_predictions:
                assert float(row["coverage"]) == min(1.0, n_labelled / n_predictions)
            else:
                assert row["coverage"] == ""
            assert ms(row["window_start"]) == ms(row["window_end"]) - HOUR_MS
            value = values[metric]
            assert number(row, "value") == pytest.approx(value, abs=1e-9)
            low, high = interval(metric, y, y_predicted, value)
            assert number(row, "low") == pytest.approx(low, abs=1e-7)
            assert number(row, "high") == pytest.approx(high, abs=1e-7)
    assert n_rows == len(rows)


def test_estimates_before_labels_are_near_what_labels_say(found: Replayed, truth: Truth) -> None:
    rows = by_key(found.performance, "window_end", "segment", "basis", "metric")
    keys = [(hour(window + 1), segment) for window in range(truth.last_window + 1) for segment in SEGMENTS]
    off: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for end, segment in keys:
        for metric in METRICS:
            estimated, realised = rows[end, segment, "estimated", metric], rows[end, segment, "cohort", metric]
            value, low, high = (number(estimated, name) for name in ("value", "low", "high"))
            assert low <= value <= high
            assert estimated["n_labelled"] == "0"
            of = (abs(value - number(realised, "value")), low <= number(realised, "value") <= high)
            off.setdefault((segment, metric), []).append(of)
    assert sum(row["basis"] == "estimated" for row in found.performance) == len(keys) * len(METRICS)
    # 3,600 rows an hour: chance alone makes 0.005 of accuracy.
    assert np.mean([error for error, _ in off["*", "accuracy"]]) < 0.012
    assert np.mean([error for error, _ in off["*", "roc_auc"]]) < 0.012


def binned_area(y: np.ndarray, score_bin: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve of binned scores, and the share of pairs that lie in one bin."""
    positive, negative = (np.bincount(score_bin[y == of], minlength=1024) for of in (1, 0))
    pairs, tied = positive.sum() * negative.sum(), (positive * negative).sum()
    below = ((np.cumsum(negative) - negative) * positive).sum()
    return float((below + tied / 2) / pairs), float(tied / pairs)


def interval(metric: str, y: np.ndarray, y_predicted: np.ndarray, value: float) -> tuple[float, float]:
    tp, fp = int(((y == 1) & (y_predicted == 1)).sum()), int(((y == 0) & (y_predicted == 1)).sum())
    fn, n = int(((y == 1) & (y_predicted == 0)).sum()), len(y)
    if metric == "accuracy":
        return wilson(n - fp - fn, n)
    if metric == "precision":
        return wilson(tp, tp + fp)
    if metric == "recall":
        return wilson(tp, tp + fn)
    if metric == "f1":
        low, high = wilson(tp, tp + fp + fn)
        return 2 * low / (1 + low), 2 * high / (1 + high)
    return newcombe(value, tp + fn, n - tp - fn)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson 1927: the two shares p that are z standard errors away from k / n, (k/n - p)^2 = z^2 p (1 - p) / n."""
    low, high = np.sort(np.roots([1 + Z**2 / n, -(2 * k / n + Z**2 / n), (k / n) ** 2]).real)
    return float(low), float(high)


def newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """Newcombe 2006, method 5: the areas that are z of their own Hanley-McNeil standard errors away."""

    def beyond(bound: float) -> float:
        half = (m + n) / 2 - 1
        spread = 1 + half * (1 - bound) / (2 - bound) + half * bound / (1 + bound)
        return abs(area - bound) - Z * float(np.sqrt(bound * (1 - bound) * spread / (m * n)))

    return bisect(beyond, 0.5, area), bisect(beyond, 1.0 - 1e-12, area)


def bisect(beyond: Callable[[float], float], outside: float, inside: float) -> float:
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if beyond(middle) > 0 else (outside, middle)
    return inside


def bins_of(truth: Truth, feature: str) -> np.ndarray:
    """Return how a feature is binned, whatever the segment: edges or categories of all rows of the reference."""
    values = column(truth.reference, feature)
    if feature in NUMERIC:
        return np.unique(np.quantile(values, np.linspace(0, 1, 11)[1:-1]))
    return np.unique(values.astype(str))


def counts_of(columns: dict[str, np.ndarray], feature: str, bins: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return counts of some rows with missing and other behind: nothing is missing in these files."""
    values = column(columns, feature)[chosen]
    if feature in NUMERIC:
        counts = np.bincount(np.searchsorted(bins, values, side="left"), minlength=len(bins) + 1)
    else:
        counts = np.array([(values.astype(str) == category).sum() for category in bins])
    return np.append(counts, [0, len(values) - counts.sum()])


def column(columns: dict[str, np.ndarray], feature: str) -> np.ndarray:
    return columns[{"@prediction": "prediction", "@score": "predicted_probability"}.get(feature, feature)]


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    k = len(reference)
    p = (reference + 0.5) / (reference.sum() + 0.5 * k)
    q = (current + 0.5) / (current.sum() + 0.5 * k)
    return float(((q - p) * np.log(q / p)).sum())


def test_every_psi_is_the_formulas(found: Replayed, truth: Truth) -> None:
    rows = by_key([row for row in found.drift if row["detector"] == "psi"], "window_end", "segment", "feature")
    n_rows = 0
    assert sum(rows_of.sum() for rows_of in _segments(truth.reference).values()) == 2 * 68_785
    for feature in truth.features:
        bins = bins_of(truth, feature)
        for segment in SEGMENTS:
            # A segment is compared with its own rows of the reference.
            reference = counts_of(truth.reference, feature, bins, _segments(truth.reference)[segment])
            for window in range(truth.last_window + 1):
                start_ms = START_MS + window * HOUR_MS
                chosen = truth.rows(segment, start_ms, start_ms + HOUR_MS)
                current = counts_of(truth.current, feature, bins, chosen)
                row = rows[hour(window + 1), segment, feature]
                n_rows += 1
                assert window_of(row) == (start_ms, start_ms + HOUR_MS)
                assert number(row, "score") == pytest.approx(psi(reference, current), abs=1e-9)
                assert (int(row["n_reference"]), int(row["n_current"])) == (reference.sum(), len(chosen))
                ready = len(chosen) >= MIN_EVENTS
                assert (row["level"] == "drift") == (ready and number(row, "score") >= number(row, "threshold"))
                assert (row["level"] == "not_ready") == (not ready)
    assert n_rows == len(rows)


def test_every_window_with_events_has_one_adwin_row_for_each_watched_name(found: Replayed, truth: Truth) -> None:
    rows = by_key([row for row in found.drift if row["detector"] == "adwin"], "window_end", "segment", "feature")
    watched = {*truth.features, "@error.0", "@error.1"}
    assert set(rows) == {
        (hour(window + 1), segment, name)
        for window in range(truth.last_window + 2)
        for segment in SEGMENTS
        for name in watched
    }
    for (_, segment, name), row in rows.items():
        assert number(row, "threshold") > 0
        assert row["p_value"] == ""
        assert (row["level"] == "drift") == (
            row["level"] != "not_ready" and number(row, "score") >= number(row, "threshold")
        )
        seen = truth.rows(segment, START_MS, ms(row["window_end"]))
        assert int(row["n_reference"]) + int(row["n_current"]) <= len(seen), name


def test_what_is_written_is_what_the_summary_counts(found: Replayed) -> None:
    types = Counter(json.loads(line)["type"] for line in (found.folder / "events.jsonl").read_text().splitlines())
    assert types["driftline.drift.detected"] == found.summary["drift_events"] > 0
    assert types["driftline.performance.degraded"] == found.summary["performance_events"]
    assert types["driftline.retraining.requested"] == found.summary["retraining_requests"] > 0
    # People may be older than anybody was in the reference: a few, and nobody is called for them.
    assert {row["detector"] for row in found.drift} == {"psi", "adwin", "quality.range"}
    assert types["driftline.quality.detected"] == types["driftline.traffic.detected"] == 0
