"""How often does chance alone open an episode? The alarms are counted here, against a stated bound."""

import numpy as np
import pytest
from scipy.stats import binom

from detectors.windows import drift
from detectors.windows.distances import histograms
from retraining.policy import Findings, Opened, PolicySpec, PolicyState, Slide, decide
from retraining.state import Cause, Evidence

FEATURES, BINS, WINDOWS, SIGNIFICANCE = 20, 12, 1_500, 0.001


@pytest.mark.parametrize("n_events", [100, 200])
def test_chance_makes_few_verdicts_and_hardly_an_episode(n_events: int) -> None:
    """Windows so small that significance alone decides; 20 unchanged features of ten bins, nothing missing or other."""
    chance = np.random.default_rng(n_events)
    shares = np.append(np.full(10, 0.1), [0.0, 0.0])
    reference = np.concatenate([chance.multinomial(10_000, shares) for _ in range(FEATURES)])
    starts = np.arange(FEATURES) * BINS
    states = {consecutive: PolicyState() for consecutive in (1, 2)}
    opened = dict.fromkeys(states, 0)
    verdicts = 0
    for window in range(WINDOWS):
        current = np.concatenate([chance.multinomial(n_events, shares) for _ in range(FEATURES)])
        judged = drift.judge(
            "psi", histograms(reference, current, starts), effect=0.1, significance=SIGNIFICANCE, seed=1
        )
        evidence = [
            Evidence(Cause("*", f"f{place}"), window, window + 1, found.level, 1.0)
            for place, found in enumerate(judged)
            if found.level != "not_ready"
        ]
        verdicts += sum(item.level == "drift" for item in evidence)
        slide = Slide(window, window + 1, "d", {"drift": Findings(evidence, window + 1)})
        for consecutive, state in states.items():
            states[consecutive], decisions = decide(PolicySpec(consecutive, 0, frozenset()), state, slide)
            opened[consecutive] += sum(isinstance(decision, Opened) for decision in decisions)

    # 99.9 of 100 runs stay within these, if a verdict says drift once in a thousand times.
    assert verdicts <= binom.isf(0.001, FEATURES * WINDOWS, SIGNIFICANCE)
    assert 0 < opened[1] <= verdicts
    assert opened[2] <= binom.isf(0.001, FEATURES * WINDOWS, SIGNIFICANCE**2)
