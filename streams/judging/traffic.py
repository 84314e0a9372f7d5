"""Do a model's predictions and labels still come, as many as at such times before, and of a version that is not stale?

Events are counted by stretches of event time that follow one another; a stretch is judged when the slide closes that
ends it, against those before. What is known is learnt slide by slide, of all versions together: a new one takes over
the traffic of an old one, and nothing has happened. Late events are left out, so live and replay learn the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from detectors.reference.summaries import ALL_TRAFFIC
from detectors.windows.volume import judge_volume
from driftline.settings.quality import TrafficSettings
from streams.judging.verdicts import Verdict
from streams.windows import floor_to

STRETCHES_MAX = 168
"""How many stretches are remembered: those of a week, when each is an hour."""

ODD_SHARE_MAX = 0.25
"""Of the stretches that are remembered: where more were odd, that is how things are now."""

VOLUME, LABELS, MODEL = "traffic.volume", "traffic.labels", "traffic.model"
ALL_PREDICTIONS = "@traffic"
"""In the place of a feature, where all predictions are looked at."""

SUBJECTS = {VOLUME: ALL_PREDICTIONS, LABELS: "@labels", MODEL: "@version"}
"""What each check looks at, in the place of a feature."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Of a stretch: predictions, labels as they arrived, how long these took altogether; and which checks it failed."""

    start_ms: int
    predictions: int = 0
    labels: int = 0
    delays_ms: int = 0
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is remembered of a model's traffic.

    Parameters
    ----------
    length_ms
        Of a stretch.
    through_ms
        End of the last slide that was counted; None before the first.
    is_whole
        Whether the stretch that is being counted was seen from its beginning.
    past
        Stretches that are over, oldest first.
    versions
        When each version's first prediction was made, to a pane.
    main
        The version with most predictions in the last stretch that had any: verdicts are told of it.
    of_versions
        Predictions of the growing stretch by version.
    """

    length_ms: int
    through_ms: int | None = None
    is_whole: bool = False
    growing: Counted = Counted(0)
    past: tuple[Counted, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    main: str | None = None
    of_versions: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        growing, *past = (Counted(**{**of, "odd": tuple(of["odd"])}) for of in (content["growing"], *content["past"]))
        counted = {"growing": growing, "past": tuple(past)}
        return cls(**{**content, **counted})

    def after(self, slide: tuple[int, int], panes: Iterable[Any], outcomes: Iterable[Any], names: list[str]) -> Traffic:
        """Count one more slide; slides in between that are not told of held nothing.

        Parameters
        ----------
        panes, outcomes
            The slide's deltas.
        names
            The versions by their codes.
        """
        start_ms = floor_to(slide[0], self.length_ms)
        before = self if self.through_ms is not None and start_ms == self.growing.start_ms else self._begun(start_ms)
        n_of: Counter[str] = Counter(before.of_versions)
        versions = dict(before.versions)
        predictions, labels, delays_ms = 0, 0, 0
        for delta in panes:
            if delta.segment == ALL_TRAFFIC and not delta.late and delta.n:
                name = names[delta.version]
                predictions += delta.n
                n_of[name] += delta.n
                versions[name] = min(versions.get(name, delta.pane_start), delta.pane_start)
        for delta in outcomes:
            if delta.segment == ALL_TRAFFIC and not delta.late:
                labels += delta.n
                delays_ms += delta.n * max(0, delta.arrival_start - delta.cohort_start)
        of = before.growing
        growing = Counted(start_ms, of.predictions + predictions, of.labels + labels, of.delays_ms + delays_ms)
        main = max(sorted(n_of), key=lambda name: n_of[name]) if n_of else before.main
        return replace(
            before, through_ms=slide[1], growing=growing, versions=versions, main=main, of_versions=dict(n_of)
        )

    def _begun(self, start_ms: int) -> Traffic:
        """Begin a stretch; the one before is remembered if all of it was seen."""
        is_over = self.through_ms == self.growing.start_ms + self.length_ms
        past = (*self.past, self.growing) if is_over and self.is_whole else self.past
        return replace(
            self,
            is_whole=self.through_ms is not None,  # of the very first it is not known when events began
            growing=Counted(start_ms),
            past=past[-STRETCHES_MAX:],
            of_versions={},
        )

    def is_known(self, history_ms: int) -> bool:
        """Tell whether enough is known for a verdict."""
        return bool(self.past) and self.growing.start_ms - self.past[0].start_ms >= history_ms - self.length_ms

    def is_ready(self, history_ms: int) -> bool:
        """Tell whether a stretch was just completed, all of it was seen, and enough is known to judge it."""
        is_complete = self.through_ms == self.growing.start_ms + self.length_ms
        return is_complete and self.is_whole and self.is_known(history_ms)

    def judge(
        self, settings: TrafficSettings, significance: float, *, has_labels: bool
    ) -> tuple[tuple[Verdict, ...], int]:
        """Judge the stretch that was just completed, if one was.

        Returns
        -------
        Verdicts, and how many tests they took.
        """
        found: list[Verdict] = []
        now, end_ms = self.growing, self.growing.start_ms + self.length_ms
        if self.through_ms != end_ms:
            return (), 0
        if "model" in settings.checks and settings.model_age_max_ms is not None and self.versions:
            born_ms = max(self.versions.values())
            age_ms, most_ms = end_ms - born_ms, settings.model_age_max_ms
            level = "drift" if age_ms >= most_ms else "ok"
            n = now.predictions
            found.append(_verdict(MODEL, float(age_ms), float(most_ms), float("nan"), (0, n), level, float(most_ms)))
        looks = 0
        if not self.is_ready(settings.history_ms):
            return tuple(found), looks
        wanted = [VOLUME] * ("volume" in settings.checks) + [LABELS] * (has_labels and "labels" in settings.checks)
        for name in wanted:
            is_volume = name == VOLUME
            past = self._usual(name)
            counts = [(of.start_ms, of.predictions if is_volume else of.labels) for of in past]
            said = judge_volume(
                counts,
                now.start_ms,
                now.predictions if is_volume else now.labels,
                self.length_ms,
                factor=settings.factor,
                significance=significance,
                scale=1.0 if is_volume else self._labels_to_come(),
                bursts=is_volume,
            )
            if said is not None:
                looks += 1
                sizes = sum(n for _, n in counts), now.predictions if is_volume else now.labels
                found.append(_verdict(name, said.score, said.threshold, said.p_value, sizes, said.level, said.expected))
        return tuple(found), looks

    def marked(self, verdicts: Iterable[Verdict]) -> Traffic:
        """Remember what was odd of the stretch, so that the next are not held against it."""
        odd = tuple(verdict.detector for verdict in verdicts if verdict.level == "drift")
        return replace(self, growing=replace(self.growing, odd=odd))

    def _usual(self, name: str) -> Sequence[Counted]:
        """Return the stretches that are compared with: not those that were odd, unless these become usual.

        Before the first that had a label none could have come yet, and that one may have had a part of its labels.
        """
        past = self.past
        if name == LABELS:
            first = next((place for place, of in enumerate(past) if of.labels), len(past))
            past = past[first + 1 :]
        usual = [of for of in past if name not in of.odd]
        return usual if len(past) - len(usual) <= ODD_SHARE_MAX * len(past) else past

    def _labels_to_come(self) -> float:
        """Return which part of the usual labels can come: those of predictions that were never made cannot."""
        labels = sum(of.labels for of in self.past)
        delay_ms = sum(of.delays_ms for of in self.past) / labels if labels else 0.0
        made_ms = floor_to(round(self.growing.start_ms + self.length_ms / 2 - delay_ms), self.length_ms)
        made = {of.start_ms: of.predictions for of in (*self.past, self.growing)}.get(made_ms, 0)
        usual = sum(of.predictions for of in self.past) / len(self.past)
        return min(1.0, made / usual) if usual else 1.0


def _verdict(
    name: str, score: float, threshold: float, p_value: float, sizes: tuple[int, int], level: str, expected: float
) -> Verdict:
    return Verdict(SUBJECTS[name], name, score, threshold, p_value, *sizes, level, expected=expected)
