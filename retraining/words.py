"""How are an episode's causes and times said to a person? Pure functions of what is stored.

Invariants: a text is one line; a cause that lacks a number is told without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from retraining.episodes import SHORT_ID_DIGITS, cause_shown, episode_id
from retraining.messages import Subject
from retraining.policy import Changed, Closed, Decision, Opened, Requested

OWN_SERIES = {"@prediction": "the predictions", "@score": "the scores", "@error": "the errors"}
BREAKS = {
    "missing": "values are missing",
    "unseen": "values never seen before",
    "unit": "values in another unit",
    "constant": "one value only",
}
ODDITIES = {
    "missing": "missing",
    "unseen": "never seen before",
    "range": "outside of the range",
    "type": "of a wrong type",
}
COUNTED = {"traffic.volume": "predictions", "traffic.labels": "labels arrived"}
DAY_MS = 86_400_000
ALL_TRAFFIC = ("*", None)
DECISIONS_TOLD_MAX, DECISION_CHARACTERS_MAX = 50, 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_in_words(ms: int) -> str:
    """Write a time in UTC, as every `--from` and `--to` reads it; seconds only where there are any.

    Examples
    --------
    >>> time_in_words(1_451_606_400_000), time_in_words(1_451_606_401_500)
    ('2016-01-01T00:00Z', '2016-01-01T00:00:01.500Z')
    """
    at = (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=None)
    precision = "milliseconds" if ms % 1000 else "seconds" if ms % 60_000 else "minutes"
    return f"{at.isoformat(timespec=precision)}Z"


def cause_in_words(cause: Mapping[str, Any]) -> str:
    """Say what drifted or which floor is broken, and by how much.

    Parameters
    ----------
    cause
        As messages carry them: of drift with `feature`, `detector`, `score`, `threshold`; of performance with `metric`,
        `basis`, `value`, `floor`; both with `segment`.

    Examples
    --------
    >>> cause_in_words({"segment": "*", "feature": "age", "detector": "psi", "score": 0.312, "threshold": 0.1})
    'age (psi 0.31, drift from 0.1)'
    >>> cause_in_words({"segment": "sex=f", "metric": "recall", "basis": "cohort", "value": 0.61, "floor": 0.75})
    'recall of sex=f (cohort 0.61, floor 0.75)'
    >>> by = {"by": "features", "inputs": -0.12, "relation": 0.001, "parts": [{"feature": "age", "inputs": -0.11}]}
    >>> score = {"by": "score", "inputs": 0.0, "relation": -0.119}
    >>> cause_in_words({"metric": "recall", "basis": "cohort", "value": 0.61, "floor": 0.75, "because": [score, by]})
    'recall (cohort 0.61, floor 0.75): other inputs -0.12, other answers +0.001, age -0.11'
    >>> of = {"because": [score], "features_unknown": "no labels"}
    >>> cause_in_words({"metric": "recall", "basis": "cohort", "value": 0.61, "floor": 0.75, **of})
    'recall (cohort 0.61, floor 0.75): other inputs +0.00, other answers -0.12; by feature not known: no labels'
    >>> moved = {"bin": "missing", "reference_share": 0.0, "current_share": 0.95}
    >>> cause_in_words({"feature": "age", "bins": [moved], "break": "missing"})
    'age: broken pipeline? values are missing (missing 0.0% -> 95.0%)'
    >>> shares = {"reference_share": 0.02, "current_share": 0.41}
    >>> cause_in_words({"segment": "*", "feature": "age", "detector": "quality.missing", **shares})
    'age: 41.0% missing, reference 2.0%'
    >>> shares = {"reference_share": 0.0, "current_share": 0.97}
    >>> cause_in_words({"segment": "*", "feature": "plan", "detector": "traffic.new_features", **shares})
    'new feature plan: 97.0% of the predictions carry it, before 0.0%'
    >>> cause_in_words({"feature": "@traffic", "detector": "traffic.volume", "n_current": 0, "expected": 1043})
    '0 predictions, expected 1043'
    """
    segment = cause.get("segment")
    of = "" if segment in ALL_TRAFFIC else f" of {segment}"
    if "metric" in cause:
        numbers = _numbers((cause.get("basis", "value"), cause.get("value")), ("floor", cause.get("floor")))
        return f"{cause['metric']}{of}{numbers}{_why_worse(cause)}"
    if (told := _traffic(cause)) is not None:
        return told
    if (check := str(cause.get("detector")).partition("quality.")[2]) in ODDITIES:
        now, before = (f"{cause.get(share, 0):.1%}" for share in ("current_share", "reference_share"))
        gone = "vanished, " if check == "missing" and cause.get("current_share") == 1 else ""
        feature = _series(str(cause.get("feature", "something")))
        return f"{feature}{of}: {gone}{now} {ODDITIES[check]}, reference {before}"
    numbers = _numbers((cause.get("detector", "score"), cause.get("score")), ("drift from", cause.get("threshold")))
    return f"{_series(str(cause.get('feature', 'something')))}{of}{numbers}{_why(cause)}"


def _why_worse(cause: Mapping[str, Any]) -> str:
    """Say whether other inputs or other answers made a metric worse, which part did most, and what is broken."""
    because = cause.get("because", ())
    told = ""
    if because:
        # What can be put down to inputs by any of them is no change of the answers.
        best = min(because, key=lambda of: abs(of["relation"]))
        told = f": other inputs {_signed(best['inputs'])}, other answers {_signed(best['relation'])}"
        if best.get("broken"):
            told += f", broken pipelines {_signed(best['broken'])}"
        parts = best.get("parts") or [part for of in because for part in of.get("parts", ())]
        most = max(parts, key=_part_did, default=None)
        if most is not None:
            named = most["segment"] if "segment" in most else most["feature"]
            told += f", {named} {_signed(most['inputs'] + most.get('relation', 0.0))}"
        if unknown := cause.get("features_unknown"):
            told += f"; by feature not known: {unknown}"
    breaks = cause.get("breaks", ())
    return f"{told}; broken pipeline? {', '.join(breaks[:3])}" if breaks else told


def _why(cause: Mapping[str, Any]) -> str:
    """Say which broken pipeline a drift looks like, else which bin moved most."""
    moved = next((of for of in cause.get("bins", ()) if "bin" in of), None)
    told = "" if moved is None else f"{moved['bin']} {moved['reference_share']:.1%} -> {moved['current_share']:.1%}"
    if "break" in cause:
        return f": broken pipeline? {BREAKS.get(cause['break'], cause['break'])}{told and f' ({told})'}"
    return told and f": {told}"


def _traffic(cause: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the traffic, if that is what a cause is about."""
    detector, n, expected = cause.get("detector"), cause.get("n_current", 0), cause.get("expected", 0.0)
    if detector == "traffic.model":
        return f"no new version for {cause.get('score', 0.0) / DAY_MS:.1f} days"
    if detector in ("traffic.duplicates", "traffic.new_features"):
        now, before = (f"{cause.get(share, 0):.1%}" for share in ("current_share", "reference_share"))
        what = "" if detector == "traffic.duplicates" else f"new feature {cause.get('feature')}: "
        return f"{what}{now} of the predictions {'carry it' if what else 'came twice'}, before {before}"
    if detector not in COUNTED:
        return None
    return f"{n} {COUNTED[detector]}, expected {expected:.0f}"


def _series(feature: str) -> str:
    own, _, true_class = feature.partition(".")
    if own not in OWN_SERIES:
        return feature
    return f"{OWN_SERIES[own]} on class {true_class}" if true_class else OWN_SERIES[own]


def _numbers(*named: tuple[str, Any]) -> str:
    told = [
        f"{name} {value:.2g}" if abs(value) < 1 else f"{name} {value:.4g}" for name, value in named if value is not None
    ]
    return f" ({', '.join(told)})" if told else ""


def _part_did(part: Mapping[str, Any]) -> float:
    return abs(float(part["inputs"] + part.get("relation", 0.0)))


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.01 or not value else f"{value:+.1g}"


def retraining_in_words(state: str, outcome: str | None) -> str:
    """Say how a retraining stands; of an outcome that is JSON with a version, as ours are, only the version.

    Examples
    --------
    >>> retraining_in_words("started", None), retraining_in_words("succeeded", '{"version": "8"}')
    ('started', 'succeeded: version 8')
    >>> retraining_in_words("failed", "ended with exit code 1")
    'failed: ended with exit code 1'
    """
    if not outcome:
        return state
    try:
        version = json.loads(outcome)["version"]
    except (ValueError, TypeError, LookupError, RecursionError):  # a line for people
        return f"{state}: {outcome}"
    return f"{state}: version {version}"


def causes_in_words(causes: Sequence[Mapping[str, Any]], causes_max: int = 3) -> list[str]:
    """Say the first causes, which are the clearest, and how many more there are; one line each.

    Examples
    --------
    >>> causes_in_words([{"feature": "age"}, {"feature": "city"}, {"feature": "@score"}], 2)
    ['age', 'city', 'and 1 more']
    """
    told = [cause_in_words(cause) for cause in causes[:causes_max]]
    return [*told, f"and {len(causes) - causes_max} more"] if len(causes) > causes_max else told


def decisions_in_words(decided: Iterable[tuple[Subject, Decision]], lines_max: int = DECISIONS_TOLD_MAX) -> list[str]:
    """Say which episodes began, ended or asked for a retraining, and why; a line each, and how many more there are."""
    told = [(subject, decision) for subject, decision in decided if not isinstance(decision, Changed)]
    lines = [_decision(subject, decision) for subject, decision in told[:lines_max]]
    more = len(told) - lines_max
    return [*lines, f"and {more} more: `driftline episodes list --all` shows them"] if more > 0 else lines


def _decision(subject: Subject, decision: Opened | Closed | Requested) -> str:
    """Write a printable line: versions and segments come from events."""
    match decision:
        case Opened():
            what = f"opened, {decision.episode.severity}"
        case Closed():
            what = f"closed, {decision.closed_as}"
        case Requested():
            what = "asks for a retraining"
    episode = decision.episode
    short_id = episode_id(subject, episode).hex[:SHORT_ID_DIGITS]
    why = cause_in_words(cause_shown(episode.causes[0]))
    line = f"{subject.model} {subject.version}: {episode.kind} episode {short_id} {what}: {why}"
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return printable[:DECISION_CHARACTERS_MAX]
