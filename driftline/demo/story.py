"""How is what happened told in words? Pure functions of what was seen; times are event time, in days counted from 1.

Invariants: a line that was told once is told the same way again (its key says what it is about); the words are ASCII,
so they can be printed anywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from driftline.demo.findings import Episode, false_alarms, found_by, incident_of
from driftline.demo.receiver import Received
from driftline.demo.seen import Feature, Recall, Retraining, Seen
from driftline.demo.traffic import HOUR_MS, INCIDENTS, Incident

FEATURES_TOLD_MAX = 3
FLOOR = 0.5
"""Recall below which the model is degraded."""

JUDGE_AFTER_MS = 2 * HOUR_MS
"""So long after its end about 9 in 10 of an hour's frauds are known, so it is judged against the floor."""

_VERSION = re.compile(r'\{"version": "([^"]*)"\}')

COOLDOWN = "6h"
"""So much event time lies between two requests to retrain, at least."""

Kind = Literal["script", "FOUND", "over", "retrain", "webhook"]


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened.

    Parameters
    ----------
    key
        What it is about.
    at_ms
        When, counted from the beginning.
    kind
        `script` goes wrong or right again, the rest is what Driftline did about it.
    told_ms
        How late it was when this could be told, for what is about an earlier time.
    """

    key: str
    at_ms: int
    kind: Kind
    text: str
    told_ms: int | None = None

    def __str__(self) -> str:
        """Write it for a terminal that shows lines only."""
        told = "" if self.told_ms is None else f", told at {day_and_time(self.told_ms)}"
        return f"{day_and_time(self.at_ms)}  {self.kind:<8} {self.text}{told}"


def day_and_time(offset_ms: int) -> str:
    """Write event time: the day, counted from 1, and the time of day.

    Examples
    --------
    >>> day_and_time(21 * HOUR_MS), day_and_time(24 * HOUR_MS + 90_000)
    ('day 1 21:00', 'day 2 00:01')
    """
    minutes = offset_ms // 60_000
    return f"day {minutes // 1440 + 1} {minutes // 60 % 24:02}:{minutes % 60:02}"


def going_on(offset_ms: int) -> Incident | None:
    """Return what goes wrong at a time, if anything."""
    return next((of for of in INCIDENTS if of.start_hour * HOUR_MS <= offset_ms < of.end_hour * HOUR_MS), None)


def lines(seen: Seen, start_ms: int, offset_ms: int) -> list[Line]:
    """Tell everything that has happened until now, in the order of event time.

    Parameters
    ----------
    offset_ms
        Now, counted from the beginning; what has no event time of its own happens now.
    """
    told = [*_script(offset_ms)]
    for episode in seen.episodes:
        told += _of_episode(episode, start_ms, offset_ms)
    for retraining in seen.retrainings:
        told += _of_retraining(retraining, seen, start_ms, offset_ms)
    told += [_of_message(message, offset_ms) for message in seen.received]
    return sorted(told, key=lambda line: line.at_ms)


def _script(offset_ms: int) -> Iterator[Line]:
    for of in INCIDENTS:
        if offset_ms >= of.start_hour * HOUR_MS:
            yield Line(f"script {of.name}", of.start_hour * HOUR_MS, "script", of.told)
        if offset_ms >= of.end_hour * HOUR_MS:
            yield Line(f"end of {of.name}", of.end_hour * HOUR_MS, "script", of.told_over)


def _of_episode(episode: Episode, start_ms: int, offset_ms: int) -> Iterator[Line]:
    opened_ms = episode.opened_ms - start_ms
    yield Line(f"found {episode.episode_id}", opened_ms, "FOUND", episode.told, offset_ms)
    if episode.closed_ms is not None:
        text = f"the {episode.word} of {day_and_time(opened_ms)} is over"
        yield Line(f"over {episode.episode_id}", episode.closed_ms - start_ms, "over", text, offset_ms)


def _of_retraining(of: Retraining, seen: Seen, start_ms: int, offset_ms: int) -> Iterator[Line]:
    because = next((episode for episode in seen.episodes if episode.episode_id == of.episode_id), None)
    what = f"the {because.word} of {day_and_time(because.opened_ms - start_ms)}" if because else "an episode"
    yield Line(f"request {of.request_id}", of.requested_ms - start_ms, "retrain", f"requested for {what}", offset_ms)
    if of.finished_ms is not None:
        yield Line(f"finished {of.request_id}", offset_ms, "retrain", f"{what}: {outcome_of(of)}")


def outcome_of(of: Retraining) -> str:
    """Say how far a retraining is, and what came of it.

    Examples
    --------
    >>> outcome_of(Retraining("id", "episode", "succeeded", 0, 1, '{"version": "v2"}'))
    'succeeded, version v2'
    >>> outcome_of(Retraining("id", "episode", "failed", 0, 1, "no data"))
    'failed: no data'
    """
    version = _VERSION.fullmatch(of.outcome or "")
    if version:
        return f"{of.state}, version {version[1]}"
    return of.state + (f": {of.outcome}" if of.outcome else "")


def _of_message(message: Received, offset_ms: int) -> Line:
    verdict = "signature verified" if message.is_signed else "SIGNATURE WRONG, not believed"
    return Line(f"webhook {message.event_id}", offset_ms, "webhook", f"{message.type} received, {verdict}")


def status(seen: Seen, start_ms: int, offset_ms: int) -> str:
    """Write how things are, for a terminal that shows lines only."""
    told = f"{day_and_time(offset_ms)}  status   {seen.predictions:,} predictions, {seen.labels_joined:,} labels joined"
    if seen.features:
        told += "; nearest to drift: " + ", ".join(map(feature_told, seen.features[:FEATURES_TOLD_MAX]))
    newest = next((of for of in seen.recalls if of.value is not None and is_mature(of, seen)), None)
    if newest is not None:
        hour = day_and_time(newest.start_ms - start_ms)
        told += f"\n{' ' * 22}payments from {hour} on: {recall_told(newest, seen)}"
    return told


def feature_told(of: Feature) -> str:
    """Write a score beside its threshold.

    Examples
    --------
    >>> feature_told(Feature("amount", "psi", 0.281, 0.1, "drift"))
    'amount 0.28 >= 0.10'
    """
    return f"{of.name} {of.score:.2f} {'>=' if of.score >= of.threshold else '<'} {of.threshold:.2f}"


def percent(share: float) -> str:
    """Write a share so that only all of it is 100 %.

    Examples
    --------
    >>> percent(0.996), percent(1.0)
    ('99%', '100%')
    """
    return f"{math.floor(100 * share)}%"


def is_mature(of: Recall, seen: Seen) -> bool:
    """Whether enough labels had time to come."""
    return seen.closed_through_ms is not None and of.end_ms + JUDGE_AFTER_MS <= seen.closed_through_ms


def recall_told(of: Recall, seen: Seen) -> str:
    """Write recall with its interval, its maturity and what the floor says of it."""
    if of.value is None or of.low is None or of.high is None:
        return f"recall unknown, {percent(of.coverage)} of labels in"
    verdict = ("BELOW" if of.value < FLOOR else "above") + f" its floor {FLOOR:.2f}"
    judged = verdict if is_mature(of, seen) else f"judged {JUDGE_AFTER_MS // HOUR_MS} h after the hour's end"
    return f"recall {of.value:.2f} [{of.low:.2f}, {of.high:.2f}], {percent(of.coverage)} of labels in, {judged}"


def ending(seen: Seen, start_ms: int, *, kept: bool) -> list[str]:
    """Tell what went wrong, what was found of it, and what one would do now.

    Parameters
    ----------
    kept
        Whether the results stay where they can be looked at.
    """
    told = ["", "What went wrong, what was found, and what you would do", ""]
    for number, incident in enumerate(INCIDENTS, 1):
        begins, ends = (day_and_time(hour * HOUR_MS) for hour in (incident.start_hour, incident.end_hour))
        told += [f"{number}. {incident.told}", f"   script    {begins} to {ends}, called `{incident.name}`"]
        if found_by(incident, start_ms, seen.episodes) is None:
            told.append("   MISSED")
        for episode in (of for of in seen.episodes if incident_of(of, start_ms) is incident):
            told += _of_ending(episode, incident, seen, start_ms)
        told += [f"   to do     {incident.advice}", ""]
    alarms = false_alarms(start_ms, seen.episodes)
    told.append(f"False alarms (episodes that nothing in the script explains): {len(alarms)}")
    told += [f"   {day_and_time(of.opened_ms - start_ms)}  {of.told}" for of in alarms]
    told.append(f"The webhook received {len(seen.received)} messages; {seen.verified} signatures were verified.")
    later = WORDS_LATER if any(is_later(of, start_ms) for of in seen.episodes) else ()
    return [*told, "", *WORDS, *later, "", *(NEXT_KEPT if kept else ()), *NEXT]


def is_later(episode: Episode, start_ms: int) -> bool:
    """Whether an episode opened only when what explains it was over."""
    incident = incident_of(episode, start_ms)
    return incident is not None and episode.opened_ms - start_ms > incident.end_hour * HOUR_MS


def _of_ending(episode: Episode, incident: Incident, seen: Seen, start_ms: int) -> Iterator[str]:
    opened_ms = episode.opened_ms - start_ms
    closed = "still open" if episode.closed_ms is None else f"to {day_and_time(episode.closed_ms - start_ms)}"
    hours = opened_ms / HOUR_MS - incident.start_hour
    label = "later" if is_later(episode, start_ms) else "found"
    yield f"   {label:<9} {day_and_time(opened_ms)} {closed}, {hours:.0f} h after it began"
    yield f"             {episode.told}"
    if episode.worst is not None:
        yield f"             at its clearest {episode.worst}"
    requests = [f"{STAND_IN}: {outcome_of(of)}" for of in seen.retrainings if of.episode_id == episode.episode_id]
    for told in requests or [f"retraining not asked for, less than {COOLDOWN} after the last"]:
        yield f"             {told}"


STAND_IN = "retraining (trains nothing here)"
WORDS = (
    "psi compares an hour with the reference, adwin sees changes on the way.",
    "@ marks what is watched beside the features.",
)
WORDS_LATER = (
    "An episode may open when an incident is over: labels come late, and the way back",
    "to normal is a change, too.",
)
NEXT_KEPT = (
    "The results stay in your database: views v_drift, v_performance, v_episodes and",
    "v_events of schema driftline.",
    "",
)
NEXT = (
    "Your own model next:",
    "   driftline init FILE           a first configuration (docs/ten-minutes.md)",
    "   driftline replay              what would have been found in the past",
    "   driftline run                 watch the live topics",
    "   driftline episodes list|ack   what is wrong now, and who has seen it",
    "   driftline reference accept    this is the new normal",
    "",
)
