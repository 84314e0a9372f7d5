"""What must the store hold of some events? Counted by numpy, cell by cell, not by the code that is measured.

Taken as given is only what a reference is: its bin edges, centres and scales, and where its cells stand in a vector.
Invariants: every summary is compared whole; which one is wrong is told by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import psycopg

from benchmarks.setting.stage import WrongAnswerError
from benchmarks.setting.traffic import Traffic
from detectors.reference.profile import FeatureProfile, Profile
from driftline.events import Coded, Floats, Ints, Numeric, PredictionBatch
from streams.panes import widened

DAY_MS = 86_400_000
COUNT_BITS = 32
"""An occupied cell of a histogram is one integer: its number above these bits, its count in them."""

LOSSES_AND_REWARDS = 15
"""What stands before the histogram of a binary model's outcomes."""

PROFILES = "select content::text from driftline.profile"
PANES = """
    select m.name, coalesce(s.name, '*'), p.n, p.vector
      from driftline.pane p
      join driftline.model m using (model_id)
      left join driftline.name s on s.model_id = p.model_id and s.kind = 'segment' and s.code = p.segment
     where p.pane_start = to_timestamp(%s / 1000.0)
"""
OUTCOMES = """
    select 'cohort', cohort_start, vector from driftline.outcome where segment = -1
    union all
    select 'arrival', arrival_start, vector from driftline.outcome where segment = -1
    union all
    select kind, grain_start, vector from driftline.rollup where segment = -1 and kind in ('cohort', 'arrival')
"""


def check_panes(
    connection: psycopg.Connection[Any], batch: PredictionBatch, model: Ints, names: Sequence[str], pane_ms: int
) -> None:
    """Compare one pane of several models that share a reference with the predictions that lie in it.

    Parameters
    ----------
    batch
        The predictions, each with one segment.
    model
        int64 [rows]; which of the names each is of.
    pane_ms
        When the pane starts.

    Raises
    ------
    WrongAnswerError
        Naming a model and a segment.
    """
    profile, regions = _only_profile(connection), batch.segments[0]
    segments = ["*", *(f"region={value}" for value in regions.values)]
    place = {(name, segment): at for at, (name, segment) in enumerate((n, s) for n in names for s in segments)}
    groups = model * len(segments), model * len(segments) + 1 + regions.codes
    rows = np.zeros_like(model)
    n_dense = _width(profile)
    wanted, found = (np.zeros((len(place), 1 + n_dense + _sparse(profile)), np.int64) for _ in range(2))
    for cell, weight in [(0, 1), *((1 + cell, weight) for cell, weight in _cells(profile, batch))]:
        for group in groups:
            np.add.at(wanted, (group, rows + cell), weight)
    for name, segment, n, packed in connection.execute(PANES, [pane_ms]).fetchall():
        row, vector = found[place[name, segment]], np.frombuffer(widened(packed), "<i8")
        row[: 1 + n_dense] += [n, *vector[:n_dense]]
        np.add.at(row, 1 + n_dense + (vector[n_dense:] >> COUNT_BITS), vector[n_dense:] & (1 << COUNT_BITS) - 1)
    if wrong := [of for of, at in place.items() if (wanted[at] != found[at]).any()]:
        raise WrongAnswerError(f"{len(wrong)} of {len(place)} panes hold something else, such as that of {wrong[0]}")


def _only_profile(connection: psycopg.Connection[Any]) -> Profile:
    [(content,)] = connection.execute(PROFILES).fetchall()
    return Profile.from_json(content)


def _width(profile: Profile) -> int:
    """How many cells bins and sums take."""
    return sum(feature.n_bins + 2 * (feature.kind == "numeric") for feature in profile.features)


def _sparse(profile: Profile) -> int:
    """How many cells follow: of each class the bins of the score, then of each feature one for odd values."""
    return len(profile.classes) * _score_bins(profile) + len(profile.features)


def _score_bins(profile: Profile) -> int:
    return len(profile.score_edges) + 2


def _cells(profile: Profile, batch: PredictionBatch) -> Iterator[tuple[Ints | int, Ints | int]]:
    """Yield in which cell each prediction counts, and for how much; no value is missing, none is of a wrong type."""
    predicted = batch.prediction
    assert isinstance(predicted, Coded)
    columns = batch.features | {"@score": Numeric(batch.score, np.isnan(batch.score)), "@prediction": predicted}
    bins, sums = 0, sum(feature.n_bins for feature in profile.features)
    odd = _width(profile) + len(profile.classes) * _score_bins(profile)
    for place, feature in enumerate(profile.features):
        column = columns[feature.name]
        if isinstance(column, Coded):
            yield bins + np.array([feature.categories.index(value) for value in column.values])[column.codes], 1
        else:
            yield bins + np.searchsorted(feature.edges, column.values), 1
            steps = _steps(feature, column.values)
            yield sums, steps
            yield sums + 1, steps * steps
            low, high = feature.span or (-np.inf, np.inf)
            yield odd + place, ((column.values < low) | (column.values > high)).astype(np.int64)
            sums += 2
        bins += feature.n_bins
    of_class = np.array([profile.classes.index(value) for value in predicted.values])[predicted.codes]
    yield _width(profile) + of_class * _score_bins(profile) + np.searchsorted(profile.score_edges, batch.score), 1


def _steps(feature: FeatureProfile, values: Floats) -> Ints:
    """Count how many 4,096ths of the scale each value is from the centre, at most eight scales."""
    steps: Ints = np.rint(4096 * np.clip((values - feature.centre) / feature.scale, -8, 8)).astype(np.int64)
    return steps


def check_outcomes(connection: psycopg.Connection[Any], events: Traffic, joined: Iterable[Traffic]) -> None:
    """Compare what came of labelled predictions of a binary model, by the day of both, with the labels themselves.

    Parameters
    ----------
    joined
        The events once for each time some of their labels came, with those.

    Raises
    ------
    WrongAnswerError
        Naming a day and a cell: the true class, the predicted one and the bin of the score.
    """
    profile = _only_profile(connection)
    labels = [(of.labelled, of.label_time_ms, of.label) for of in joined]
    at, label_ms, truth = (np.concatenate(of) for of in zip(*labels, strict=True))
    score = events.score[at]
    shape = len(profile.classes) + 1, len(profile.classes) + 1, _score_bins(profile)
    cells = np.ravel_multi_index(
        (truth, (score >= 0.5).astype(np.int64), np.searchsorted(profile.score_edges, score)), shape
    )
    wanted: dict[tuple[str, int, int], int] = {}
    for kind, time_ms in (("cohort", events.time_ms[at]), ("arrival", label_ms)):
        days, counts = np.unique(np.stack((time_ms // DAY_MS, cells)), axis=1, return_counts=True)
        wanted |= {(kind, day, cell): n for (day, cell), n in zip(days.T.tolist(), counts.tolist(), strict=True)}
    found: dict[tuple[str, int, int], int] = {}
    for kind, start, packed in connection.execute(OUTCOMES).fetchall():
        vector = np.frombuffer(packed, "<i8")[LOSSES_AND_REWARDS:]
        day = int(start.timestamp() * 1000) // DAY_MS
        for cell, n in zip((vector >> COUNT_BITS).tolist(), (vector & (1 << COUNT_BITS) - 1).tolist(), strict=True):
            found[kind, day, cell] = found.get((kind, day, cell), 0) + n
    if wrong := sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)):
        kind, day, cell = wrong[0]
        where = tuple(int(of) for of in np.unravel_index(cell, shape))
        what = f"{len(wrong)} of {len(wanted)} counts of labelled predictions are wrong, such as by {kind} on day {day}"
        raise WrongAnswerError(f"{what}, {where}: {found.get(wrong[0], 0)}, not {wanted.get(wrong[0], 0)}")
