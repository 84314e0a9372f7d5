"""Is no concept drift found at a deployment where one class's labels lag, though nothing changes but which are in?"""

import os

import numpy as np
from scipy import stats

from detectors.budget import CUTS_A_DELTA
from detectors.sequential.registry import make_bank

SEEDS = int(os.environ.get("DRIFTLINE_TEST_SEEDS", "20"))
"""`make test-long` takes 200."""

HOURS, AN_HOUR = 24 * 45, 400
POSITIVE, MISSED, FALSE_ALARMS = 0.05, 0.4, 0.02
MEAN_DELAY_HOURS = (48.0, 480.0)
RATE = 0.002
"""Of deployments that may raise an alarm by chance: delta, which bounds that of one test."""


def arrivals(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and errors by hour of arrival and true class, from the first prediction on."""
    labels, errors = np.zeros((2, HOURS, 2), np.int64)
    for true, share, wrong in ((0, 1 - POSITIVE, FALSE_ALARMS), (1, POSITIVE, MISSED)):
        made = chance.integers(0, HOURS, chance.binomial(HOURS * AN_HOUR, share))
        came = (made + chance.exponential(MEAN_DELAY_HOURS[true], len(made))).astype(int)
        is_wrong = chance.random(len(made)) < wrong
        labels[:, true] = np.bincount(came[came < HOURS], minlength=HOURS)
        errors[:, true] = np.bincount(came[is_wrong & (came < HOURS)], minlength=HOURS)
    return labels, errors


def changes(detector: str, labels: np.ndarray, errors: np.ndarray) -> int:
    """Count the hours and classes in which errors are found to have changed."""
    series = labels.shape[1]
    bank = make_bank(detector, RATE, np.ones(series), np.ones(series), np.full(series, 0.05))
    return sum(int(bank.update(labels[hour], errors[hour], errors[hour]).detected.sum()) for hour in range(HOURS))


def test_errors_within_a_class_raise_no_alarm_while_its_labels_lag() -> None:
    alarmed, pooled = 0, 0
    for seed in range(SEEDS):
        labels, errors = arrivals(np.random.default_rng(seed))
        alarmed += changes("adwin", labels, errors) > 0
        # The same errors in one series: they become more by themselves as slow positives come in.
        early, late = (errors[of].sum() / labels[of].sum() for of in (slice(48), slice(-240, None)))
        pooled += late > early * 1.2
    assert alarmed <= stats.binom.ppf(1 - 1e-4, SEEDS, RATE)
    assert pooled == SEEDS


def test_a_detector_whose_delta_holds_for_each_pane_finds_no_more_changes_than_that_allows() -> None:
    # The hours of 45 days add up: that is its delta, not the lag, and `delta: auto` reckons with it.
    found = sum(changes("hddm_a", *arrivals(np.random.default_rng(seed))) for seed in range(SEEDS))
    assert found <= stats.binom.ppf(1 - 1e-4, SEEDS * HOURS * 2, RATE * CUTS_A_DELTA["hddm_a"])
