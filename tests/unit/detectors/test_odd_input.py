"""Does every detector there is stay calm and finite, whatever a window or a reference holds?"""

import math
from functools import cache

import numpy as np
import pytest

from detectors.reference.summaries import Ints
from driftline.settings.detectors import SEQUENTIAL_DETECTORS, WINDOW_DETECTORS
from driftline.settings.models import DriftSettings
from labels_join.outcomes import Pairs, summarise_outcomes
from streams.judging.series import Pane, SequentialDetectors
from streams.judging.verdicts import Verdict, window_verdicts
from streams.panes import PaneLayout, pane_layout
from tests.support.profiles import Event, event, profile_of, vector_of

PLUGINS = ("river.drift.ADWIN", "river.drift.KSWIN", "river.drift.PageHinkley")
EVERY_DETECTOR = pytest.mark.parametrize("detector", [*WINDOW_DETECTORS, *SEQUENTIAL_DETECTORS, *PLUGINS])
LEVELS = {"not_ready", "ok", "warning", "drift"}


def usual(n: int, seed: int = 1) -> list[Event]:
    chance = np.random.default_rng(seed)
    return [
        event(
            row,
            row,
            int(chance.random() < 0.5),
            score=round(float(chance.random()), 3),
            features={"x": float(chance.normal()), "c": "ab"[int(chance.random() < 0.5)]},
        )
        for row in range(n)
    ]


def alike(n: int, x: object, c: object) -> list[Event]:
    return [event(row, row, 1, score=0.5, features={"x": x, "c": c}) for row in range(n)]


def with_features(events: list[Event], **values: list[object]) -> list[Event]:
    """Put values in the place of a feature's, in turns."""
    return [
        each | {"features": each["features"] | {name: of[row % len(of)] for name, of in values.items()}}
        for row, each in enumerate(events)
    ]


REFERENCES = {
    "usual": lambda: usual(500),
    "ten rows": lambda: usual(10),
    "one row": lambda: usual(1),
    "constant": lambda: alike(500, 0.5, "a"),
    "all missing": lambda: alike(500, None, None),
    "huge": lambda: with_features(usual(500), x=[1e300, -1e300, 5e-324, 0.0, 1.7e308]),
    "a hundred thousand categories": lambda: with_features(usual(100_000), c=[f"c{row}" for row in range(100_000)]),
}
WINDOWS = {
    "single row": lambda: usual(1, 2),
    "constant": lambda: alike(300, 0.5, "a"),
    "all missing": lambda: alike(300, None, None),
    "all new categories": lambda: with_features(usual(300, 2), c=[f"new{row}" for row in range(300)]),
    "all of a wrong type": lambda: with_features(usual(300, 2), x=["text", True, ["list"]], c=[["list"], {"a": 1}]),
    "huge": lambda: with_features(usual(300, 2), x=[1e300, -1e300, 1.7e308, -1.7e308, 5e-324]),
    "unknown classes": lambda: [each | {"prediction": "never seen"} for each in usual(300, 2)],
}


@cache
def layout_of(reference: str) -> PaneLayout:
    return pane_layout(profile_of(REFERENCES[reference](), bins=10))


@cache
def window_of(reference: str, window: str) -> Ints:
    return vector_of(WINDOWS[window](), layout_of(reference))


@cache
def panes_before(reference: str) -> list[Ints]:
    return [vector_of(usual(60, seed), layout_of(reference)) for seed in range(10, 22)]


def judged(detector: str, of: PaneLayout, vectors: list[Ints]) -> list[Verdict]:
    """Judge panes in a row by a window statistic, together, or by a sequential detector, one after the other."""
    drift = DriftSettings(detectors=(detector,))
    if drift.window_effects:
        return window_verdicts(
            np.sum([vector[: of.width] for vector in vectors], axis=0), of, drift, significance=0.001, ready=True
        )
    watched = SequentialDetectors(of, drift, deltas={detector: 0.002}, with_errors=False, snapshot=None)
    return watched.judge(Pane(number, vector, None) for number, vector in enumerate(vectors))


@pytest.mark.parametrize("reference", REFERENCES)
@EVERY_DETECTOR
def test_whatever_windows_and_references_hold_verdicts_are_finite_and_one_row_is_no_drift(
    detector: str, reference: str
) -> None:
    of = layout_of(reference)
    before = [] if detector in WINDOW_DETECTORS else panes_before(reference)[:5]
    nothing = np.zeros(of.width, np.int64)
    for name, vector in {"empty": nothing, **{name: window_of(reference, name) for name in WINDOWS}}.items():
        for verdict in judged(detector, of, [*before, vector]):
            assert verdict.level in LEVELS
            assert math.isfinite(verdict.score), (name, verdict)
            assert math.isfinite(verdict.threshold)
            assert 0.0 < verdict.p_value <= 1.0 or (detector not in WINDOW_DETECTORS and math.isnan(verdict.p_value))
            if name == "empty" and detector in WINDOW_DETECTORS:
                assert verdict.level == "not_ready"
            if name in ("empty", "single row"):
                assert verdict.level != "drift"


@pytest.mark.parametrize(
    "odd",
    [
        {"x": 1e300, "c": "a"},
        {"x": -1e300, "c": "never seen"},
        {"x": None, "c": None},
        {"x": "text", "c": ["list"]},
    ],
    ids=["huge", "unseen", "missing", "wrong types"],
)
@EVERY_DETECTOR
def test_one_odd_row_among_usual_ones_is_no_drift(detector: str, odd: dict[str, object]) -> None:
    of = layout_of("usual")
    before, last = panes_before("usual")[:-1], usual(60, 21)
    one_odd = vector_of([*last[:-1], last[-1] | {"features": odd}], of)

    assert "drift" not in [verdict.level for verdict in judged(detector, of, panes_before("usual"))]
    assert "drift" not in [verdict.level for verdict in judged(detector, of, [*before, one_odd])]


@pytest.mark.parametrize("detector", [*SEQUENTIAL_DETECTORS, *PLUGINS])
def test_labels_outside_the_known_classes_are_no_errors_of_any_class(detector: str) -> None:
    of, n = layout_of("usual"), 200
    drift = DriftSettings(detectors=(detector,))
    watched = SequentialDetectors(of, drift, deltas={detector: 0.002}, with_errors=True, snapshot=None)

    def outcomes(truth: float) -> np.ndarray:
        same, none = np.zeros(n, np.int64), np.full(n, np.nan)
        pairs = Pairs(
            same, np.empty((n, 0), np.int64), same, same, np.ones(n), np.full(n, truth), none, same > 0, same + 1
        )
        return np.frombuffer(
            summarise_outcomes(pairs, of.profile, ["0", "1", "unheard"], 1_000, 1_000).vectors[0], "<i8"
        )

    panes = [Pane(number, None, outcomes(1.0 if number < 10 else 2.0)) for number in range(20)]
    found = {verdict.feature: verdict for verdict in watched.judge(panes) if verdict.feature.startswith("@error")}

    assert set(found) == {"@error.0", "@error.1"}
    assert all(math.isfinite(verdict.score) and verdict.level != "drift" for verdict in found.values())
