"""Checks of the data and of the traffic while slides close: what they may spend, and what is remembered for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg.types.json import Jsonb

from detectors.reference.summaries import ALL_TRAFFIC, Ints
from driftline.settings import ModelSettings
from driftline.store.connection import Connection, rows, run, the_row, timestamp
from streams.closing.results import JudgedGroup, write_verdicts
from streams.closing.rollups import Group
from streams.deciding.policing import Policing
from streams.judging.extras import Extras, added, extras_from_json, extras_to_json, judge_extras, marked
from streams.judging.quality import NO_CHECKS, Quality, quality_verdicts
from streams.judging.spending import quality_allowance, traffic_allowance
from streams.judging.swings import Swings
from streams.judging.traffic import STRETCHES_MAX, Traffic
from streams.judging.verdicts import Verdict
from streams.monitored import MonitoredModel, count_of_models
from streams.panes import PaneLayout
from streams.watermarks import LATEST_MS
from streams.windows import floor_to


def stretch_of(settings: ModelSettings) -> int:
    """Return the length of the stretches by which traffic is counted: whole slides, as short as may be.

    Examples
    --------
    >>> from driftline.settings import ModelSettings
    >>> stretch_of(ModelSettings.model_validate({"task": "regression", "reference": {"path": "r.csv"}}))
    3600000
    """
    slide_ms = settings.windows.slide_ms
    wanted_ms = max(settings.windows.length_ms, -(-settings.traffic.history_ms // STRETCHES_MAX))
    return -(-wanted_ms // slide_ms) * slide_ms


def quality_of(
    model: MonitoredModel,
    group: Group,
    layout: PaneLayout,
    merged: Ints,
    swings: Swings,
    sizes: tuple[int, int, int],
    *,
    ready: bool,
) -> Quality:
    """Judge the quality of one group's data in a window.

    Parameters
    ----------
    merged
        int64; the window's merged pane vector.
    sizes
        Events of the reference, and of the window; versions in it.
    """
    settings = model.settings
    if not settings.quality.checks:
        return NO_CHECKS
    allowed = quality_allowance(settings, layout, *sizes)
    verdicts, looks = quality_verdicts(
        merged,
        layout,
        settings.quality.effects,
        significance=allowed.significance,
        ready=ready,
        segment=model.segment_name(group.segment),
        dependence=swings.divisors(group, allowed.significance),
    )
    return Quality(verdicts, looks, looks * allowed.expected / len(settings.quality.checks))


class TrafficWatch:
    """What is known of a model's traffic, for one transaction.

    Parameters
    ----------
    layouts
        By version code: the profile in force and its pane layout.
    """

    def __init__(
        self, connection: Connection, model: MonitoredModel, layouts: Mapping[int, tuple[int, PaneLayout]]
    ) -> None:
        self._connection = connection
        self._model = model
        self._layouts = layouts
        self._known = self._stored = Traffic(stretch_of(model.settings))
        self._extras: Extras = {}
        self._stored_extras: Extras = {}
        self._beyond = 0

    async def load(self) -> None:
        """Read what is known; what was counted by stretches of another length is not gone on with."""
        if self._is_watched:
            for item in await rows(self._connection, "traffic", model_id=self._model.model_id):
                stored = Traffic.from_json(item.content)
                if stored.length_ms == self._known.length_ms:
                    self._known = self._stored = stored
                    self._extras = self._stored_extras = extras_from_json(item.extras)

    async def closed(self, slide: tuple[int, int], panes: Iterable[Any], outcomes: Iterable[Any]) -> JudgedGroup | None:
        """Count a slide, and judge the stretch that it completes, if it does; told of the version that most came of."""
        if not self._is_watched:
            return None
        self._known = self._known.after(slide, panes, outcomes, self._model.names("version"))
        settings = self._model.settings
        allowed = traffic_allowance(settings, self._known.length_ms)
        verdicts, looks = self._known.judge(settings.traffic, allowed.significance, has_labels=settings.has_labels)
        self._known = self._known.marked(verdicts)
        of_extras, looks_at_extras = await self._judge_extras(slide[1], allowed.significance)
        verdicts, looks = (*verdicts, *of_extras), looks + looks_at_extras
        version = self._model.codes.get("version", {}).get(self._known.main or "")
        if not verdicts or version is None or version not in self._layouts:
            return None
        checks = Quality(verdicts, looks, looks * allowed.expected / len(settings.traffic.checks))
        profile_id, start_ms = self._layouts[version][0], self._known.growing.start_ms
        return JudgedGroup(start_ms, Group(version, ALL_TRAFFIC), profile_id, (), quality=checks)

    async def _judge_extras(self, end_ms: int, significance: float) -> tuple[tuple[Verdict, ...], int]:
        """Count what came beside the predictions until the slide's end, and judge it as the traffic is."""
        taken = await rows(self._connection, "take_extras", model_id=self._model.model_id, to=timestamp(end_ms))
        found = [(item.pane_start, item.feature, item.n) for item in taken]
        settings, names_max = self._model.settings, self._model.names_max["new_feature"]
        self._extras, beyond = added(self._extras, found, self._known, names_max)
        self._beyond += beyond
        verdicts, looks = judge_extras(
            self._extras,
            self._known,
            settings.traffic,
            significance,
            has_labels=settings.has_labels,
            names_max=names_max,
        )
        self._extras = marked(self._extras, self._known, verdicts)
        return verdicts, looks

    async def is_awaited(self, closed_ms: int, next_ms: int | None, watermark_ms: int) -> bool:
        """Tell whether a slide in whose window nothing is has to be told of.

        Parameters
        ----------
        closed_ms
            Where it begins.
        next_ms
            The next slide with anything, if there is one; after a log's end nothing is missed.
        """
        if not self._is_watched or (next_ms is None and watermark_ms > LATEST_MS):
            return False
        model = self._model
        found = await the_row(self._connection, "latest_rollup", model_id=model.model_id, before=timestamp(closed_ms))
        return found.latest is not None and closed_ms < self._awaited_through(found.latest + model.grain_ms)

    def _awaited_through(self, last_ms: int) -> int:
        """Return until when slides are judged though nothing came since a time: long enough to tell of it."""
        if not self._known.is_known(self._model.settings.traffic.history_ms):
            return last_ms
        length_ms = self._known.length_ms
        return floor_to(last_ms, length_ms) + (self._model.settings.retraining.consecutive + 1) * length_ms

    async def close_empty(self, slide_ms: int, policing: Policing) -> None:
        """Close a slide in whose window nothing is: that is all that there is to tell."""
        windows = self._model.settings.windows
        end_ms = slide_ms + windows.slide_ms
        judged = await self.closed((slide_ms, end_ms), (), ())
        if judged is not None:
            await write_verdicts(self._connection, self._model, end_ms, [judged])
            policing.nothing_came((end_ms - windows.length_ms, end_ms), judged)

    async def save(self) -> None:
        """Write what changed."""
        if (self._known, self._extras) != (self._stored, self._stored_extras):
            content, extras = Jsonb(self._known.to_json()), Jsonb(extras_to_json(self._extras))
            await run(self._connection, "save_traffic", model_id=self._model.model_id, content=content, extras=extras)
        if self._beyond:
            await count_of_models(
                self._connection, [self._model.name], [self._beyond], reason="new_feature_beyond_limit"
            )

    @property
    def _is_watched(self) -> bool:
        return bool(self._model.settings.traffic.checks)
