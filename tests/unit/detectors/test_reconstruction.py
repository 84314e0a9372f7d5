"""The reconstruction error finds features that stop going together, though each by itself looks as ever."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from detectors.reference.profile import Profile
from detectors.reference.reconstruction import RECONSTRUCTION, errors, fit
from detectors.reference.summaries import merge_vectors
from driftline.events import FeatureType, Numeric
from driftline.settings.detectors import WINDOW_DETECTORS
from driftline.settings.models import DriftSettings
from streams.counting import summarise_predictions
from streams.judging.verdicts import window_verdicts
from streams.panes import pane_layout
from streams.references.reference import profile_from_batch
from tests.support.profiles import batch_of, event

NAMES = ("a", "b", "c")


def events_of(values: np.ndarray) -> list[dict[str, object]]:
    return [
        event(place, place, place % 2, features=dict(zip(NAMES, row, strict=True)))
        for place, row in enumerate(values.tolist())
    ]


def correlated(n: int, correlation: float, seed: int) -> np.ndarray:
    """Make three standard normal features, of which the first two go together."""
    generator = np.random.default_rng(seed)
    a, noise, c = generator.normal(size=(3, n))
    return np.stack([a, correlation * a + (1 - correlation**2) ** 0.5 * noise, c], axis=1)


def profile(values: np.ndarray, reconstruction: bool = True) -> Profile:
    types = [FeatureType(name, "numeric") for name in NAMES]
    batch = numeric_batch(values)
    return profile_from_batch(batch, types, task="binary", bins=10, categories_max=50, reconstruction=reconstruction)


def numeric_batch(values: np.ndarray):
    batch = batch_of(events_of(np.zeros((len(values), 3))))
    columns = {name: Numeric(column, np.isnan(column)) for name, column in zip(NAMES, values.T, strict=True)}
    return replace(batch, features=columns)


def vector_of(of: Profile, values: np.ndarray) -> np.ndarray:
    layout, zeros = pane_layout(of), np.zeros(len(values), np.int64)
    deltas = summarise_predictions(
        numeric_batch(values), zeros, np.empty((len(values), 0), np.int64), zeros > 0, layout, 10**9
    )
    return merge_vectors(deltas.vectors, layout.width)


def test_errors_are_the_lengths_of_what_numpys_components_leave_over() -> None:
    generator = np.random.default_rng(1)
    steps = np.rint(generator.normal(size=(5000, 6)) @ generator.normal(size=(6, 6)) * 1000).astype(np.int64)
    steps = np.clip(steps, -(2**15), 2**15)
    found = fit([*"abcdef"], steps)
    assert found is not None
    variances, vectors = np.linalg.eigh(np.cov(steps.T, bias=True))
    kept = int(np.argmax(np.cumsum(variances[::-1]) / variances.sum() >= 0.65)) + 1
    left = vectors[:, : 6 - kept]
    assert len(found.directions) == 6 - kept
    assert errors(found, steps) == pytest.approx(np.linalg.norm(steps @ left, axis=1), abs=0.5)


def test_an_event_has_the_same_error_in_whatever_batch() -> None:
    steps = np.random.default_rng(2).integers(-(2**15), 2**15, (1000, 40))
    found = fit([str(place) for place in range(40)], steps)
    assert found is not None
    whole = errors(found, steps)
    assert np.concatenate([errors(found, steps[begin : begin + 7]) for begin in range(0, 1000, 7)]).tolist() == (
        whole.tolist()
    )


def test_a_change_of_correlation_is_drift_of_the_reconstruction_error_alone() -> None:
    of = profile(correlated(20_000, 0.9, 3))
    assert [feature.name for feature in of.features] == [*NAMES, RECONSTRUCTION, "@prediction"]
    assert Profile.from_json(of.to_json()) == of
    layout = pane_layout(of)
    drift = DriftSettings(detectors=("psi", "js", "ks"))
    for correlation, expected in ((0.9, set()), (0.0, {RECONSTRUCTION})):
        vector = vector_of(of, correlated(3000, correlation, 4))
        verdicts = window_verdicts(vector, layout, drift, significance=0.001, ready=True)
        assert {verdict.feature for verdict in verdicts if verdict.level == "drift"} == expected


@cache
def together() -> Profile:
    return profile(correlated(5_000, 0.9, 8))


@pytest.mark.parametrize("usual", [0, 9, 99, 999])
@pytest.mark.parametrize("odd", [(4.0, -4.0, 0.0), (1e300, -1e300, 1e300), (np.inf, -np.inf, np.nan)], ids=str)
def test_one_row_that_cannot_be_reconstructed_is_no_drift_and_many_are(
    usual: int, odd: tuple[float, float, float]
) -> None:
    of = together()
    drift, rows = DriftSettings(detectors=WINDOW_DETECTORS), correlated(999, 0.9, 9)[:usual]

    def drifted(n_odd: int) -> set[str]:
        vector = vector_of(of, np.concatenate([rows, np.full((n_odd, 3), odd)]))
        verdicts = window_verdicts(vector, pane_layout(of), drift, significance=0.001, ready=True)
        said = [verdict for verdict in verdicts if verdict.feature == RECONSTRUCTION]
        assert {verdict.detector for verdict in said} == set(WINDOW_DETECTORS)
        assert np.isfinite([[verdict.score, verdict.threshold, verdict.p_value] for verdict in said]).all()
        return {verdict.detector for verdict in said if verdict.level == "drift"}

    assert drifted(1) == set()
    if np.isfinite(odd).all():
        assert drifted(usual + 9) == set(WINDOW_DETECTORS)


def test_panes_add_up_and_odd_values_stay_bounded() -> None:
    of = profile(correlated(2000, 0.5, 5))
    values = correlated(400, 0.5, 6)
    values[:5, 0] = np.nan, np.inf, -np.inf, 1e300, -1e300
    parts = [vector_of(of, values[begin : begin + 100]) for begin in range(0, 400, 100)]
    assert np.sum([part[: pane_layout(of).width] for part in parts], axis=0).tolist() == (
        vector_of(of, values)[: pane_layout(of).width].tolist()
    )


def test_without_it_a_profile_is_what_it_was() -> None:
    of = profile(correlated(500, 0.5, 7), reconstruction=False)
    assert of.reconstruction is None
    assert "reconstruction" not in of.to_json()


@pytest.mark.parametrize("steps", [np.zeros((100, 3)), np.ones((100, 1)), np.ones((10, 3)), np.ones((100, 300))])
def test_constant_single_few_and_too_many_features_have_no_components(steps: np.ndarray) -> None:
    assert fit([str(place) for place in range(steps.shape[1])], steps.astype(np.int64)) is None
