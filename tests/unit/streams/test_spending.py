"""Is each look at a model as sure of a change as the budget of false episodes asks? Looks are counted by hand."""

import pytest

from detectors.budget import CUTS_A_DELTA, DELTA_MAX, shared_noise
from driftline.settings.models import ModelSettings
from streams.judging.spending import (
    QUALITY_PART,
    TRAFFIC_PART,
    cut_deltas,
    quality_allowance,
    traffic_allowance,
    window_allowance,
)
from streams.panes import PaneLayout, pane_layout
from streams.references.reference import profile_from_batch
from tests.support.profiles import TYPES, batch_of, event, profile_of, random_events

N_SERIES = 7
N_CAUSES = 3 * (1 + 2) * 2
"""`x`, `c` and the prediction; in all traffic and for plan=a and plan=b; of two versions."""
SLIDES = 30 * 24 * 2
SIZES = 100_000, 1_000, 2
"""Events of the reference and of the window, and versions."""


def model_of(*detectors: str, consecutive: int = 2, slide: str = "1h", **given: object) -> ModelSettings:
    model = {
        "task": "binary",
        "reference": {"first_events": 1000},
        "segments": ["plan"],
        "windows": {"length": "1h", "slide": slide, "pane": "1m"},
        "alarms": {"budget": 1, "per": "30d"},
        "drift": {"detectors": detectors, **given},
        "quality": {"checks": ["missing", "unseen"]},
        "traffic": {"checks": ["volume", "duplicates"]},
        "retraining": {"consecutive": consecutive},
    }
    return ModelSettings.model_validate(model)


def with_two_segments() -> PaneLayout:
    events = [event(row, row, row % 2, segment={"plan": "ab"[row % 2]}) for row in range(200)]
    batch = batch_of(events, segments=("plan",))
    profile = profile_from_batch(
        batch, TYPES, task="binary", bins=4, categories_max=50, segments=("plan",), segments_max=10
    )
    assert [segment.name for segment in profile.segments] == ["plan=a", "plan=b"]
    return pane_layout(profile)


@pytest.mark.parametrize("consecutive", [1, 2])
def test_what_all_causes_cost_in_all_windows_of_a_period_is_the_budget(consecutive: int) -> None:
    model = model_of("psi", "adwin", consecutive=consecutive, slide="30m")
    found = window_allowance(model, with_two_segments(), *SIZES)

    assert found.expected * N_CAUSES * SLIDES == pytest.approx(1.0)
    # Where one window opens an episode, whatever windows have in common, the chances of both detectors add up to that.
    if consecutive == 1:
        assert found.significance * 2 * N_CAUSES * SLIDES == pytest.approx(1.0)
    else:
        assert (found.significance * 2) ** 2 * N_CAUSES * SLIDES < 1.0
        assert shared_noise(*SIZES[:2]) == 0.05


def test_checks_of_data_and_of_traffic_cost_a_twentieth_each_and_traffic_has_one_cause_whatever_is_watched() -> None:
    model = model_of("psi", "adwin", consecutive=1, slide="30m")
    of_data, of_traffic = quality_allowance(model, with_two_segments(), *SIZES), traffic_allowance(model, 600_000)
    stretches = 30 * 24 * 6

    assert (QUALITY_PART, TRAFFIC_PART) == (0.05, 0.05)
    for found, looks in ((of_data, N_CAUSES * SLIDES), (of_traffic, stretches)):
        assert found.expected * looks == pytest.approx(0.05)
        assert found.significance * 2 * looks == pytest.approx(0.05)


def deltas(*detectors: str, layout: PaneLayout | None = None, **given: object) -> dict[str, float]:
    reference = layout or pane_layout(profile_of(random_events(1, 200)))
    return cut_deltas(model_of(*detectors, **given), reference, N_SERIES)


@pytest.mark.parametrize("groups", [1, 3], ids=["all traffic", "and two segments"])
@pytest.mark.parametrize("detectors", [("adwin",), ("cusum",), ("adwin", "page_hinkley", "cusum", "ddm", "hddm_a")])
def test_the_false_cuts_of_all_detectors_together_are_the_budget_where_each_opens_an_episode(
    detectors: tuple[str, ...], groups: int
) -> None:
    found, panes = deltas(*detectors, layout=with_two_segments() if groups == 3 else None), 30 * 24 * 60
    cuts = sum(delta * CUTS_A_DELTA[name] * panes * N_SERIES * groups for name, delta in found.items())

    assert cuts == pytest.approx(1.0)


def test_beside_a_window_statistic_each_detector_may_be_wrong_equally_often() -> None:
    found = deltas("psi", "cusum", "hddm_a", "river.drift.KSWIN")

    assert found.keys() == {"cusum", "hddm_a"}
    assert max(found.values()) < DELTA_MAX
    assert found["hddm_a"] * CUTS_A_DELTA["hddm_a"] == pytest.approx(found["cusum"] * CUTS_A_DELTA["cusum"])


def test_a_confidence_that_is_set_is_that_of_all() -> None:
    assert deltas("adwin", "cusum", adwin={"delta": 0.0005}) == {"adwin": 0.0005, "cusum": 0.0005}
