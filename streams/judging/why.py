"""Why did a window's features drift, or a metric fall? What causes show of it, from counts alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from detectors.metrics.decomposition import Decomposition, decompose
from detectors.reference.effects import Sum, explained_by_inputs
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
    before: Mapping[str, Floats],
    after: Mapping[str, Floats],
    segments: Sequence[str],
    ratio: Ratio,
    by_feature: Mapping[str, float] | str,
    breaks: Collection[str] = (),
) -> dict[str, Any]:
    """Explain the change of a metric, by stretches of the score, by each kind of segment and by features.

    Parameters
    ----------
    before, after
        By segment (`*` for all traffic), numerator and denominator of the metric, see `labels_join.terms.terms`.
    segments
        The kinds of segments, such as `SEX`.
    ratio
        How the metric follows from them. The change of a root is that of what it is the root of, over the sum of both
        roots, so its parts add up, too.
    by_feature
        What the inputs of each feature did to the ratio, see `inputs_by_feature`, or why that is not known.
    breaks
        The features that look like broken pipelines.

    Returns
    -------
    Nothing where one side has no denominator; else `baseline`, the value before; `change`; and `because`, of the score
    (if the metric is known by score) and of each kind of segment, what other inputs (`inputs`) and other answers
    (`relation`) did, which add up to the change, and the segments that did most; and of features the same, with what
    broken pipelines did (`broken`) told apart from other inputs, or `features_unknown`, why not.
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
    why = {"baseline": baseline, "change": value - baseline, "because": because}
    if isinstance(by_feature, str):
        return {**why, "features_unknown": by_feature}
    because.append(_of_features({name: factor * of for name, of in by_feature.items()}, breaks, value - baseline))
    return why


def _of_features(did: Mapping[str, float], breaks: Collection[str], change: float) -> dict[str, Any]:
    broken = sum(of for name, of in did.items() if name in breaks)
    inputs = sum(of for name, of in did.items() if name not in breaks)
    told = sorted(did, key=lambda name: (-abs(did[name]), name))[:PARTS_TOLD_MAX]
    parts = [{"feature": name, "inputs": did[name]} for name in told]
    return {"by": "features", "inputs": inputs, "broken": broken, "relation": change - inputs - broken, "parts": parts}


def inputs_by_feature(
    layout: PaneLayout, before: Ints, now: Ints, expected: tuple[Sum, Sum] | None
) -> dict[str, float] | str:
    """Say what the inputs of each feature did to the ratio of two sums, or why that is not known.

    Parameters
    ----------
    before, now
        int64 [bins]; how often each bin of all features occurred.
    expected
        What the reference says of the sums, see `labels_join.terms.expected_terms`.
    """
    if expected is None:
        return "the reference keeps nothing of this metric by feature"
    shares = _shares(before, layout.starts), _shares(now, layout.starts)
    if shares[0] is None or shares[1] is None:
        return "no features are known of one of the two stretches"
    found = explained_by_inputs(expected, shares[0], shares[1], layout.starts)
    if found is None:
        return "what comes is too far from the reference"
    own = zip(layout.profile.features, found.tolist(), strict=True)
    return {feature.name: of for feature, of in own if not feature.name.startswith("@")}


def _shares(counts: Ints, starts: Ints) -> Floats | None:
    """Return each bin's share of the rows of its feature, or None where a feature has none."""
    rows = np.add.reduceat(counts, starts[:-1]) if len(counts) else np.zeros(1, np.int64)
    return counts / np.repeat(rows, np.diff(starts)) if rows.all() else None


def _stretches(by_score: Floats) -> Floats:
    """Return the sums of a few stretches of the score, and last of what has no score."""
    scored = np.array_split(by_score[:-1], SCORE_PARTS)
    return np.stack([*(of.sum(axis=0) for of in scored), by_score[-1]])


def _of_all(found: Decomposition) -> dict[str, float]:
    return {"inputs": float(found.mix.sum()), "relation": float(found.rate.sum())}
