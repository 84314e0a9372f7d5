"""Is no concept drift found at a deployment where one class's labels lag, though nothing changes but which are in?"""

import os
from functools import cache

import numpy as np
import pytest
from scipy import stats

from detectors.budget import CUTS_A_DELTA
from detectors.sequential.registry import SEQUENTIAL, make_bank
from driftline.settings.models import ModelSettings
from streams.judging.series import series_layout
from streams.judging.spending import cut_deltas
from streams.panes import pane_layout
from tests.support.profiles import event, profile_of

SEEDS = int(os.environ.get("DRIFTLINE_TEST_SEEDS", "20"))
"""`make test-long` takes 200."""

HOURS, AN_HOUR = 24 * 45, 400
POSITIVE, MISSED, FALSE_ALARMS = 0.05, 0.4, 0.02
MEAN_DELAY_HOURS = (48.0, 480.0)
RATE = 0.002
"""Of deployments that may raise an alarm by chance: delta, which bounds that of one test."""


@cache
def arrivals(*mean_delay_hours: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and errors by hour of arrival, deployment and true class, from the first prediction on."""
    labels, errors = np.zeros((2, HOURS, SEEDS, 2), np.int64)
    for seed in range(SEEDS):
        chance = np.random.default_rng(seed)
        for true, share, wrong in ((0, 1 - POSITIVE, FALSE_ALARMS), (1, POSITIVE, MISSED)):
            made = chance.integers(0, HOURS, chance.binomial(HOURS * AN_HOUR, share))
            came = (made + chance.exponential(mean_delay_hours[true], len(made))).astype(int)
            is_wrong = chance.random(len(made)) < wrong
            labels[:, seed, true] = np.bincount(came[came < HOURS], minlength=HOURS)
            errors[:, seed, true] = np.bincount(came[is_wrong & (came < HOURS)], minlength=HOURS)
    return labels, errors


def changes(detector: str, delta: float, labels: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Count by deployment the hours and classes in which errors are found to have changed."""
    series = labels[0].size
    bank = make_bank(detector, delta, np.ones(series), np.ones(series), np.full(series, 0.05))
    found = np.zeros(series, np.int64)
    for cases, wrong in zip(labels.reshape(HOURS, series), errors.reshape(HOURS, series), strict=True):
        found += bank.update(cases, wrong, wrong).detected
    return found.reshape(SEEDS, 2).sum(axis=1)


def test_errors_within_a_class_raise_no_alarm_while_its_labels_lag() -> None:
    labels, errors = arrivals(*MEAN_DELAY_HOURS)
    alarmed = np.count_nonzero(changes("adwin", RATE, labels, errors))
    # The same errors in one series: they become more by themselves as slow positives come in.
    early, late = (errors[of].sum(axis=(0, 2)) / labels[of].sum(axis=(0, 2)) for of in (slice(48), slice(-240, None)))
    assert alarmed <= stats.binom.ppf(1 - 1e-4, SEEDS, RATE)
    assert (late > early * 1.2).all()


def test_a_detector_whose_delta_holds_for_each_pane_finds_no_more_changes_than_that_allows() -> None:
    # The hours of 45 days add up: that is its delta, not the lag, and `delta: auto` reckons with it.
    found = changes("hddm_a", RATE, *arrivals(*MEAN_DELAY_HOURS)).sum()
    assert found <= stats.binom.ppf(1 - 1e-4, SEEDS * HOURS * 2, RATE * CUTS_A_DELTA["hddm_a"])


def delta_by_default(detector: str) -> float:
    """Return the delta of `auto`: one false episode in 30 days, beside PSI, panes of an hour, two features."""
    model = ModelSettings.model_validate({
        "task": "binary", "reference": {"first_events": 1000}, "labels": {},
        "windows": {"length": "1h", "pane": "1h"}, "drift": {"detectors": ("psi", detector)},
    })  # fmt: skip
    layout = pane_layout(profile_of([event(row, row, row % 2) for row in range(200)]))
    return cut_deltas(model, layout, len(series_layout(layout, model.drift, True).owner))[detector]


@pytest.mark.parametrize("detector", SEQUENTIAL)
def test_no_detector_alarms_more_often_than_its_part_of_the_budget_allows_nor_because_labels_lag(detector: str) -> None:
    delta = delta_by_default(detector)
    lagging, at_once = (changes(detector, delta, *arrivals(*of)) for of in (MEAN_DELAY_HOURS, (1.0, 1.0)))
    a_pane, alarmed = delta * CUTS_A_DELTA[detector], np.count_nonzero(lagging)
    a_deployment = 1 - (1 - a_pane) ** (2 * HOURS)

    # Two detectors share one episode in 30 days, so one may be wrong three quarters of a time in 45.
    assert 2 * HOURS * a_pane <= 0.75 * (1 + 1e-9)
    assert lagging.sum() <= stats.binom.ppf(1 - 1e-4, SEEDS * HOURS * 2, a_pane)
    assert alarmed <= stats.binom.ppf(1 - 1e-4, SEEDS, a_deployment)
    without_lag = np.count_nonzero(at_once)
    assert alarmed - without_lag <= stats.norm.isf(1e-4) * np.sqrt(alarmed + without_lag)
