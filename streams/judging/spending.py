"""What may each look at a model cost of its false-alarm budget, and what was spent?

A cause is a feature in all traffic or in a segment that the reference knows; every cause of every version in a window
gets the same part. So what a look may cost hangs on nothing that a window happened to hold, except on the window's size
and on how many versions are in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from detectors.budget import CUTS_A_DELTA, Allowance, Budget, allowance, delta_for, exact_allowance, shared_noise
from driftline.settings import ModelSettings
from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, run
from labels_join.performance import error_series
from streams.closing.results import JudgedGroup
from streams.monitored import MonitoredModel
from streams.panes import PaneLayout

_E12 = 1e12

QUALITY_PART, TRAFFIC_PART = 0.05, 0.05
"""What checks of data and of traffic may spend beside the detectors of drift, as parts of the budget."""


def budget_of(settings: ModelSettings) -> Budget:
    """Return a model's budget in windows, of which one ends with each slide."""
    windows = settings.alarms.per_ms / settings.windows.slide_ms
    return Budget(settings.alarms.budget, windows, settings.retraining.consecutive)


def n_causes(layout: PaneLayout) -> int:
    """Return how many causes a version has that is compared with this reference."""
    return len(layout.profile.features) * (1 + len(layout.profile.segments))


def window_allowance(
    settings: ModelSettings, layout: PaneLayout, n_reference: int, n_current: int, n_versions: int
) -> Allowance:
    """Return what each look of a window detector may spend.

    Parameters
    ----------
    n_reference, n_current
        Events in the group's reference and in the stretch that is judged.
    n_versions
        Versions that are judged in the window.
    """
    return allowance(
        budget_of(settings),
        n_causes(layout) * n_versions,
        max(len(settings.drift.detectors), 1),
        shared_noise(n_reference, n_current),
        settings.drift.significance,
    )


def quality_allowance(
    settings: ModelSettings, layout: PaneLayout, n_reference: int, n_current: int, n_versions: int
) -> Allowance:
    """Return what each check of a feature may spend; parameters as for `window_allowance`."""
    budget = budget_of(settings)
    return exact_allowance(
        replace(budget, episodes=budget.episodes * QUALITY_PART),
        n_causes(layout) * n_versions,
        len(settings.quality.checks),
        shared_noise(n_reference, n_current),
    )


def traffic_allowance(settings: ModelSettings, stretch_ms: int) -> Allowance:
    """Return what each check of the traffic may spend; one stretch follows another, and none has a reference."""
    allowed = settings.alarms.budget * TRAFFIC_PART
    budget = Budget(allowed, settings.alarms.per_ms / stretch_ms, settings.retraining.consecutive)
    return exact_allowance(budget, 1, len(settings.traffic.checks), 0.0)


def cut_deltas(settings: ModelSettings, layout: PaneLayout, n_series: int) -> dict[str, float]:
    """Return the confidence of each sequential detector: as it is set, else such that false cuts stay within its part.

    Plug-ins have none: their own defaults say how often they are wrong. The part is that of one version: a state must
    not depend on which other versions come and go.

    Parameters
    ----------
    n_series
        Series that are watched of each group, those of errors included.
    """
    ours, given = [name for name in settings.drift.sequential if name in CUTS_A_DELTA], settings.drift.adwin.delta
    if not ours:
        return {}
    if given is not None:
        return dict.fromkeys(ours, given)
    cuts_a_pane = _cuts_a_pane(settings, layout, n_series)
    return {name: delta_for(cuts_a_pane, name) for name in ours}


def _cuts_a_pane(settings: ModelSettings, layout: PaneLayout, n_series: int) -> float:
    """Return how many false cuts one detector may find in one series and pane.

    A cut of a feature counts as one window of a row; one of errors, or where no window detector looks, opens at once.
    """
    budget, detectors = budget_of(settings), len(settings.drift.detectors)
    groups = 1 + len(layout.profile.segments)
    panes = settings.windows.slide_ms / settings.windows.pane_ms
    n_errors = len(error_series(layout.profile)) if settings.has_labels else 0
    if not settings.drift.window_effects:
        return budget.episodes / detectors / (budget.windows * panes * groups * n_series)
    in_a_row = allowance(budget, n_causes(layout), detectors, 0.0).significance * len(layout.profile.features)
    of_features = in_a_row / (panes * max(n_series - n_errors, 1))
    at_once = budget.episodes / detectors / (budget.windows * panes * groups * max(n_errors, 1))
    return min(of_features, at_once) if n_errors else of_features


class Spent(NamedTuple):
    """How often was looked, and how many false episodes are to be expected of that, in 1e-12."""

    looks: int
    expected_e12: int

    def __add__(self, other: object) -> Spent:
        """Add up two spendings, exactly."""
        assert isinstance(other, Spent)
        return Spent(self.looks + other.looks, self.expected_e12 + other.expected_e12)


NOTHING_SPENT = Spent(0, 0)


def spent_on(judged: Iterable[JudgedGroup]) -> Spent:
    """Return what the verdicts on one window of one version cost; those that were not ready were no looks."""
    spent = NOTHING_SPENT
    for item in judged:
        looks = [verdict.feature for verdict in item.verdicts if verdict.level != "not_ready"]
        spent += Spent(len(looks), len(set(looks)) * round(item.expected * _E12))
        spent += Spent(item.quality.looks, round(item.quality.expected * _E12))
    return spent


async def write_spending(connection: Connection, model: MonitoredModel, spent: Mapping[tuple[int, int], Spent]) -> None:
    """Add what was spent, by version and start of the period, to what the store knows."""
    if not spent:
        return
    alarms, periods = model.settings.alarms, sorted(spent)
    await run(
        connection,
        "spend",
        model_id=model.model_id,
        budget=alarms.budget,
        version=pg_array("int2", [version for version, _ in periods]),
        period_start=pg_array("timestamptz", [start_ms for _, start_ms in periods]),
        period_end=pg_array("timestamptz", [start_ms + alarms.per_ms for _, start_ms in periods]),
        looks=pg_array("int8", [spent[period].looks for period in periods]),
        expected_e12=pg_array("int8", [spent[period].expected_e12 for period in periods]),
    )
