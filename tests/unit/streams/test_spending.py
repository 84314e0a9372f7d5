"""Is each sequential detector as sure of a change as the budget of false episodes asks?"""

import pytest

from detectors.budget import CUTS_A_DELTA, DELTA_MAX
from driftline.settings.models import ModelSettings
from streams.judging.spending import cut_deltas
from streams.panes import pane_layout
from tests.support.profiles import profile_of, random_events

N_SERIES = 7


def deltas(*detectors: str, **given: object) -> dict[str, float]:
    model = {
        "task": "binary",
        "reference": {"first_events": 1000},
        "windows": {"length": "1h", "pane": "1m"},
        "alarms": {"budget": 1, "per": "30d"},
        "drift": {"detectors": detectors, **given},
    }
    reference = pane_layout(profile_of(random_events(1, 200)))
    return cut_deltas(ModelSettings.model_validate(model), reference, N_SERIES)


@pytest.mark.parametrize("detectors", [("adwin",), ("cusum",), ("adwin", "page_hinkley", "cusum", "ddm", "hddm_a")])
def test_the_false_cuts_of_all_detectors_together_are_the_budget_where_each_opens_an_episode(
    detectors: tuple[str, ...],
) -> None:
    panes = 30 * 24 * 60
    cuts = sum(delta * CUTS_A_DELTA[name] * panes * N_SERIES for name, delta in deltas(*detectors).items())

    assert cuts == pytest.approx(1.0)


def test_beside_a_window_statistic_each_detector_may_be_wrong_equally_often() -> None:
    found = deltas("psi", "cusum", "hddm_a", "river.drift.KSWIN")

    assert found.keys() == {"cusum", "hddm_a"}
    assert max(found.values()) < DELTA_MAX
    assert found["hddm_a"] * CUTS_A_DELTA["hddm_a"] == pytest.approx(found["cusum"] * CUTS_A_DELTA["cusum"])


def test_a_confidence_that_is_set_is_that_of_all() -> None:
    assert deltas("adwin", "cusum", adwin={"delta": 0.0005}) == {"adwin": 0.0005, "cusum": 0.0005}
