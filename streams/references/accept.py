"""A stretch of what was seen becomes the reference: "this is the new normal".

The new profile has the old one's edges, categories, centre and scale, and the counts of the stretch's rollups; so what
was summarised under the old one can be compared with the new one. The steps:

1. **read** the stretch in one snapshot, without a lock: it is closed, only late events can still change it;
2. **put in force** under the model's pane lock alone, so that no writer and no evaluator is half way: what waits in
   open panes, and the rollups that a window still to be closed may reach, go over to the new profile.

Invariants: a window that closes later is judged whole, by the new reference; verdicts that were made stay as they are;
no sequential detector goes on under the new digest, which is part of its spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from psycopg import IsolationLevel

from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC, merge_vectors
from driftline.errors import ConfigurationError
from driftline.settings import ModelSettings
from driftline.store.connection import Connection, bounded, row, rows, run, timestamp
from labels_join.outcomes import outcome_sums
from retraining.by_hand import audit
from retraining.words import time_in_words
from streams.monitored import (
    EVERY_VERSION,
    REST_NAMES,
    MonitoredModel,
    Profiles,
    profile_of_version,
    put_profile_in_force,
)
from streams.panes import NO_PROFILE, pane_layout
from streams.references.stretch import bins_of, changes, profile_of_stretch
from streams.windows import windows_with

LOCK_TIMEOUT_MS = 30_000
"""How long this waits for workers: longer than a stopped one can hold the lock."""

IDLE_IN_TRANSACTION_MS = 5_000
"""How long this, stopped under the lock, can hold workers up."""

STRETCH = "--from, --to"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is to become normal: event time [from_ms, to_ms), of one version or, for None, of all without one's own."""

    version: str | None
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was taken, and what it changed.

    Parameters
    ----------
    reference
        The version whose reference it is now, or `*` for all without one of their own.
    versions
        Whose events were taken.
    from_ms, to_ms
        The stretch in whole grains of windows.
    windows
        Windows that lie in it and hold events.
    changes
        PSI of each feature from the old to the new counts, the largest first.
    in_force_ms
        Windows that end after this are judged by it.
    is_new
        False where this reference was in force already.
    """

    reference: str
    versions: Sequence[str]
    from_ms: int
    to_ms: int
    windows: int
    events: int
    old_digest: str
    new_digest: str
    changes: Sequence[tuple[str, float]]
    in_force_ms: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose reference is to be replaced, and by which events."""

    reference: str
    codes: list[int]
    old_id: int
    accepted_over: int


async def find_model(connection: Connection, name: str, settings: ModelSettings) -> MonitoredModel:
    """Return a model as workers have registered it.

    Raises
    ------
    ConfigurationError
        If no worker ever did.
    """
    found = await row(connection, "known_model", name=name)
    if found is None:
        remedy = "start `driftline run` first, and let it close some windows"
        raise ConfigurationError(f"nothing is stored of model {name}", where="--model", remedy=remedy)
    return MonitoredModel(name, settings, found.model_id, list(found.horizons_s), {})


async def accept_stretch(
    connection: Connection, model: MonitoredModel, stretch: Stretch, by: str, note: str = ""
) -> Accepted:
    """Make a stretch of event time the reference from now on.

    Parameters
    ----------
    by, note
        Who does it and why, for the audit.

    Raises
    ------
    ConfigurationError
        If the stretch is empty, not closed yet, holds too few events or holds such as were counted otherwise, or if the
        version is not known.
    psycopg.errors.LockNotAvailable
        If workers hold the model for too long.
    """
    profiles = Profiles()
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    try:
        async with bounded(connection):
            await model.refresh_names(connection)
            place = await _place(connection, profiles, model, stretch.version)
            old = (await profiles.layout(connection, place.old_id)).profile
            new, accepted = await _read(connection, profiles, model, place, old, stretch)
    finally:
        await connection.set_isolation_level(None)
    if accepted.is_new:
        async with bounded(connection, idle_ms=IDLE_IN_TRANSACTION_MS, lock_ms=LOCK_TIMEOUT_MS):
            await rows(connection, "lock_panes_alone", bucket=model.bucket)
            accepted = replace(accepted, in_force_ms=await _put_in_force(connection, model, place, new))
            await audit(connection, by, "accept_reference", model.name, _audited(accepted, note))
    return accepted


def _audited(accepted: Accepted, note: str) -> dict[str, Any]:
    return {
        "reference": accepted.reference,
        "versions": list(accepted.versions),
        "from": time_in_words(accepted.from_ms),
        "to": time_in_words(accepted.to_ms),
        "events": accepted.events,
        "old_digest": accepted.old_digest,
        "new_digest": accepted.new_digest,
        "note": note,
    }


async def _place(connection: Connection, profiles: Profiles, model: MonitoredModel, version: str | None) -> _Place:
    names = [name for name in model.names("version") if name not in REST_NAMES]
    if version is not None and version not in names:
        near = get_close_matches(version, names, 3) or names[:10]
        remedy = f"there are {', '.join(near)}" if near else "no event has come yet"
        raise ConfigurationError(f"{model.name} has no version {version}", where="--version", remedy=remedy)
    in_force = await profiles.in_force(connection, [model])
    reference = EVERY_VERSION if version is None else version
    own = {*model.settings.versions, *(name for _, name in in_force)}
    chosen = [name for name in names if name not in own] if version is None else [version]
    old_id = profile_of_version(in_force, model, reference)
    if old_id is None:
        with_own = sorted(name for name in names if (model.model_id, name) in in_force)
        remedy = f"name one of {', '.join(with_own)}" if with_own else "it is still being collected"
        raise ConfigurationError(f"{reference} has no reference in force", where="--version", remedy=remedy)
    stands = {item.version: item for item in await rows(connection, "references_of_model", model_id=model.model_id)}
    standing = stands.get(reference, stands.get(EVERY_VERSION))
    assert standing is not None, "a profile in force stands there"
    codes = [model.codes["version"][name] for name in chosen]
    return _Place(reference, codes, old_id, standing.accepted_over)


async def _read(
    connection: Connection,
    profiles: Profiles,
    model: MonitoredModel,
    place: _Place,
    old: Profile,
    stretch: Stretch,
) -> tuple[Profile, Accepted]:
    grain_ms = model.grain_ms
    from_ms, to_ms = -(-stretch.from_ms // grain_ms) * grain_ms, stretch.to_ms // grain_ms * grain_ms
    state = await row(connection, "evaluation_progress", model_id=model.model_id)
    closed_ms = _require_closed(stretch, from_ms, to_ms, None if state is None else state.closed_through)
    within = {
        "model_id": model.model_id,
        "versions": place.codes,
        "from": timestamp(from_ms),
        "to": timestamp(to_ms),
    }
    counted = await rows(connection, "counted_in_stretch", **within)
    whole = [item for item in counted if item.segment == ALL_TRAFFIC]
    if not whole:
        await _refuse_empty(connection, model, from_ms, to_ms)
    await _require_alike(connection, profiles, old, whole)
    events = sum(item.n for item in whole)
    if events < model.settings.windows.min_events:
        what = f"holds {events} events, fewer than windows.min_events, {model.settings.windows.min_events}"
        raise ConfigurationError(what, where=STRETCH, remedy="take a longer stretch")
    layout = pane_layout(old)
    vectors = {}
    for segment in sorted({item.segment for item in counted if item.n}):
        found = await rows(connection, "feature_vectors", **within, segment=segment)
        vectors[segment] = merge_vectors([item.vector for item in found], layout.width)
    outcomes = [] if old.task == "regression" else await _outcomes(connection, profiles, old, within)
    segments = {name: vector for code, vector in vectors.items() if (name := model.segment_name(code)) is not None}
    labelled = merge_vectors(outcomes, outcome_sums(old.task).width)
    new = profile_of_stretch(old, events, vectors[ALL_TRAFFIC], segments, labelled)
    windows = _windows({item.grain_start for item in whole if item.n}, model, from_ms, to_ms)
    names = model.names("version")
    versions = [names[code] for code in place.codes]
    return new, Accepted(
        place.reference,
        versions,
        from_ms,
        to_ms,
        windows,
        events,
        old.digest,
        new.digest,
        changes(old, new),
        closed_ms,
        new.digest != old.digest,
    )


def _require_closed(stretch: Stretch, from_ms: int, to_ms: int, closed_ms: int | None) -> int:
    if stretch.from_ms >= stretch.to_ms:
        what = f"{time_in_words(stretch.from_ms)} is not before {time_in_words(stretch.to_ms)}"
        raise ConfigurationError(what, where=STRETCH)
    if closed_ms is None:
        raise ConfigurationError("no window was closed yet", where=STRETCH, remedy="`driftline doctor` says why")
    if to_ms > closed_ms:
        remedy = f"wait, or use --to {time_in_words(closed_ms)}"
        raise ConfigurationError(
            f"windows are closed up to {time_in_words(closed_ms)} only", where="--to", remedy=remedy
        )
    if from_ms >= to_ms:
        raise ConfigurationError("holds no whole window or slide", where=STRETCH, remedy="take a longer stretch")
    return closed_ms


async def _refuse_empty(connection: Connection, model: MonitoredModel, from_ms: int, to_ms: int) -> None:
    stored = await row(connection, "stored_stretch", model_id=model.model_id)
    remedy = "nothing is stored of this model"
    if stored.earliest is not None:
        remedy = f"stored is {time_in_words(stored.earliest)} to {time_in_words(stored.latest + model.grain_ms)}"
    what = f"no event is stored between {time_in_words(from_ms)} and {time_in_words(to_ms)}"
    raise ConfigurationError(what, where=STRETCH, remedy=remedy)


async def _require_alike(connection: Connection, profiles: Profiles, old: Profile, whole: Sequence[Any]) -> None:
    """Refuse events that were counted in other bins than those of the reference in force."""
    for profile_id in sorted({item.profile_id for item in whole}):
        times = [item.grain_start for item in whole if item.profile_id == profile_id]
        if profile_id == NO_PROFILE:
            why = "are what the present reference itself was made of, and were not summarised"
        elif await _is_alike(connection, profiles, profile_id, old):
            continue
        else:
            why = "were counted in the bins of another reference"
        what = f"its events from {time_in_words(min(times))} to {time_in_words(max(times))} {why}"
        raise ConfigurationError(what, where=STRETCH, remedy="take a stretch without them")


async def _is_alike(connection: Connection, profiles: Profiles, profile_id: int, old: Profile) -> bool:
    return bins_of((await profiles.layout(connection, profile_id)).profile) == bins_of(old)


async def _outcomes(connection: Connection, profiles: Profiles, old: Profile, within: Mapping[str, Any]) -> list[bytes]:
    """Return what is known of the stretch's labels; what was paired in other bins since stays out."""
    found = await rows(connection, "outcome_vectors", **within)
    ids = {item.profile_id for item in found}
    alike = {profile_id for profile_id in ids if await _is_alike(connection, profiles, profile_id, old)}
    return [item.vector for item in found if item.profile_id in alike]


def _windows(grains: set[int], model: MonitoredModel, from_ms: int, to_ms: int) -> int:
    windows = model.settings.windows
    found = {window for ms in grains for window in windows_with(ms, windows.length_ms, windows.slide_ms)}
    return sum(from_ms <= start and end <= to_ms for start, end in found)


async def _put_in_force(connection: Connection, model: MonitoredModel, place: _Place, new: Profile) -> int:
    """Put a profile in the place of another one; the caller holds the pane lock alone. Return from when it judges."""
    in_force = await Profiles().in_force(connection, [model])
    if profile_of_version(in_force, model, place.reference) != place.old_id:
        raise ConfigurationError(
            "another reference was put in force meanwhile", where=model.name, remedy="look at it, then run this again"
        )
    state = await row(connection, "evaluation_progress", model_id=model.model_id)
    profile_id = await put_profile_in_force(connection, model, place.reference, new)
    await run(
        connection,
        "accept_profile",
        model_id=model.model_id,
        version=place.reference,
        profile_id=profile_id,
        accepted_over=place.accepted_over,
    )
    moved = {
        "model_id": model.model_id,
        "versions": place.codes,
        "profile_id": profile_id,
        "old_profile_id": place.old_id,
    }
    await run(connection, "move_panes", **moved)
    await run(connection, "move_outcomes", **moved)
    reach_ms = state.closed_through - model.settings.windows.lookback_max_ms
    await run(connection, "move_rollups", **moved, **{"from": timestamp(reach_ms)})
    closed_ms: int = state.closed_through
    return closed_ms
