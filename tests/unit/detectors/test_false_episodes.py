"""How often does chance alone open an episode? The alarms are counted here, against a stated bound."""

import numpy as np
import pytest
from scipy.stats import binom

from detectors.budget import CUTS_A_DELTA
from detectors.sequential.registry import SEQUENTIAL, make_bank
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


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_one_change_opens_one_episode_also_where_it_lies_within_a_pane(name: str) -> None:
    """Windows of ten panes of 1,000 events, 60 series; nothing else watches, so that a cut needs no second window."""
    chance, one = np.random.default_rng(5), np.ones(60)
    bank = make_bank(name, 0.002, one, one, one * 0.05, None)
    states, opened = [PolicyState()] * one.size, np.zeros(one.size, np.int64)
    for window in range(16):
        cut = np.zeros(one.size, np.bool_)
        for pane in range(10 * window, 10 * window + 10):
            ones = chance.binomial(1000, 0.2 if pane < 84 else 0.3 if pane == 84 else 0.4, one.size)
            cut |= bank.update(one.astype(np.int64) * 1000, ones, ones, pane).detected
        for place in range(one.size):
            found = [Evidence(Cause("*", "f"), window, window + 1, "drift", 1.0, at_once=True)] if cut[place] else []
            slide = Slide(window, window + 1, "d", {"drift": Findings(found, window + 1)})
            states[place], decisions = decide(PolicySpec(2, 0, frozenset()), states[place], slide)
            opened[place] += sum(isinstance(decision, Opened) for decision in decisions)
        if window == 7:
            false = opened.copy()
            assert false.sum() <= binom.isf(0.001, 80 * one.size, 0.002 * CUTS_A_DELTA[name])
    # What chance opens in the 76 panes after the change is all that comes on top.
    assert (opened - false).min() == 1
    assert (opened - false - 1).sum() <= binom.isf(0.001, 76 * one.size, 0.002 * CUTS_A_DELTA[name])
