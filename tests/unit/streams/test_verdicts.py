"""Does a window's verdict say what its rollup and its panes say, feature by feature?"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from detectors.reference.summaries import Ints
from detectors.sequential.adwin import AdwinBank
from detectors.sequential.cuts import AdwinSpec, Cut
from detectors.windows import drift
from detectors.windows.distances import histograms
from driftline.settings.models import AdwinSettings, DriftSettings, EffectSettings
from labels_join.outcomes import Pairs, summarise_outcomes
from streams.judging.series import Pane, SequentialDetectors, sequential_spec, series_layout
from streams.judging.verdicts import Verdict, window_verdicts
from streams.panes import PaneLayout, pane_layout
from streams.references.reference import profile_from_batch
from tests.support.profiles import TYPES, Event, batch_of, event, profile_of, vector_of

PANE_MS = 1_000
DRIFT = DriftSettings()
REFERENCE = [
    event(row, row, row % 2, score=(row + 0.5) / 200, features={"x": row / 200, "c": "ab"[row % 2]})
    for row in range(200)
]


def layout(task: str = "binary") -> PaneLayout:
    events = REFERENCE if task == "binary" else [event(row, row, float(row % 9)) for row in range(90)]
    return pane_layout(profile_of(events, task, bins=10))


def outcomes_of(predicted: list[float], truth: list[float], of: PaneLayout) -> Ints:
    n = len(predicted)
    same, none = np.zeros(n, np.int64), np.full(n, np.nan)
    pairs = Pairs(
        same,
        np.empty((n, 0), np.int64),
        same,
        same,
        np.array(predicted, float),
        np.array(truth, float),
        none,
        same > 0,
        same + 1,
    )
    deltas = summarise_outcomes(pairs, of.profile, ["0", "1"], 1_000, 1_000)
    return np.frombuffer(deltas.vectors[0], np.int64)


def stream(seed: int, n_panes: int, change_at: int, a_pane: int = 60) -> list[list[Event]]:
    """Make panes of predictions; from one of them on x has moved, c has changed and scores are missing."""
    chance = np.random.default_rng(seed)
    panes = []
    for number in range(n_panes):
        moved = number >= change_at
        panes.append(
            [
                event(
                    f"{number}-{row}",
                    number * PANE_MS,
                    int(chance.random() < 0.5),
                    features={
                        "x": float(chance.normal(0.9 if moved else 0.5, 0.2)),
                        "c": "ab"[int(chance.random() < (0.9 if moved else 0.5))],
                    },
                    **({} if moved and chance.random() < 0.5 else {"score": round(float(chance.random()), 3)}),
                )
                for row in range(a_pane)
            ]
        )
    return panes


def by_feature(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    return {verdict.feature: verdict for verdict in verdicts}


def test_each_feature_has_a_psi_verdict_on_its_own_bins() -> None:
    of = layout()
    events = [each for pane in stream(1, 5, 2) for each in pane]
    found = window_verdicts(vector_of(events, of), of, DRIFT, significance=0.001, ready=True)

    assert [verdict.feature for verdict in found] == ["x", "c", "@prediction", "@score"]
    for verdict, feature in zip(found, of.profile.features, strict=True):
        assert verdict.counts is not None
        assert sum(verdict.counts) == verdict.n_current == len(events)
        assert verdict.n_reference == 200
        p, q = (
            (np.array(counts) + 0.5) / (sum(counts) + len(counts) / 2) for counts in (feature.counts, verdict.counts)
        )
        assert verdict.score == pytest.approx(float(((q - p) * np.log(q / p)).sum()), abs=1e-12)
        assert (verdict.level == "drift") == (verdict.score >= verdict.threshold)
        assert 0 < verdict.p_value <= 1
    scored = sum("score" in each for each in events)
    assert by_feature(found)["@score"].counts[-2] == len(events) - scored


def test_each_statistic_judges_the_features_it_can_and_the_first_of_each_carries_the_counts() -> None:
    of = layout()
    vector = vector_of([each for pane in stream(1, 5, 2) for each in pane], of)
    drift = DriftSettings(detectors=("ks", "linf", "wasserstein", "js"))
    found = window_verdicts(vector, of, drift, significance=0.001, ready=True)

    told = [(verdict.detector, verdict.feature, verdict.counts is not None) for verdict in found]
    everything, numeric = ("x", "c", "@prediction", "@score"), ("x", "@score")
    assert told == [
        *(("js", name, True) for name in everything),
        *(("linf", name, False) for name in everything),
        *(("ks", name, False) for name in numeric),
        *(("wasserstein", name, False) for name in numeric),
    ]
    for verdict in found:
        alone = DriftSettings(detectors=(verdict.detector,))
        assert replace(verdict, counts=None) in [
            replace(one, counts=None) for one in window_verdicts(vector, of, alone, significance=0.001, ready=True)
        ]


def test_a_segment_is_compared_with_its_own_rows_of_the_reference_and_with_nothing_without_any() -> None:
    # In the reference x is below a half where c is a, and above where c is b: apart from all, but never in drift.
    reference = [
        event(row, row, row % 2, features={"x": (row % 200 + 200 * (row % 2)) / 400, "c": "ab"[row % 2]})
        for row in range(400)
    ]
    profile = profile_from_batch(
        batch_of(reference, segments=["c"]),
        TYPES,
        task="binary",
        bins=10,
        categories_max=50,
        segments=["c"],
        segments_max=9,
    )
    of = pane_layout(profile)
    for value in "ab":
        own = [each for each in reference if each["features"]["c"] == value]
        of_all, of_own, of_none = (
            window_verdicts(vector_of(own, of), of, DRIFT, significance=0.001, ready=True, segment=segment)
            for segment in (None, f"c={value}", "c=new")
        )
        assert {verdict.level for verdict in of_all} == {"drift"}
        for verdict, all_verdict, none in zip(of_own, of_all, of_none, strict=True):
            assert (verdict.level, verdict.score, verdict.n_reference) == ("ok", 0.0, 200)
            assert (none.level, none.score, none.n_reference, none.n_current) == ("not_ready", 0.0, 0, 200)
            assert verdict.counts == all_verdict.counts == none.counts


def test_a_window_that_is_not_ready_keeps_its_scores() -> None:
    of = layout()
    vector = vector_of([each for pane in stream(2, 5, 0) for each in pane], of)
    ready, waiting = (window_verdicts(vector, of, DRIFT, significance=0.001, ready=ready) for ready in (True, False))

    assert {verdict.level for verdict in waiting} == {"not_ready"}
    assert "drift" in {verdict.level for verdict in ready}
    assert [verdict.score for verdict in waiting] == [verdict.score for verdict in ready]


def test_the_gates_of_the_settings_are_the_gates_of_the_verdict() -> None:
    of = layout()
    vector = vector_of([each for pane in stream(3, 5, 3) for each in pane], of)
    strict = DriftSettings(psi=EffectSettings(effect=50.0))
    found = by_feature(window_verdicts(vector, of, strict, significance=0.01, ready=True))["x"]
    starts = of.starts[:-1]
    counts = np.concatenate([np.array(feature.counts) for feature in of.profile.features])
    seed = int(of.profile.digest[:12], 16)
    expected = drift.judge(
        "psi", histograms(counts, vector[: of.n_bins], starts), effect=50.0, significance=0.01, seed=seed
    )[0]

    assert (found.level, found.threshold, found.p_value) == ("ok", expected.threshold, expected.p_value)
    assert found.threshold >= 50.0


def test_what_is_watched_is_means_missing_shares_categories_and_errors() -> None:
    of = layout()
    series = series_layout(of, DRIFT, with_errors=True)

    assert series.names == ("x", "c", "@prediction", "@score", "@error.0", "@error.1")
    # x: mean, missing. c: a, b, other, missing. @prediction: 0, 1, other, missing. @score: mean, missing. Two errors.
    assert np.bincount(series.owner).tolist() == [2, 4, 4, 2, 1, 1]
    assert series.is_mean.nonzero()[0].tolist() == [0, 10]
    assert series_layout(of, DRIFT, with_errors=False).names == ("x", "c", "@prediction", "@score")
    regression = series_layout(layout("regression"), DRIFT, with_errors=True)
    assert regression.names == ("x", "c", "@prediction", "@error")


def series_by_hand(panes: list[list[Event]], of: PaneLayout) -> dict[str, list[tuple[list[int], list[int], list[int]]]]:
    """Return, by name and series, (counts, sums, sums of squares) by pane, from the events themselves."""
    by_name = {feature.name: feature for feature in of.profile.features}

    def mean(name: str, values: list[list[float | None]]) -> tuple[list[int], list[int], list[int]]:
        feature = by_name[name]
        steps = [
            [round(min(max((v - feature.centre) / feature.scale, -8.0), 8.0) * 4096) for v in pane if v is not None]
            for pane in values
        ]
        return (
            [len(pane) for pane in steps],
            [sum(pane) for pane in steps],
            [sum(s * s for s in pane) for pane in steps],
        )

    def share(values: list[list[object]], of_what: object) -> tuple[list[int], list[int], list[int]]:
        hits = [sum(value == of_what for value in pane) for pane in values]
        return [len(pane) for pane in values], hits, hits

    x = [[each["features"]["x"] for each in pane] for pane in panes]
    c = [[each["features"]["c"] for each in pane] for pane in panes]
    predicted = [[each["prediction"] for each in pane] for pane in panes]
    score = [[each.get("score") for each in pane] for pane in panes]
    return {
        "x": [mean("x", x), share(x, None)],
        "c": [share(c, "a"), share(c, "b"), share(c, "other"), share(c, None)],
        "@prediction": [share(predicted, 0), share(predicted, 1), share(predicted, "other"), share(predicted, None)],
        "@score": [mean("@score", score), share(score, None)],
    }


Told = tuple[float, float, int, int, bool]


def as_told(cut: Cut) -> tuple[float, Told]:
    """Return how clear the only series' cut is, and the cut."""
    if not cut.n_old[0]:
        return -1.0, (0.0, float(cut.epsilon[0]), 0, 0, False)
    told = abs(float(cut.gap[0])), float(cut.epsilon[0]), int(cut.n_old[0]), int(cut.n_new[0]), bool(cut.detected[0])
    return told[0] / told[1], told


def clearest(series: list[tuple[list[int], list[int], list[int]]], is_mean: bool) -> Told:
    """Feed one series after the other to a detector of its own; return the clearest of what each has to tell."""
    told = []
    for number, (counts, sums, squares) in enumerate(series):
        mean = is_mean and number == 0
        spread, unit, effect = (16.0, 1 / 4096, 0.25) if mean else (1.0, 1.0, 0.05)
        bank = AdwinBank(AdwinSpec(delta=0.002), np.array([spread]), np.array([unit]), np.array([effect]))
        cuts = [
            bank.update(np.array([n]), np.array([total]), np.array([square]))
            for n, total, square in zip(counts, sums, squares, strict=True)
        ]
        changes = [as_told(cut) for cut in cuts if cut.detected[0]]
        told.append(max(changes, key=lambda each: each[0]) if changes else as_told(bank.clearest()))
    return max(told, key=lambda each: each[0])[1]


@pytest.mark.parametrize("change_at", [6, 99])
def test_a_sequential_verdict_is_the_clearest_change_of_all_series_or_how_the_clearest_stands_at_the_end(
    change_at: int,
) -> None:
    of, panes = layout(), stream(4, 12, change_at)
    detectors = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=False, snapshot=None)
    found = by_feature(
        detectors.judge(Pane(number * PANE_MS, vector_of(pane, of), None) for number, pane in enumerate(panes))
    )

    for name, series in series_by_hand(panes, of).items():
        gap, epsilon, n_old, n_new, detected = clearest(series, name in ("x", "@score"))
        verdict = found[name]
        assert (verdict.score, verdict.threshold) == (
            pytest.approx(gap, abs=1e-12),
            pytest.approx(epsilon, abs=1e-12),
        ), name
        assert (verdict.n_reference, verdict.n_current) == (n_old, n_new), name
        assert verdict.level == ("drift" if detected else "ok"), name
        assert math.isnan(verdict.p_value)
    drifted = {name for name, verdict in found.items() if verdict.level == "drift"}
    assert drifted == ({"x", "c", "@score"} if change_at == 6 else set())
    if change_at == 6:
        assert found["x"].changed_ms == 6 * PANE_MS
    assert found["@prediction"].changed_ms is None


def test_what_was_detected_early_in_a_window_is_not_outshone() -> None:
    of, panes = layout(), stream(5, 30, 10)
    pane_of = [Pane(number * PANE_MS, vector_of(pane, of), None) for number, pane in enumerate(panes)]
    detectors = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=False, snapshot=None)
    assert by_feature(detectors.judge(pane_of[:10]))["x"].level == "ok"
    assert by_feature(detectors.judge(pane_of[10:]))["x"].level == "drift"


@pytest.mark.parametrize("cut", [1, 7, 12])
def test_a_snapshot_goes_on_as_if_nothing_had_been(cut: int) -> None:
    of, panes = layout(), stream(6, 20, 9)
    pane_of = [Pane(number * PANE_MS, vector_of(pane, of), None) for number, pane in enumerate(panes)]
    whole = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=True, snapshot=None)
    whole.judge(pane_of[:cut])
    again = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=True, snapshot=whole.snapshot())

    assert str(again.judge(pane_of[cut:])) == str(whole.judge(pane_of[cut:]))
    assert again.snapshot() == whole.snapshot()


def test_errors_are_judged_within_their_class_and_panes_without_any_change_nothing() -> None:
    of = layout()
    detectors = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=True, snapshot=None)
    good = outcomes_of([0, 1] * 40, [0, 1] * 40, of)
    bad = outcomes_of([0, 0] * 40, [0, 1] * 40, of)
    panes = [
        Pane(number * PANE_MS, None, vector) for number, vector in enumerate([good, None, good, None, good, bad, bad])
    ]
    found = by_feature(detectors.judge(panes))

    assert (found["@error.1"].level, found["@error.1"].changed_ms) == ("drift", 5 * PANE_MS)
    assert (found["@error.1"].n_reference, found["@error.1"].n_current) == (120, 40)
    assert found["@error.0"].level == "ok"
    assert found["x"].level == "not_ready"
    assert (found["x"].score, found["x"].n_reference) == (0.0, 0)
    better = by_feature(detectors.judge([Pane(number * PANE_MS, None, good) for number in range(7, 12)]))
    assert (found["@error.1"].fell, better["@error.1"].level, better["@error.1"].fell) == (False, "drift", True)


def test_no_panes_no_readiness() -> None:
    of = layout()
    found = SequentialDetectors(of, DRIFT, deltas={"adwin": 0.002}, with_errors=True, snapshot=None).judge([])
    assert {verdict.level for verdict in found} == {"not_ready"}
    assert all(verdict.threshold > 0 for verdict in found)


def test_a_state_is_for_one_profile_and_one_sensitivity() -> None:
    one, other = layout(), pane_layout(profile_of(REFERENCE[:150], bins=10))
    sensitive = DriftSettings(adwin=AdwinSettings(effect_mean=0.1))
    specs = {
        sequential_spec(of.profile, drift, deltas={"adwin": delta}, with_errors=errors)
        for of, drift, delta, errors in (
            (one, DRIFT, 0.002, True),
            (other, DRIFT, 0.002, True),
            (one, sensitive, 0.002, True),
            (one, DRIFT, 0.001, True),
            (one, DRIFT, 0.002, False),
        )
    }
    assert len(specs) == 5
    coarse = DriftSettings(bins=20, significance=0.01)
    assert sequential_spec(one.profile, coarse, deltas={"adwin": 0.002}, with_errors=True) in specs
    snapshot = SequentialDetectors(one, DRIFT, deltas={"adwin": 0.002}, with_errors=True, snapshot=None).snapshot()
    with pytest.raises(ValueError, match="another specification"):
        SequentialDetectors(one, DRIFT, deltas={"adwin": 0.001}, with_errors=True, snapshot=snapshot)
