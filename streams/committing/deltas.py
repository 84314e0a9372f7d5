"""How do summaries come into the store, to wait for their slide? Whoever writes them holds the models' pane locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, run
from labels_join.outcomes import OutcomeDeltas, Pairs, summarise_outcomes
from streams.monitored import MonitoredModel
from streams.panes import PaneDeltas, PaneLayout, narrowed


@dataclass(frozen=True, slots=True)
class PanesOf:
    """Pane deltas of one model under one profile."""

    model_id: int
    profile_id: int
    deltas: PaneDeltas


@dataclass(frozen=True, slots=True)
class OutcomesOf:
    """Outcome deltas of one model under one profile."""

    model_id: int
    profile_id: int
    deltas: OutcomeDeltas


def outcomes_of(model: MonitoredModel, profile_id: int, layout: PaneLayout, pairs: Pairs) -> OutcomesOf:
    """Summarise pairs of one model under one profile."""
    settings = model.settings
    grain_ms, pane_ms, positive = model.grain_ms, settings.windows.pane_ms, settings.positive_class
    deltas = summarise_outcomes(pairs, layout.profile, model.class_names, grain_ms, pane_ms, positive)
    return OutcomesOf(model.model_id, profile_id, deltas)


async def write_panes(connection: Connection, panes: Sequence[PanesOf]) -> None:
    """Insert pane deltas of any number of models at once."""
    if not panes:
        return
    sizes = [len(of.deltas) for of in panes]
    await run(
        connection,
        "add_panes",
        model_id=pg_array("int2", np.repeat([of.model_id for of in panes], sizes)),
        version=pg_array("int2", np.concatenate([of.deltas.version for of in panes])),
        segment=pg_array("int2", np.concatenate([of.deltas.segment for of in panes])),
        pane_start=pg_array("timestamptz", np.concatenate([of.deltas.start_ms for of in panes])),
        late=pg_array("bool", np.concatenate([of.deltas.late for of in panes])),
        profile_id=pg_array("int4", np.repeat([of.profile_id for of in panes], sizes)),
        n=pg_array("int8", np.concatenate([of.deltas.n for of in panes])),
        vector=pg_bytea_array([vector for of in panes for vector in narrowed(of.deltas.vectors, of.deltas.n_bins)]),
    )


async def write_outcomes(connection: Connection, outcomes: OutcomesOf) -> None:
    """Insert outcome deltas."""
    deltas = outcomes.deltas
    if not len(deltas):
        return
    await run(
        connection,
        "add_outcomes",
        model_id=outcomes.model_id,
        version=pg_array("int2", deltas.version),
        segment=pg_array("int2", deltas.segment),
        cohort_start=pg_array("timestamptz", deltas.cohort_ms),
        arrival_start=pg_array("timestamptz", deltas.arrival_ms),
        late=pg_array("bool", deltas.late),
        profile_id=pg_array("int4", np.full(len(deltas), outcomes.profile_id)),
        n=pg_array("int8", deltas.n),
        vector=pg_bytea_array(deltas.vectors),
    )
