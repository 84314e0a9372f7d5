"""Rollups: what is left of panes when they close, one summary a grain of windows, version and segment.

A rollup is the sum of the deltas that were folded into it; folding late deltas later gives the same rollup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from detectors.reference.summaries import Ints, merge_vectors
from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, rows, run, timestamp
from labels_join.outcomes import outcome_sums
from streams.monitored import MonitoredModel, Profiles
from streams.panes import NO_PROFILE, PaneLayout, widened
from streams.windows import floor_to

Kind = Literal["features", "cohort", "arrival"]


class Group(NamedTuple):
    """Codes of a version and of a segment (or all traffic)."""

    version: int
    segment: int


class RollupKey(NamedTuple):
    """What a rollup is of; `grain_ms` is where its grain of windows starts."""

    kind: Kind
    grain_ms: int
    group: Group
    profile_id: int


class Summary(Protocol):
    """What can be folded: a delta or a rollup."""

    @property
    def n(self) -> int:
        """How many predictions or pairs."""

    @property
    def vector(self) -> bytes:
        """Their sums and counts."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """A merged summary: how many predictions or pairs, and its vector."""

    n: int
    vector: bytes


def counted_in_force(layouts: Mapping[int, tuple[int, PaneLayout]], deltas: Iterable[Any]) -> Iterator[Any]:
    """Yield those deltas that came in time and were counted under the profile in force for their version."""
    in_force = {version: profile_id for version, (profile_id, _) in layouts.items()}
    return (delta for delta in deltas if not delta.late and in_force.get(delta.version) == delta.profile_id)


class RollupStore:
    """Reads and writes the rollups of one model, inside the caller's transaction."""

    def __init__(self, connection: Connection, profiles: Profiles, model: MonitoredModel) -> None:
        self._connection = connection
        self._profiles = profiles
        self._model = model

    async def take(self, statement: Literal["take_panes", "take_outcomes"], from_ms: int, to_ms: int) -> list[Any]:
        """Take the deltas of a stretch of event time out of the store; the caller folds them."""
        found = await rows(
            self._connection,
            statement,
            model_id=self._model.model_id,
            **{"from": timestamp(from_ms), "to": timestamp(to_ms)},
        )
        return [delta._replace(vector=widened(delta.vector)) for delta in found]

    async def n_bins(self, profile_id: int) -> int:
        """Return how many bins all features of a profile have together."""
        if profile_id == NO_PROFILE:
            return 0
        return (await self._profiles.layout(self._connection, profile_id)).n_bins

    async def load(self, kinds: Iterable[Kind], from_ms: int, to_ms: int) -> dict[RollupKey, Rollup]:
        """Return the rollups of a stretch of event time."""
        found = await rows(
            self._connection,
            "rollups",
            model_id=self._model.model_id,
            kinds=list(kinds),
            **{"from": timestamp(from_ms), "to": timestamp(to_ms)},
        )
        return {
            RollupKey(item.kind, item.grain_start, Group(item.version, item.segment), item.profile_id): Rollup(
                item.n, item.vector
            )
            for item in found
        }

    async def count_predictions(self, from_ms: int, to_ms: int) -> dict[Group, int]:
        """Return how many predictions each group has in a stretch of event time, under whatever profile."""
        found = await rows(
            self._connection,
            "count_predictions",
            model_id=self._model.model_id,
            **{"from": timestamp(from_ms), "to": timestamp(to_ms)},
        )
        return {Group(item.version, item.segment): item.n for item in found}

    async def fold(self, panes: Iterable[Any], outcomes: Iterable[Any]) -> None:
        """Add deltas to the rollups they belong to."""
        told: dict[tuple[Kind, int, int, int, int], list[Summary]] = defaultdict(list)

        def add(kind: Kind, start_ms: int, delta: Any) -> None:
            grain_ms = floor_to(start_ms, self._model.grain_ms)
            told[kind, grain_ms, delta.version, delta.segment, delta.profile_id].append(delta)

        for delta in panes:
            add("features", delta.pane_start, delta)
        for delta in outcomes:
            add("arrival", delta.arrival_start, delta)
            add("cohort", delta.cohort_start, delta)
        deltas = {RollupKey(kind, ms, Group(*group), of): parts for (kind, ms, *group, of), parts in told.items()}
        if deltas:
            await self._add_existing(deltas)
            await self._save({key: await self.merge(key, parts) for key, parts in deltas.items()})

    async def _add_existing(self, deltas: Mapping[RollupKey, list[Summary]]) -> None:
        grains: dict[Kind, set[int]] = defaultdict(set)
        for key in deltas:
            grains[key.kind].add(key.grain_ms)
        for kind, starts in grains.items():
            existing = await self.load((kind,), min(starts), max(starts) + 1)
            for key in existing.keys() & deltas.keys():
                deltas[key].append(existing[key])

    async def merge(self, key: RollupKey, parts: Sequence[Summary]) -> Rollup:
        """Add up summaries of one kind and profile."""
        merged = await self.merge_vectors(key.kind, key.profile_id, [part.vector for part in parts])
        return Rollup(sum(part.n for part in parts), merged.tobytes())

    async def merge_vectors(self, kind: Kind, profile_id: int, vectors: list[bytes]) -> Ints:
        """Add up vectors of one kind and profile."""
        if profile_id == NO_PROFILE:
            return merge_vectors([], 0)
        return merge_vectors(vectors, await self.width(kind, profile_id))

    async def width(self, kind: Kind, profile_id: int) -> int:
        """Return how long the dense part of vectors of one kind and profile is."""
        layout = await self._profiles.layout(self._connection, profile_id)
        return layout.width if kind == "features" else outcome_sums(layout.profile.task).width

    async def _save(self, rollups: Mapping[RollupKey, Rollup]) -> None:
        keys = sorted(rollups)
        await run(
            self._connection,
            "save_rollups",
            model_id=self._model.model_id,
            kind=[key.kind for key in keys],
            grain_start=pg_array("timestamptz", [key.grain_ms for key in keys]),
            version=pg_array("int2", [key.group.version for key in keys]),
            segment=pg_array("int2", [key.group.segment for key in keys]),
            profile_id=pg_array("int4", [key.profile_id for key in keys]),
            n=pg_array("int8", [rollups[key].n for key in keys]),
            vector=pg_bytea_array([rollups[key].vector for key in keys]),
        )
