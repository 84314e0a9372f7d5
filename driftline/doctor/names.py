"""Do names go beyond their limits, and is a field the reason that has a new value with every event?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from driftline.doctor import Finding, ok, warn


class _Bound(NamedTuple):
    """A kind of names, which setting bounds it, and what to do."""

    kind: str
    setting: str
    remedy: str


BOUNDS: Mapping[str, _Bound] = {
    "segment_beyond_limit": _Bound(
        "segment values", "limits.segments_max", "take a field with a new value for every event out of `segments`"
    ),
    "version_beyond_limit": _Bound(
        "versions", "limits.versions_max", "let `version` name releases, not builds or hosts"
    ),
    "variant_beyond_limit": _Bound("variants", "limits.versions_max", "let `variant` name arms of an experiment"),
    "class_beyond_limit": _Bound("classes", "limits.classes_max", "see that `prediction` and `label` are classes"),
}
_SHOWN_MAX = 5


def check_names(beyond: Sequence[Any]) -> list[Finding]:
    """Tell which names came when there was no room for any more, and what to do.

    Parameters
    ----------
    beyond
        The most first, with `model`, `reason`, `n` events, and `segments`, how many values each segment field has.
    """
    return [warn("names", told) for told in _told(beyond)] or [ok("names", "all within their limits")]


def _told(beyond: Sequence[Any]) -> Iterator[str]:
    for of in beyond[:_SHOWN_MAX]:
        bound = BOUNDS[of.reason]
        fields = f" ({of.segments})" if of.reason == "segment_beyond_limit" and of.segments else ""
        yield (
            f"{of.model}: {of.n} events came with {bound.kind} beyond {bound.setting} and count as `other`{fields}; "
            f"{bound.remedy}, or raise the limit"
        )
    if len(beyond) > _SHOWN_MAX:
        yield f"and {len(beyond) - _SHOWN_MAX} more; v_counts has them"
