"""Why did a window's features drift? What causes show of it, from the counts that the verdicts were made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from detectors.explain import BINS_TOLD_MAX, moved_bins, pipeline_break
from detectors.summaries import Ints
from streams.panes import PaneLayout
from streams.verdicts import Verdict, reference_counts

BIN_CHARACTERS_MAX = 100
"""Of a bin's name in messages: a category may be a text of any length."""

SHARE_DECIMALS = 6


def explanations(
    vector: Ints, layout: PaneLayout, segment: str | None, verdicts: Iterable[Verdict]
) -> dict[str, Mapping[str, Any]]:
    """Explain the features of a window that drifted.

    Parameters
    ----------
    vector
        int64; the window's merged pane vector.
    segment
        Whose vector it is; None for all traffic.

    Returns
    -------
    By feature: `bins`, those that moved most, and `break` where it looks like a broken pipeline.
    """
    drifted = {verdict.feature for verdict in verdicts if verdict.level == "drift"}
    reference = reference_counts(layout, segment)
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
