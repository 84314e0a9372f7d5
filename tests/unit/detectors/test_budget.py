"""Do the significances that follow from a budget keep it? What is expected is counted in simulated windows."""

import numpy as np
import pytest
from scipy import stats

from detectors.budget import (
    SIGNIFICANCE_LEAST,
    SIGNIFICANCE_MAX,
    Budget,
    allowance,
    delta_for,
    false_episodes,
    shared_noise,
    significance_for,
)


def episodes_counted(alarms: np.ndarray, consecutive: int, slides_a_window: int = 1) -> int:
    """How many episodes open over [windows, causes]: disjoint windows in a row, as many calm ones close; by hand."""
    opened = 0
    for column in alarms.T:
        is_open, row, free_from = False, 0, 0
        for at, alarm in enumerate(column.tolist()):
            if at < free_from:
                continue
            if alarm != is_open:
                row, free_from = row + 1, at + slides_a_window
            else:
                row = 0
            if row == consecutive:
                is_open, row = not is_open, 0
                opened += is_open
    return opened


@pytest.mark.parametrize("consecutive", [1, 2, 3])
def test_false_episodes_of_windows_with_a_large_reference_are_as_many_as_declared(consecutive: int) -> None:
    chance, windows, causes = np.random.default_rng(consecutive), 500, 20_000
    significance = {1: 0.002, 2: 0.008, 3: 0.01}[consecutive]
    declared = causes * false_episodes(significance, windows, consecutive, 0.0)

    counted = episodes_counted(chance.random((windows, causes)) < significance, consecutive)

    # Between half and 1.1 times what is declared, but for chance in what is counted itself.
    assert stats.poisson.ppf(1e-4, 0.9 * declared) <= counted <= stats.poisson.ppf(1 - 1e-4, declared)
    assert consecutive == 3 or declared > 400


@pytest.mark.parametrize("freedom", [1, 9])
@pytest.mark.parametrize(("n_reference", "n_current"), [(3_000, 1_000), (2_000, 1_000), (1_000, 1_000), (500, 5_000)])
def test_what_all_windows_have_in_common_is_counted_in(freedom: int, n_reference: int, n_current: int) -> None:
    """Deviations of a window and of one reference for all windows, in as many directions as the test has."""
    chance, windows, causes, significance = np.random.default_rng(7), 100, 4_000, 0.01
    of_reference = chance.normal(0.0, n_reference**-0.5, (causes, freedom))
    of_windows = chance.normal(0.0, n_current**-0.5, (windows, causes, freedom))
    statistic = ((of_windows - of_reference) ** 2).sum(axis=2) / (1 / n_reference + 1 / n_current)
    alarms = statistic > stats.chi2.isf(significance, freedom)

    shared = n_current / (n_reference + n_current)
    declared = causes * false_episodes(significance, windows, 2, shared)
    counted = episodes_counted(alarms, 2)

    assert counted <= stats.poisson.ppf(1 - 1e-4, 1.1 * declared)
    assert counted >= 0.3 * declared
    # Windows that were independent would open far fewer.
    assert counted > 1.2 * causes * false_episodes(significance, windows, 2, 0.0)
    assert shared <= shared_noise(n_reference, n_current) <= shared + 0.05


@pytest.mark.parametrize("slides", [4, 12])
def test_windows_that_overlap_open_no_more_than_declared(slides: int) -> None:
    chance, windows, causes, significance = np.random.default_rng(slides), 480, 1_000, 0.01
    steps = chance.normal(size=(windows + slides - 1, causes))
    moving = np.cumsum(np.vstack([np.zeros(causes), steps]), axis=0)
    values = (moving[slides:] - moving[:-slides]) / slides**0.5
    alarms = np.abs(values) > stats.norm.isf(significance / 2)

    declared = causes * false_episodes(significance, windows, 2, 0.0)
    counted = episodes_counted(alarms, 2, slides)

    assert 0.1 * declared < counted <= declared


@pytest.mark.parametrize(("causes", "detectors"), [(20, 1), (2_000, 1), (2_000, 3)])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8])
def test_all_causes_together_are_expected_to_spend_the_budget(causes: int, detectors: int, shared: float) -> None:
    budget = Budget(episodes=2.0, windows=720.0, consecutive=2)
    found = allowance(budget, causes, detectors, shared)

    is_bounded = found.significance in (SIGNIFICANCE_LEAST, SIGNIFICANCE_MAX / detectors)
    assert is_bounded or found.expected * causes * budget.windows == pytest.approx(budget.episodes)
    assert found.expected == pytest.approx(
        false_episodes(found.significance * detectors, budget.windows, 2, shared) / budget.windows
    )


def test_what_is_given_wins_and_its_price_is_told() -> None:
    hourly = Budget(episodes=1.0, windows=720.0, consecutive=2)
    given = allowance(hourly, 2_000, 2, 0.0, 0.001)

    assert given.significance == 0.001
    assert given.expected == pytest.approx(0.002**2)
    assert allowance(hourly, 2_000, 2, 0.0).expected * 2_000 * 720 == pytest.approx(1.0)


def test_a_budget_that_cannot_be_kept_is_told_to_cost_more() -> None:
    strict = Budget(episodes=0.01, windows=43_200.0, consecutive=1)
    found = allowance(strict, 2_000, 1, 0.0)

    assert found.significance == SIGNIFICANCE_LEAST
    assert found.expected * 2_000 * 43_200 > strict.episodes
    assert significance_for(1.0, 0.1, 2, 0.0) == SIGNIFICANCE_MAX
    assert delta_for(1.0, "adwin") == 0.002
