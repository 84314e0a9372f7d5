"""From what a closed slide says to what is decided and told: the shell around the policy of each model version.

Everything the policy hears is a function of event time: a slide is heard once, when it is closed, never a restatement;
a cohort window is judged with the first closed slide that ends when it is mature, from the labels that had arrived by
that end, whatever else may be in the store already. So a live stream and its replay decide alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from psycopg.types.json import Jsonb

from detectors.reference.summaries import ALL_TRAFFIC
from driftline.store.connection import Connection, rows, run, timestamp
from labels_join.maturity import (
    Maturity,
    MaturitySpec,
    arrivals_are_whole,
    delay_bucket,
    mature_through_ms,
    maturity_from_json,
    with_delays,
)
from retraining.messages import Subject
from retraining.policy import Decision, Findings, PolicySpec, Slide, decide
from retraining.state import Kind, PolicyState, from_json, to_json
from streams.closing.measure import Measures
from streams.closing.results import JudgedGroup, MeasuredGroup
from streams.deciding.decisions import write_decisions
from streams.deciding.evidence import drift_findings, performance_findings, quality_findings, traffic_findings
from streams.deciding.explaining import Explaining
from streams.judging.spending import NOTHING_SPENT, Spent, spent_on, write_spending
from streams.monitored import ALL_SEGMENTS, MonitoredModel
from streams.panes import PaneLayout
from streams.windows import floor_to, last_end, windows_with

COHORTS_A_SLIDE_MAX = 16
"""How many cohort windows one slide may judge; the others follow with the next slides."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of one version; `maturity` is None for a model without floors."""

    policy: PolicyState
    maturity: Maturity | None

    def to_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"policy": to_json(self.policy), "maturity": self.maturity and self.maturity.to_json()}


_OfGroup = TypeVar("_OfGroup", JudgedGroup, MeasuredGroup)


class Policing:
    """The policies of all versions of one model, for one transaction: loaded once, fed slide by slide, saved once."""

    def __init__(
        self,
        connection: Connection,
        model: MonitoredModel,
        layouts: Mapping[int, tuple[int, PaneLayout]],
        measures: Measures,
    ) -> None:
        self._connection = connection
        self._model = model
        self._layouts = layouts
        self._measures = measures
        self._known: dict[int, Known] = {}
        self._stored: dict[int, Known] = {}
        self._decided: list[tuple[Subject, Decision]] = []
        self._spent: dict[tuple[int, int], Spent] = {}
        settings = model.settings.retraining
        performance = model.settings.performance
        has_floors = performance is not None and bool(performance.floor)
        watched: dict[Kind, bool] = {
            "traffic": bool(model.settings.traffic.checks),
            "quality": bool(model.settings.quality.checks),
            "drift": bool(model.settings.drift.detectors),
            "performance": has_floors,
        }
        self._watched = frozenset(kind for kind, is_watched in watched.items() if is_watched)
        self._spec = PolicySpec(settings.consecutive, settings.cooldown_ms, frozenset(settings.when))

    @classmethod
    async def load(
        cls,
        connection: Connection,
        model: MonitoredModel,
        layouts: Mapping[int, tuple[int, PaneLayout]],
        measures: Measures,
    ) -> Self:
        """Read what is remembered of the versions that have a reference.

        Parameters
        ----------
        layouts
            By version code: the profile in force and its pane layout.
        """
        policing = cls(connection, model, layouts, measures)
        for item in await rows(connection, "policy_states", model_id=model.model_id):
            if item.version in layouts:
                maturity = item.content["maturity"] if "performance" in policing._watched else None
                policing._stored[item.version] = Known(
                    from_json(item.content["policy"]), maturity and maturity_from_json(maturity)
                )
        policing._known = dict(policing._stored)
        return policing

    async def slide_closed(
        self,
        window: tuple[int, int],
        judged: Iterable[JudgedGroup],
        outcomes: Sequence[Any],
        arrivals: Iterable[MeasuredGroup],
        traffic: JudgedGroup | None = None,
    ) -> None:
        """Hear what a closed slide says.

        Parameters
        ----------
        window
            (start, end) of the window that ends with the slide.
        judged
            Drift verdicts on the window, each version's segments.
        outcomes
            Outcome deltas that arrived in the slide; they are in rollups.
        arrivals
            Metrics by arrival of the window.
        traffic
            Verdicts on the traffic of all versions, with the slide that completes a stretch of it.
        """
        judged_of, arrivals_of = _by_version(judged), _by_version(arrivals)
        concerned = self._concerned(traffic)
        traffic_says = self._heard(traffic, window[1])
        versions = sorted({*judged_of, *arrivals_of, *self._known, *concerned} & self._layouts.keys())
        for version in versions:
            known = self._known.get(version, Known(PolicyState(), None))
            if known.maturity is None and "performance" in self._watched:
                first_ms = window[1] - self._model.settings.windows.slide_ms
                known = replace(known, maturity=Maturity(first_ms, first_ms))
            self._known[version] = known
            await self._count_delays(version, outcomes)
        cohorts_of = await self._mature_cohorts(versions, window[1])
        for version in versions:
            measured = [*cohorts_of[version], *arrivals_of[version]]
            findings: dict[Kind, Findings] = {
                "quality": quality_findings(
                    judged_of[version],
                    window,
                    self._segment,
                    self._known[version].policy.quality.streaks,
                ),
                "drift": drift_findings(
                    self._model.settings.drift,
                    judged_of[version],
                    window,
                    self._segment,
                    self._known[version].policy.drift.streaks,
                ),
                "performance": await self._explained(
                    version, self._performance_findings(version, measured, window[1]), judged_of[version], window[1]
                ),
            }
            self._spend(version, window[1], judged_of[version])
            if version in concerned:
                findings["traffic"] = traffic_says
            self._decide(version, window, findings)

    def nothing_came(self, window: tuple[int, int], traffic: JudgedGroup) -> None:
        """Hear what a slide says in whose window nothing is."""
        concerned, says = self._concerned(traffic), self._heard(traffic, window[1])
        for version in concerned:
            self._known.setdefault(version, Known(PolicyState(), None))
            self._decide(version, window, {"traffic": says})

    def _concerned(self, traffic: JudgedGroup | None) -> list[int]:
        """Return the versions that hear of the traffic: that with an open episode of it, else that which most is of."""
        if traffic is None:
            return []
        is_open = [
            version for version, known in sorted(self._known.items()) if known.policy.traffic.episode is not None
        ]
        return is_open or [traffic.group.version]

    def _heard(self, traffic: JudgedGroup | None, end_ms: int) -> Findings:
        if traffic is None:
            return Findings()
        self._spend(traffic.group.version, end_ms, [traffic])
        return traffic_findings(traffic.quality.verdicts, (traffic.start_ms, end_ms))

    async def save(self) -> None:
        """Write what was decided, and what is to be remembered."""
        changed = {version: known for version, known in self._known.items() if known != self._stored.get(version)}
        if changed:
            await run(
                self._connection,
                "save_policy_states",
                model_id=self._model.model_id,
                version=list(changed),
                content=[Jsonb(known.to_json()) for known in changed.values()],
            )
        await write_spending(self._connection, self._model, self._spent)
        await write_decisions(self._connection, self._model.model_id, self._decided)

    @property
    def decided(self) -> tuple[tuple[Subject, Decision], ...]:
        """What was decided, of whom, in order."""
        return tuple(self._decided)

    def _spend(self, version: int, end_ms: int, judged: Iterable[JudgedGroup]) -> None:
        """Count what a version's window costs of the false-alarm budget."""
        period = version, floor_to(end_ms - 1, self._model.settings.alarms.per_ms)
        self._spent[period] = self._spent.get(period, NOTHING_SPENT) + spent_on(judged)

    def _segment(self, code: int) -> str:
        return self._model.segment_name(code) or ALL_SEGMENTS

    def _decide(self, version: int, window: tuple[int, int], findings: Mapping[Kind, Findings]) -> None:
        known, digest = self._known[version], self._layouts[version][1].profile.digest
        policy, decisions = decide(self._spec, known.policy, Slide(*window, digest, findings, self._watched))
        self._known[version] = replace(known, policy=policy)
        self._decided += [(self._subject(version), decision) for decision in decisions]

    def _subject(self, version: int) -> Subject:
        settings, topics = self._model.settings.retraining, self._model.topics
        return Subject(
            self._model.name,
            self._model.names("version")[version],
            topics.drift,
            topics.retraining,
            settings.registry_uri,
            settings.data_version,
        )

    def _maturity_spec(self, version: int) -> MaturitySpec:
        performance = self._model.settings.performance
        assert performance is not None
        given_ms = performance.judge_after_ms
        if given_ms is None:
            given_ms = self._layouts[version][1].profile.label_delay_p90_ms
        return MaturitySpec(given_ms, self._model.horizon_ms, performance.min_labelled, self._model.grain_ms)

    def _performance_findings(self, version: int, measured: Iterable[MeasuredGroup], end_ms: int) -> Findings:
        maturity = self._known[version].maturity
        is_whole = maturity is not None and arrivals_are_whole(maturity, self._maturity_spec(version), end_ms)
        performance = self._model.settings.performance
        return performance_findings(performance, measured, self._segment, arrivals_are_whole=is_whole)

    async def _explained(
        self, version: int, findings: Findings, judged: Iterable[JudgedGroup], end_ms: int
    ) -> Findings:
        maturity = self._known[version].maturity
        mature_ms = 0 if maturity is None else mature_through_ms(maturity, self._maturity_spec(version), end_ms)
        explaining = Explaining(self._model, self._measures, self._layouts[version][1], version, mature_ms)
        return await explaining.explained(findings, judged)

    async def _count_delays(self, version: int, outcomes: Iterable[Any]) -> None:
        """Count how long the labels took that arrived in a slide."""
        known = self._known[version]
        if known.maturity is None:
            return
        from_grain_ms = self._model.grain_ms - self._model.settings.windows.pane_ms
        alike: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        for delta in outcomes:
            if delta.version == version and delta.segment == ALL_TRAFFIC:
                delay_ms = max(0, delta.arrival_start - delta.cohort_start - from_grain_ms)
                alike[delta.profile_id, delay_bucket(delay_ms)].append(delta.vector)
        delays = [
            (name, bucket, n)
            for (profile_id, bucket), vectors in alike.items()
            for name, n in (await self._measures.labels_by_class(profile_id, vectors)).items()
        ]
        self._known[version] = replace(known, maturity=with_delays(known.maturity, delays))

    async def _mature_cohorts(self, versions: Sequence[int], end_ms: int) -> dict[int, list[MeasuredGroup]]:
        """Measure the cohort windows that are due at the end of a slide and hold anything, by version."""
        due = {version: await self._take_due(version, end_ms) for version in versions}
        windows = sorted({window for of in due.values() for window in of}, key=lambda window: window[1])
        measured = {window: _by_version(await self._measures.closed_cohort(window, end_ms)) for window in windows}
        return {version: [item for window in due[version] for item in measured[window][version]] for version in due}

    async def _take_due(self, version: int, end_ms: int) -> list[tuple[int, int]]:
        """Return the cohort windows of a version that are due, and remember that they are judged."""
        known = self._known[version]
        if known.maturity is None:
            return []
        windows = self._model.settings.windows
        mature_ms = mature_through_ms(known.maturity, self._maturity_spec(version), end_ms)
        through_ms = last_end(mature_ms, windows.length_ms, windows.slide_ms)
        left, is_all = await self._unjudged(version, known.maturity, through_ms)
        due = left[:COHORTS_A_SLIDE_MAX]
        is_all = is_all and len(due) == len(left)
        judged_ms = through_ms if is_all else due[-1][1]
        maturity = replace(known.maturity, judged_through_ms=max(known.maturity.judged_through_ms, judged_ms))
        self._known[version] = replace(known, maturity=maturity)
        return due

    async def _unjudged(self, version: int, maturity: Maturity, through_ms: int) -> tuple[list[tuple[int, int]], bool]:
        """Return the next cohort windows that end by a time and hold anything, and whether those are all."""
        windows = self._model.settings.windows
        after_ms, grain_ms = maturity.judged_through_ms, self._model.grain_ms
        if through_ms <= after_ms:
            return [], True
        grains_max = COHORTS_A_SLIDE_MAX + windows.length_ms // grain_ms
        found = await rows(
            self._connection,
            "cohort_grains",
            model_id=self._model.model_id,
            version=version,
            grains_max=grains_max,
            **{"from": timestamp(after_ms + windows.slide_ms - windows.length_ms), "to": timestamp(through_ms)},
        )
        grains = [item.grain_start for item in found]
        is_all = len(grains) < grains_max
        last_ms = through_ms if is_all else min(through_ms, grains[-1] + grain_ms)
        holding = {
            window
            for ms in grains
            for window in windows_with(ms, windows.length_ms, windows.slide_ms)
            if after_ms < window[1] <= last_ms
        }
        return sorted(holding, key=lambda window: window[1]), is_all


def _by_version(items: Iterable[_OfGroup]) -> Mapping[int, list[_OfGroup]]:
    found: dict[int, list[_OfGroup]] = defaultdict(list)
    for item in items:
        found[item.group.version].append(item)
    return found
