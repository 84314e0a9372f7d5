"""The sequential detectors of a model from window to window: loaded, fed with the panes of closed slides, saved.

They see each pane once, in event time, without late events. A state that was built under another reference profile or
other settings is never continued: with the next window all such states of the model begin anew, which is told.
"""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Self

from detectors.reference.summaries import merge_vectors
from driftline.store.arrays import pg_array, pg_bytea_array
from driftline.store.connection import Connection, rows, run, timestamp
from streams.closing.results import JudgedGroup
from streams.closing.rollups import Group, Kind, RollupStore, counted_in_force
from streams.judging.resets import LeftState, note_reset
from streams.judging.series import Pane, SequentialDetectors, sequential_spec, series_layout
from streams.judging.spending import cut_deltas
from streams.monitored import MonitoredModel
from streams.panes import PaneLayout
from streams.watermarks import BEFORE_ALL_MS

_log = logging.getLogger("driftline.sequence")


class Sequence:
    """All sequential detectors of one model, and how far each version and segment was judged."""

    def __init__(
        self, connection: Connection, model: MonitoredModel, layouts: Mapping[int, tuple[int, PaneLayout]]
    ) -> None:
        self._connection = connection
        self._model = model
        self._layouts = layouts
        self._detectors: dict[Group, SequentialDetectors] = {}
        self._judged_through: dict[Group, int] = {}
        self._stored: dict[Group, Any] = {}
        self._changed: set[Group] = set()
        self._outdated: list[LeftState] = []
        """What was built for another specification or reference, and is begun anew."""

    @classmethod
    async def load(
        cls, connection: Connection, model: MonitoredModel, layouts: Mapping[int, tuple[int, PaneLayout]]
    ) -> Self:
        """Read the states as they were after the last closed window.

        Parameters
        ----------
        layouts
            By version code: the profile in force and its pane layout.
        """
        sequence = cls(connection, model, layouts)
        for item in await rows(connection, "detector_states", model_id=model.model_id):
            group = Group(item.version, item.segment)
            if group.version not in layouts:
                continue
            # What was judged by another reference was judged: it is no new event for this one.
            sequence._judged_through[group] = item.judged_through
            left = LeftState(group, item.seen_through, item.spec, sequence._spec(group))
            if left.was == left.is_now:
                sequence._stored[group] = item
            elif left.detectors:
                sequence._outdated.append(left)
        return sequence

    def judged_through(self, group: Group) -> int:
        """Return the end of the last stretch over which the window statistics of a group were judged."""
        return self._judged_through.get(group, BEFORE_ALL_MS)

    def mark_judged(self, group: Group, end_ms: int) -> None:
        """Remember that a group was judged through a window's end."""
        self._judged_through[group] = end_ms
        self._changed.add(group)

    async def judge(
        self, window: tuple[int, int], panes: Iterable[Any], outcomes: Iterable[Any], store: RollupStore
    ) -> list[JudgedGroup]:
        """Feed the deltas of the slide that closes a window, and return the window's verdicts."""
        # There are thousands of them, so of each no more is made than what is needed to tell them apart.
        parts: dict[tuple[int, int], dict[int, tuple[list[bytes], ...]]] = defaultdict(
            lambda: defaultdict(lambda: ([], []))
        )
        for place, (deltas, start_of) in enumerate(((panes, _PANE_START), (outcomes, _ARRIVAL_START))):
            for delta in counted_in_force(self._layouts, deltas):
                parts[delta.version, delta.segment][start_of(delta)][place].append(delta.vector)
        judged = []
        for group in sorted(Group(*key) for key in parts):
            profile_id, _ = self._layouts[group.version]
            widths = [await store.width(kind, profile_id) for kind in _KINDS]
            merged = [
                Pane(start_ms, *(merge_vectors(*of) if of[0] else None for of in zip(vectors, widths, strict=True)))
                for start_ms, vectors in sorted(parts[group].items())
            ]
            verdicts = self._of(group).judge(merged)
            self._changed.add(group)
            judged.append(JudgedGroup(window[0], group, profile_id, verdicts))
        return judged

    async def save(self, closed_ms: int) -> None:
        """Write the states of the groups that saw a pane or were judged in what is closed through a time."""
        if not self._changed:
            return
        groups = sorted({*self._changed, *(state.group for state in self._outdated)})
        await run(
            self._connection,
            "save_detector_states",
            model_id=self._model.model_id,
            version=pg_array("int2", [group.version for group in groups]),
            segment=pg_array("int2", [group.segment for group in groups]),
            profile_id=pg_array("int4", [self._layouts[group.version][0] for group in groups]),
            spec=[self._spec(group) for group in groups],
            seen_through=timestamp(closed_ms),
            judged_through=pg_array("timestamptz", [self.judged_through(group) for group in groups]),
            content=pg_bytea_array([zlib.compress(self._of(group).snapshot(), 1) for group in groups]),
        )
        if self._outdated:
            _log.info("%s: sequential detectors begin anew: their settings or reference changed", self._model.name)
            await note_reset(self._connection, self._model, self._outdated)
            self._outdated.clear()

    def _of(self, group: Group) -> SequentialDetectors:
        if group not in self._detectors:
            stored = self._stored.get(group)
            self._detectors[group] = SequentialDetectors(
                self._layouts[group.version][1],
                self._model.settings.drift,
                deltas=self._deltas(group),
                with_errors=self._model.settings.has_labels,
                snapshot=None if stored is None else zlib.decompress(stored.content),
            )
        return self._detectors[group]

    def _spec(self, group: Group) -> str:
        settings, profile = self._model.settings, self._layouts[group.version][1].profile
        return sequential_spec(profile, settings.drift, deltas=self._deltas(group), with_errors=settings.has_labels)

    def _deltas(self, group: Group) -> dict[str, float]:
        settings, layout = self._model.settings, self._layouts[group.version][1]
        series = series_layout(layout, settings.drift, settings.has_labels)
        return cut_deltas(settings, layout, len(series.owner))


_KINDS: tuple[Kind, Kind] = ("features", "arrival")
_PANE_START, _ARRIVAL_START = attrgetter("pane_start"), attrgetter("arrival_start")
