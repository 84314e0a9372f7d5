"""What do our sequential detectors say of streams of single values? Fed in panes, as by a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.detection.items import Items
from detectors.budget import DELTA_MAX
from detectors.noise.swings import SeriesSwings
from detectors.reference.building import numeric_feature
from detectors.reference.profile import STEPS_PER_SCALE, standardised_steps
from detectors.sequential.registry import SEQUENTIAL, make_bank
from driftline.settings import DriftSettings
from streams.judging.series import PANES_AT_ONCE

PANE = 50
ALONE = "adwin, single events, no least effect"


class Ours(NamedTuple):
    """One row: a detector, the events of a pane, and whether the defaults for the least change that matters hold."""

    detector: str
    pane: int
    gated: bool


ROWS: Mapping[str, Ours] = {
    **{f"{name}, panes of {PANE}": Ours(name, PANE, True) for name in SEQUENTIAL},
    ALONE: Ours("adwin", 1, False),
}


def alarms_of(of: Ours, items: Items) -> list[list[int]]:
    """Return the places of the alarms in each stream: the last event of the pane that was called a change."""
    steps, unit, width = _steps(items)
    n_streams, n = steps.shape
    one, settings = np.ones(n_streams), DriftSettings().adwin
    effect = settings.effect_share if items.kind == "errors" else settings.effect_mean
    bank = make_bank(of.detector, DELTA_MAX, one * width, one * unit, one * (effect if of.gated else 0.0))
    n_panes = n // of.pane
    panes = steps[:, : n_panes * of.pane].T.reshape(n_panes, of.pane, n_streams)
    counts = np.full((n_panes, n_streams), of.pane)
    sums, squares = panes.sum(axis=1), (panes * panes).sum(axis=1)
    swings, found = SeriesSwings(n_streams, None), [list[int]() for _ in range(n_streams)]
    for start in range(0, n_panes, PANES_AT_ONCE):
        some = slice(start, start + PANES_AT_ONCE)
        if of.pane > 1:  # of one event a pane, no noise can be told from swings
            bank.disperse(swings.learn(counts[some], sums[some], squares[some]))
        for pane in range(start, min(start + PANES_AT_ONCE, n_panes)):
            cut = bank.update(counts[pane], sums[pane], squares[pane], pane)
            for stream in np.flatnonzero(cut.detected).tolist():
                found[stream].append((pane + 1) * of.pane - 1)
    return found


def _steps(items: Items) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], float, float]:
    """Return the values as whole steps, a step in natural units, and the width of the range of values."""
    if items.kind == "errors":
        return items.values.astype(np.int64), 1.0, 1.0
    rows = []
    for before, values in zip(items.before, items.values, strict=True):
        feature = numeric_feature("value", before, np.isnan(before), 10)
        rows.append(standardised_steps(feature, values))
    return np.stack(rows), 1.0 / STEPS_PER_SCALE, 16.0
