"""When does a window's verdict become an episode, and an episode a request to retrain?

The policy of one model version: a pure function from what it remembers and what one closed slide says to what it
remembers next and what is decided. Invariants, whatever the slides:

* of each kind, `traffic`, `quality`, `drift` and `performance`, at most one episode is open; it opens once, closes
  once, and asks at most once for a retraining, one of traffic or quality never;
* nothing asks for a retraining while data are broken: a model that learns from them is worse than an old one;
* only disjoint windows count in a row, so a hopping window never counts what another one counted;
* no two requests lie closer together than the cool-down, in event time;
* what is remembered is bounded, and the same slides in the same order give the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retraining.state import (
    CAUSES_KEPT_MAX,
    KINDS,
    NAMES_KEPT_MAX,
    Cause,
    Episode,
    Evidence,
    Kind,
    KindState,
    PolicyState,
    Severity,
    Streak,
)

ClosedAs = Literal["recovered", "superseded"]

STREAKS_MAX = 1_000
"""How many causes are followed at a time; those longest in a row come first, then all traffic before segments."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a closed slide says of one kind.

    Parameters
    ----------
    evidence
        In the order of the windows' ends; `ok` may be left out for causes that are in no streak.
    judged_ms
        Newest end of a window that was ready, whatever it said; None if none was.
    """

    evidence: Sequence[Evidence] = ()
    judged_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Slide:
    """A closed slide.

    Parameters
    ----------
    start_ms, end_ms
        The window that ends with it.
    digest
        The reference it was compared with.
    watched
        The kinds that the settings let be judged at all.
    """

    start_ms: int
    end_ms: int
    digest: str
    findings: Mapping[Kind, Findings]
    watched: frozenset[Kind] = frozenset(KINDS)


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """When to decide what.

    Parameters
    ----------
    consecutive
        How many disjoint windows in a row open an episode, and close it.
    cooldown_ms
        Least event time from one request to the next.
    when
        Which kinds of episodes ask for a retraining.
    """

    consecutive: int
    cooldown_ms: int
    when: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class Opened:
    """An episode begins."""

    episode: Episode


@dataclass(frozen=True, slots=True)
class Changed:
    """An open episode has more evidence; nobody is told, but the store shows it."""

    episode: Episode


@dataclass(frozen=True, slots=True)
class Closed:
    """An episode ends with a window: calm again, or under another reference or no longer watched from now on."""

    episode: Episode
    window: tuple[int, int]
    closed_as: ClosedAs


@dataclass(frozen=True, slots=True)
class Requested:
    """An episode asks for a retraining."""

    episode: Episode
    window: tuple[int, int]


Decision = Opened | Changed | Closed | Requested


def decide(spec: PolicySpec, state: PolicyState, slide: Slide) -> tuple[PolicyState, list[Decision]]:
    """Take one closed slide into account.

    Parameters
    ----------
    state
        As the call for the slide before returned it; `PolicyState()` at first.

    Returns
    -------
    The next state, and the decisions in the order in which they are to be told.

    Examples
    --------
    >>> spec = PolicySpec(consecutive=2, cooldown_ms=0, when=frozenset({"drift"}))
    >>> def window(start_ms, level):
    ...     found = Evidence(Cause("*", "age"), start_ms, start_ms + 10, level, 2.0)
    ...     return Slide(start_ms, start_ms + 10, "d", {"drift": Findings([found], start_ms + 10)})
    >>> state = PolicyState()
    >>> for number, level in enumerate(["drift", "drift", "drift", "ok", "ok"]):
    ...     state, decisions = decide(spec, state, window(number * 10, level))
    ...     print(level, [type(decision).__name__ for decision in decisions])
    drift []
    drift ['Opened', 'Requested']
    drift []
    ok []
    ok ['Closed']
    """
    decisions: list[Decision] = []
    kinds = {kind: state.of(kind) for kind in KINDS}
    for kind in KINDS:
        if state.digest not in (None, slide.digest) or kind not in slide.watched:
            kinds[kind], decided = _superseded(kinds[kind], slide)
            decisions += decided
    for kind in KINDS:
        kinds[kind], decided = _advanced(spec, kind, kinds[kind], slide)
        decisions += decided
    requested_ms = state.requested_ms
    is_broken = _is_broken(kinds["quality"].episode)
    for kind in KINDS:
        episode = kinds[kind].episode
        if episode is not None and not is_broken and _may_ask(spec, episode, requested_ms, slide.end_ms):
            requested_ms, episode = slide.end_ms, replace(episode, is_requested=True)
            kinds[kind] = replace(kinds[kind], episode=episode)
            decisions.append(Requested(episode, (slide.start_ms, slide.end_ms)))
    return PolicyState(slide.digest, requested_ms=requested_ms, **kinds), decisions


def _superseded(state: KindState, slide: Slide) -> tuple[KindState, list[Decision]]:
    """Begin anew: what was found under another reference, or is watched no more, says nothing of how things are."""
    if state.episode is None:
        return replace(state, streaks={}), []
    return KindState(closed_ms=slide.start_ms), [
        Closed(state.episode, (slide.start_ms, slide.end_ms), "superseded"),
    ]


def _advanced(spec: PolicySpec, kind: Kind, state: KindState, slide: Slide) -> tuple[KindState, list[Decision]]:
    findings = slide.findings.get(kind, Findings())
    if state.episode is None:
        return _before_episode(spec, kind, state, slide, findings)
    return _in_episode(spec, state, state.episode, slide, findings)


def _before_episode(
    spec: PolicySpec, kind: Kind, state: KindState, slide: Slide, findings: Findings
) -> tuple[KindState, list[Decision]]:
    streaks = dict(state.streaks)
    for evidence in findings.evidence:
        if state.closed_ms is not None and evidence.start_ms < state.closed_ms:
            continue
        streak = extended(streaks.pop(evidence.cause, None), evidence, spec.consecutive)
        if streak is not None:
            streaks[evidence.cause] = streak
    alarms = [_with_change(item, streaks.get(item.cause)) for item in _alarms(findings.evidence)]
    ripe = [streaks[of.cause] for of in alarms if of.cause in streaks and streaks[of.cause].n >= spec.consecutive]
    if not ripe:
        return replace(state, streaks=_bounded(streaks)), []
    told = [evidence.changed_ms for evidence in alarms if evidence.changed_ms is not None]
    empty = Episode(
        kind,
        window=(slide.start_ms, slide.end_ms),
        severity="warning",
        causes=(),
        n_causes=0,
        features=(),
        segments=(),
        changed_ms=min(told or [streak.start_ms for streak in ripe]),
        judged_ms=slide.end_ms if findings.judged_ms is None else findings.judged_ms,
        digest=slide.digest,
    )
    episode = _with(empty, alarms)
    return KindState(episode=episode), [Opened(episode)]


def _with_change(evidence: Evidence, streak: Streak | None) -> Evidence:
    """Say when a cause changed, also where a detector said so earlier in the row."""
    told_ms = evidence.changed_ms if streak is None or streak.changed_ms is None else streak.changed_ms
    return replace(evidence, changed_ms=told_ms)


def extended(streak: Streak | None, evidence: Evidence, consecutive: int) -> Streak | None:
    """Return a cause's streak after one more window, or None if it broke.

    Examples
    --------
    >>> window = lambda start_ms, level: Evidence(Cause("*", "age"), start_ms, start_ms + 60, level, 2.0)
    >>> first = extended(None, window(0, "drift"), 3)
    >>> first, extended(first, window(30, "ok"), 3) == first  # it overlaps the first: not counted, whatever it says
    (Streak(n=1, start_ms=0, end_ms=60, changed_ms=None), True)
    >>> extended(first, window(60, "drift"), 3).n, extended(first, window(60, "warning"), 3)
    (2, None)
    """
    at_once = evidence.at_once and evidence.level == "drift"
    if streak is not None and evidence.start_ms < streak.end_ms and not at_once:
        return streak
    if evidence.level != "drift":
        return None
    n = 1 if streak is None else streak.n + 1
    start_ms, before_ms = (evidence.start_ms, None) if streak is None else (streak.start_ms, streak.changed_ms)
    told = [ms for ms in (evidence.changed_ms, before_ms) if ms is not None]
    return Streak(max(n, consecutive) if at_once else n, start_ms, evidence.end_ms, min(told, default=None))


def _bounded(streaks: Mapping[Cause, Streak]) -> dict[Cause, Streak]:
    kept = sorted(streaks.items(), key=lambda item: (-item[1].n, item[0]))
    return dict(kept[:STREAKS_MAX])


def _alarms(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return what is drifting by the newest evidence of each cause."""
    newest = {item.cause: item for item in evidence}
    return [item for item in newest.values() if item.level == "drift"]


def _in_episode(
    spec: PolicySpec, state: KindState, episode: Episode, slide: Slide, findings: Findings
) -> tuple[KindState, list[Decision]]:
    grown = _with(episode, _alarms(findings.evidence))
    if findings.judged_ms is not None and findings.judged_ms > grown.judged_ms:
        grown = replace(grown, judged_ms=findings.judged_ms)
    calm, calm_end_ms = state.calm, state.calm_end_ms
    if any(evidence.level != "ok" for evidence in findings.evidence):
        calm, calm_end_ms = 0, None
    elif findings.judged_ms is not None and (calm_end_ms is None or slide.start_ms >= calm_end_ms):
        calm, calm_end_ms = calm + 1, slide.end_ms
    if calm >= spec.consecutive:
        closed = Closed(grown, (slide.start_ms, slide.end_ms), "recovered")
        return KindState(closed_ms=slide.end_ms), [closed]
    changed: list[Decision] = [] if _shown(grown) == _shown(episode) else [Changed(grown)]
    return KindState(episode=grown, calm=calm, calm_end_ms=calm_end_ms), changed


def _shown(episode: Episode) -> tuple[Severity, tuple[Evidence, ...]]:
    return episode.severity, episode.causes


def _with(episode: Episode, alarms: Sequence[Evidence]) -> Episode:
    """Add evidence to an episode: of each cause the clearest is kept."""
    if not alarms:
        return episode
    clearest = {item.cause: item for item in episode.causes}
    for item in alarms:
        if item.cause not in clearest or _rank(item) < _rank(clearest[item.cause]):
            clearest[item.cause] = item
    ordered = sorted(clearest.values(), key=lambda item: (*_rank(item), item.cause))
    names = {item.cause.name for item in alarms} if episode.kind != "performance" else set()
    return replace(
        episode,
        severity=max(episode.severity, *(item.severity for item in alarms), key=("warning", "critical").index),
        causes=tuple(ordered[:CAUSES_KEPT_MAX]),
        n_causes=max(episode.n_causes, len(clearest)),
        features=tuple(sorted({*episode.features, *names})[:NAMES_KEPT_MAX]),
        segments=tuple(sorted({*episode.segments, *(item.cause.segment for item in alarms)})[:NAMES_KEPT_MAX]),
    )


def _rank(evidence: Evidence) -> tuple[bool, float]:
    """Put broken pipelines first, because what else drifts may follow from them; then what is clearest."""
    return not evidence.is_break, -evidence.clearness


def _is_broken(quality: Episode | None) -> bool:
    """Tell whether data are missing or of a wrong type; what is new or out of range may be how the world is now."""
    return quality is not None and any(cause.is_break for cause in quality.causes)


def _may_ask(spec: PolicySpec, episode: Episode, requested_ms: int | None, now_ms: int) -> bool:
    is_over = requested_ms is None or now_ms - requested_ms >= spec.cooldown_ms
    return episode.kind in spec.when and not episode.is_requested and is_over
