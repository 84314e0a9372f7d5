"""Why did a window's features drift, or a metric fall? What causes show of it, from counts alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from detectors.metrics.decomposition import Decomposition, decompose
from detectors.reference.summaries import Ints
from detectors.windows.explain import BINS_TOLD_MAX, moved_bins, pipeline_break
from driftline.events import Floats
from labels_join.terms import Ratio
from streams.judging.verdicts import Verdict
from streams.panes import PaneLayout

BIN_CHARACTERS_MAX = 100
"""Of a bin's name in messages: a category may be a text of any length."""

SHARE_DECIMALS = 6


def explanations(
    vector: Ints, layout: PaneLayout, reference: Ints, verdicts: Iterable[Verdict]
) -> dict[str, Mapping[str, Any]]:
    """Explain the features of a window that drifted.

    Parameters
    ----------
    vector
        int64; the window's merged pane vector.
    reference
        int64 [bins]; what the window was compared with.

    Returns
    -------
    By feature: `bins`, those that moved most, and `break` where it looks like a broken pipeline.
    """
    drifted = {verdict.feature for verdict in verdicts if verdict.level == "drift"}
    found: dict[str, Mapping[str, Any]] = {}
    for place, feature in enumerate(layout.profile.features):
        if feature.name not in drifted:
            continue
        bins, at = slice(layout.starts[place], layout.starts[place + 1]), int(layout.sums[place])
        sums = (int(vector[at]), int(vector[at + 1])) if feature.kind == "numeric" else ()
        labels = feature.bin_labels()
        broken = pipeline_break(feature, reference[bins], vector[bins], *sums)
        moved = [
            {
                "bin": labels[of.bin][:BIN_CHARACTERS_MAX],
                "reference_share": round(of.reference_share, SHARE_DECIMALS),
                "current_share": round(of.current_share, SHARE_DECIMALS),
                "contribution": round(of.contribution, SHARE_DECIMALS),
            }
            for of in moved_bins(reference[bins], vector[bins])[:BINS_TOLD_MAX]
        ]
        found[feature.name] = {"bins": moved} | ({} if broken is None else {"break": broken})
    return found


PARTS_TOLD_MAX = 5
"""Of the parts of a metric's change, those that matter most."""

SCORE_PARTS = 10


def performance_why(
    before: Mapping[str, Floats], after: Mapping[str, Floats], segments: Sequence[str], ratio: Ratio
) -> dict[str, Any]:
    """Explain the change of a metric, by stretches of the score and by each kind of segment.

    Parameters
    ----------
    before, after
        By segment (`*` for all traffic), numerator and denominator of the metric, see `labels_join.terms.terms`.
    segments
        The kinds of segments, such as `SEX`.
    ratio
        How the metric follows from them. The change of a root is that of what it is the root of, over the sum of both
        roots, so its parts add up, too.

    Returns
    -------
    Nothing where one side has no denominator; else `baseline`, the value before; `change`; and `because`, of the score
    (if the metric is known by score) and of each kind of segment, what other inputs (`inputs`) and other answers
    (`relation`) did, which add up to the change, and the segments that did most.
    """
    sides = [side.get("*", np.zeros((1, 2))) for side in (before, after)]
    totals = [side.sum(axis=0) for side in sides]
    if not all(of[1] for of in totals):
        return {}
    ratios = [float(of[0] / of[1]) for of in totals]
    baseline, value = (ratio.unit * (math.sqrt(of) if ratio.is_root else of) for of in ratios)
    moved = ratios[1] - ratios[0]
    factor = (value - baseline) / moved if ratio.is_root and moved else ratio.unit

    def split(*parts: Floats) -> Decomposition:
        mix, rate = decompose(*parts)
        return Decomposition(factor * mix, factor * rate)

    because: list[dict[str, Any]] = []
    if len(sides[0]) == len(sides[1]) > 1:
        because.append({"by": "score", **_of_all(split(*(_stretches(side) for side in sides)))})
    for name in segments:
        values = sorted(value for value in {*before, *after} if value.startswith(f"{name}="))
        parts = [
            np.array([side[value].sum(axis=0) if value in side else (0.0, 0.0) for value in values]).reshape(-1, 2)
            for side in (before, after)
        ]
        if not all(of[:, 1].sum() for of in parts):
            continue
        found = split(*parts)
        told = np.argsort(-np.abs(found.mix + found.rate), kind="stable")[:PARTS_TOLD_MAX].tolist()
        each = [
            {"segment": values[at], "inputs": float(found.mix[at]), "relation": float(found.rate[at])} for at in told
        ]
        because.append({"by": name, **_of_all(found), "parts": each})
    return {"baseline": baseline, "change": value - baseline, "because": because}


def _stretches(by_score: Floats) -> Floats:
    """Return the sums of a few stretches of the score, and last of what has no score."""
    scored = np.array_split(by_score[:-1], SCORE_PARTS)
    return np.stack([*(of.sum(axis=0) for of in scored), by_score[-1]])


def _of_all(found: Decomposition) -> dict[str, float]:
    return {"inputs": float(found.mix.sum()), "relation": float(found.rate.sum())}
