"""What does the policy remember of a model version between two slides, and what counts as evidence?

Everything is bounded and survives the way through JSON unchanged: `from_json(to_json(state)) == state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["traffic", "quality", "drift", "performance"]
KINDS: tuple[Kind, ...] = ("traffic", "quality", "drift", "performance")
"""In the order in which they are told: what else moves may follow from data that are broken."""

Level = Literal["ok", "warning", "drift"]
Severity = Literal["warning", "critical"]

CAUSES_KEPT_MAX = 20
"""How many causes an episode keeps, the clearest."""

NAMES_KEPT_MAX = 200
"""How many features, and how many segments, an episode names."""


class Cause(NamedTuple):
    """What moved in a segment: a feature, perhaps by one check of its quality, or a metric by one of its bases."""

    segment: str
    name: str
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one judged window says of one cause.

    Parameters
    ----------
    start_ms, end_ms
        The window, in event time.
    level
        `drift` also for a metric beyond its floor. Windows that are not ready are no evidence.
    clearness
        How far beyond its threshold, to put the clearest first; compared within one kind only.
    at_once
        Whether it needs no second window: a sequential detector found a change that no window detector watches for.
    changed_ms
        Estimated event time of the change, where a detector says so.
    detail
        The cause as messages show it.
    is_break
        Whether it looks like a broken pipeline: such causes are told first.
    """

    cause: Cause
    start_ms: int
    end_ms: int
    level: Level
    clearness: float
    severity: Severity = "warning"
    at_once: bool = False
    changed_ms: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    is_break: bool = False


@dataclass(frozen=True, slots=True)
class Streak:
    """Disjoint windows in a row that said drift of one cause: how many, from when to when, and the earliest change."""

    n: int
    start_ms: int
    end_ms: int
    changed_ms: int | None


@dataclass(frozen=True, slots=True)
class Episode:
    """An open episode.

    Parameters
    ----------
    window
        (start, end) of the window that opened it; it is open since the end.
    causes
        The clearest evidence of its causes, clearest first, at most `CAUSES_KEPT_MAX`.
    n_causes
        How many causes there are; beyond `CAUSES_KEPT_MAX` only those of one slide are told apart.
    features, segments
        All that moved, sorted, at most `NAMES_KEPT_MAX` each.
    changed_ms
        Estimated event time of the change: what detectors say, else the start of the first window in the row.
    judged_ms
        Newest end of a window that was judged meanwhile.
    digest
        The reference profile.
    """

    kind: Kind
    window: tuple[int, int]
    severity: Severity
    causes: tuple[Evidence, ...]
    n_causes: int
    features: tuple[str, ...]
    segments: tuple[str, ...]
    changed_ms: int
    judged_ms: int
    digest: str
    is_requested: bool = False

    @property
    def opened_ms(self) -> int:
        """Event time since when it is open."""
        return self.window[1]

    @property
    def segment(self) -> str:
        """All traffic, unless it is about segments only: then that of the clearest cause."""
        return "*" if "*" in self.segments else self.causes[0].cause.segment


@dataclass(frozen=True, slots=True)
class KindState:
    """What is remembered of one kind.

    Parameters
    ----------
    streaks
        By cause, while no episode is open.
    calm, calm_end_ms
        How many disjoint calm windows in a row an open episode has seen, and the end of the last.
    closed_ms
        When the last episode closed: windows that began before are its past and open no other.
    """

    streaks: Mapping[Cause, Streak] = field(default_factory=dict)
    episode: Episode | None = None
    calm: int = 0
    calm_end_ms: int | None = None
    closed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the policy remembers of one model version between slides."""

    digest: str | None = None
    drift: KindState = KindState()
    performance: KindState = KindState()
    requested_ms: int | None = None
    quality: KindState = KindState()
    traffic: KindState = KindState()

    def of(self, kind: Kind) -> KindState:
        """Return what is remembered of a kind."""
        return {
            "traffic": self.traffic,
            "quality": self.quality,
            "drift": self.drift,
            "performance": self.performance,
        }[kind]


def to_json(state: PolicyState) -> dict[str, Any]:
    """Return a state as plain lists, dictionaries and numbers.

    Examples
    --------
    >>> from_json(to_json(PolicyState("d", requested_ms=7))) == PolicyState("d", requested_ms=7)
    True
    """
    return {
        "digest": state.digest,
        "requested_ms": state.requested_ms,
        **{kind: _kind_to_json(state.of(kind)) for kind in KINDS},
    }


def _kind_to_json(state: KindState) -> dict[str, Any]:
    return {
        "streaks": [[*cause, *asdict(streak).values()] for cause, streak in sorted(state.streaks.items())],
        "episode": None if state.episode is None else asdict(state.episode),
        "calm": state.calm,
        "calm_end_ms": state.calm_end_ms,
        "closed_ms": state.closed_ms,
    }


def from_json(content: Mapping[str, Any]) -> PolicyState:
    """Return the state that `to_json` was given; one that was stored before a kind was known has nothing of it."""
    kinds = {kind: _kind_from_json(content[kind]) for kind in KINDS if kind in content}
    return PolicyState(content["digest"], requested_ms=content["requested_ms"], **kinds)


def _kind_from_json(content: Mapping[str, Any]) -> KindState:
    streaks = {Cause(*item[:3]): Streak(*item[3:]) for item in content["streaks"]}
    episode = content["episode"] and _episode_from_json(content["episode"])
    return KindState(streaks, episode, content["calm"], content["calm_end_ms"], content["closed_ms"])


def _episode_from_json(content: Mapping[str, Any]) -> Episode:
    causes = tuple(Evidence(**{**item, "cause": Cause(*item["cause"])}) for item in content["causes"])
    lists = {name: tuple(content[name]) for name in ("window", "features", "segments")}
    return Episode(**{**content, **lists, "causes": causes})
