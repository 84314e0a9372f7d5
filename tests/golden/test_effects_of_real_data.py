"""Are falls of accuracy on real data put down to what made them, a feature whose values come otherwise or the labels?

Employment data of 2015, in halves at random: the first one is the reference, from the second one windows are drawn.
Where rows of one value come more often, and nothing else is done, all of the fall is inputs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.reference.profile import Profile
from driftline.settings.models import ModelSettings
from driftline.settings.services import LimitSettings
from labels_join.terms import expected_terms
from streams.judging.why import inputs_by_feature
from streams.panes import pane_layout
from streams.references.reference import profile_from_table

ROWS = 20_000
SETTINGS = {
    "task": "binary",
    "positive_class": 1,
    "reference": {"path": "r.parquet"},
    "columns": {"prediction": "prediction", "score": "predicted_probability", "label": "employed"},
}


@cache
def halves(folder: Path) -> tuple[Profile, dict[str, np.ndarray], np.ndarray]:
    """Freeze the first half; return the bins of the second one by feature, and which of its answers are right."""
    table = pq.read_table(folder / "employment_ma_reference.parquet")
    order = np.random.default_rng(1).permutation(table.num_rows)
    own = {"id", "year", "employed", "prediction", "predicted_probability"}
    features = [
        {"name": name, "type": "numeric" if name == "AGEP" else "categorical"}
        for name in table.column_names
        if name not in own
    ]
    first, rest = (table.take(pa.array(part)) for part in np.array_split(order, 2))
    settings = ModelSettings.model_validate(SETTINGS | {"features": features})
    profile = profile_from_table(first, settings, LimitSettings(), "r.parquet")
    bins = {}
    for feature in profile.features[: len(features)]:
        values = rest[feature.name].to_numpy()
        if feature.kind == "numeric":
            bins[feature.name] = np.searchsorted(feature.edges, values)
        else:
            place = {float(name): at for at, name in enumerate(feature.categories)}
            missing = [feature.missing_index if np.isnan(value) else -1 for value in values.astype(float)]
            known = [place.get(float(value), feature.other_index) for value in values]
            bins[feature.name] = np.where(np.array(missing) >= 0, missing, known)
    return profile, bins, rest["prediction"].to_numpy() == rest["employed"].to_numpy()


def told(profile: Profile, bins: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, float]:
    """Return what is said of drawn rows against all of them; of what the model puts out all is in one bin."""
    n = len(bins["AGEP"])
    of_feature = [(bins.get(feature.name, np.zeros(n, np.int64)), feature.n_bins) for feature in profile.features]
    before, now = (
        np.concatenate([np.bincount(own[of], minlength=n_bins) for own, n_bins in of_feature])
        for of in (np.arange(n), rows)
    )
    found = inputs_by_feature(pane_layout(profile), before, now, expected_terms(profile, "1", "accuracy"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["AGEP", "SCHL", "RELP", "CIT"])
def test_values_that_the_model_is_bad_at_are_named_if_they_make_up_half_of_what_comes(
    shared_data: Path, name: str
) -> None:
    profile, bins, right = halves(shared_data)
    own = bins[name]
    share = np.bincount(own) / len(own)
    worst = min(np.flatnonzero((share > 0.02) & (share < 0.5)), key=lambda at: right[own == at].mean())
    weight = np.where(own == worst, 0.5 / share[worst], 0.5 / (1.0 - share[worst]))
    rows = np.random.default_rng(2).choice(len(own), ROWS, p=weight / weight.sum())
    change = right[rows].mean() - right.mean()

    found = told(profile, bins, rows)

    assert change < -0.03
    assert max(found, key=lambda of: abs(found[of])) == name
    three_standard_errors = 3.0 * right[rows].std() / ROWS**0.5
    assert sum(found.values()) == pytest.approx(change, abs=three_standard_errors)


def test_labels_that_turn_are_no_inputs(shared_data: Path) -> None:
    profile, bins, right = halves(shared_data)
    chance = np.random.default_rng(3)
    rows = chance.choice(len(right), ROWS)
    turned = right[rows] ^ (chance.random(ROWS) < 0.1)

    assert turned.mean() - right.mean() < -0.05
    assert abs(sum(told(profile, bins, rows).values())) < 0.004
