"""Do more predictions come twice than before, and do features come that never came? Pure.

Extras are counted by the stretches of the traffic, and their share of the predictions is held against that of the
stretches before: what always came beside the features that are watched is no news. Only stretches that have any are
remembered, and of the new features a bounded number of names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from detectors.reference.summaries import Ints
from detectors.windows.quality import Odd, judge_odd
from driftline.settings.quality import TrafficSettings
from streams.decode.unknown import SAMPLE_SHARE
from streams.judging.traffic import ALL_PREDICTIONS, ODD_SHARE_MAX, Traffic
from streams.judging.verdicts import Verdict
from streams.windows import floor_to

DUPLICATES, NEW_FEATURES = "traffic.duplicates", "traffic.new_features"


@dataclass(frozen=True, slots=True)
class Beside:
    """What came beside the predictions of a stretch.

    Parameters
    ----------
    repeats
        Predictions that came before.
    new
        By name of a feature that the model does not know: events of the sample that carry it.
    odd
        Of which, `@traffic` or a name, there were too many.
    """

    repeats: int = 0
    new: Mapping[str, int] = field(default_factory=dict)
    odd: tuple[str, ...] = ()


NOTHING = Beside()
Extras = Mapping[int, Beside]
"""By start of the stretch; those that had nothing are left out."""


def extras_to_json(extras: Extras) -> dict[str, Any]:
    """Return them as they are stored."""
    return {str(start_ms): asdict(of) for start_ms, of in extras.items()}


def extras_from_json(content: Mapping[str, Any] | None) -> dict[int, Beside]:
    """Return what `extras_to_json` was called on."""
    return {int(start): Beside(**{**of, "odd": tuple(of["odd"])}) for start, of in (content or {}).items()}


class Added(NamedTuple):
    """What is known by now, and how many were of names beyond the bound."""

    extras: Extras
    beyond: int


def added(extras: Extras, found: Iterable[tuple[int, str | None, int]], traffic: Traffic, names_max: int) -> Added:
    """Add what came in a slide to the stretches that are remembered, and forget what is older than these.

    Parameters
    ----------
    found
        (time, name of a new feature or None for repeats, how many).
    traffic
        As of the slide.
    names_max
        Names that are remembered; those that came first stay.
    """
    remembered = {of.start_ms for of in (*traffic.past, traffic.growing)}
    kept = {start_ms: of for start_ms, of in extras.items() if start_ms in remembered}
    names = {name for of in kept.values() for name in of.new}
    beyond = 0
    for at_ms, name, n in sorted(found, key=lambda item: (item[0], item[1] or "")):
        start_ms = floor_to(at_ms, traffic.length_ms)
        if start_ms not in remembered:
            continue
        of = kept.get(start_ms, NOTHING)
        if name is None:
            kept[start_ms] = replace(of, repeats=of.repeats + n)
        elif name in names or len(names) < names_max:
            names.add(name)
            kept[start_ms] = replace(of, new=dict(Counter(of.new) + Counter({name: n})))
        else:
            beyond += n
    return Added(kept, beyond)


def judge_extras(
    extras: Extras,
    traffic: Traffic,
    settings: TrafficSettings,
    significance: float,
    *,
    has_labels: bool,
    names_max: int,
) -> tuple[tuple[Verdict, ...], int]:
    """Judge the stretch that was just completed, if one was and enough is known.

    Parameters
    ----------
    has_labels
        Without labels no ids are stored, and repeats can't be noticed.

    Returns
    -------
    Verdicts, and how many tests they took. All new features together take one.
    """
    if not traffic.is_ready(settings.history_ms):
        return (), 0
    found, looks = [], 0
    if has_labels and "duplicates" in settings.checks:
        looks += 1
        judged = _Share(ALL_PREDICTIONS, DUPLICATES, lambda of: of.repeats, settings.duplicates, significance)
        found.append(judged.verdict(extras, traffic))
    if "new_features" in settings.checks:
        looks += 1
        # What always came has nothing to say. As long as a stretch is remembered that had too much of a name, that name
        # is told of, so that its episode can end.
        odd = {name for of in extras.values() for name in of.odd} - {ALL_PREDICTIONS}
        for name in sorted({*extras.get(traffic.growing.start_ms, NOTHING).new, *odd}):
            verdict = _new(name, settings.new_features, significance / names_max).verdict(extras, traffic)
            if name in odd or verdict.level in ("warning", "drift"):
                found.append(verdict)
    return tuple(found), looks


def marked(extras: Extras, traffic: Traffic, verdicts: Iterable[Verdict]) -> Extras:
    """Remember what was odd of the stretch, so that the next are not held against it."""
    odd = tuple(
        verdict.feature
        for verdict in verdicts
        if verdict.level == "drift" and verdict.detector in (DUPLICATES, NEW_FEATURES)
    )
    start_ms = traffic.growing.start_ms
    return {**extras, start_ms: replace(extras[start_ms], odd=odd)} if odd else extras


def _new(name: str, effect: float, significance: float) -> _Share:
    return _Share(name, NEW_FEATURES, lambda of: of.new.get(name, 0), effect, significance, SAMPLE_SHARE)


@dataclass(frozen=True, slots=True)
class _Share:
    """A share of the predictions that must not grow.

    Parameters
    ----------
    count
        How many a stretch has.
    effect
        Smallest growth that matters.
    sample
        Which part of them is counted at all.
    """

    name: str
    detector: str
    count: Callable[[Beside], int]
    effect: float
    significance: float
    sample: float = 1.0

    def verdict(self, extras: Extras, traffic: Traffic) -> Verdict:
        """Hold the growing stretch against those that are remembered: not the odd ones, unless these become usual."""
        past = [(extras.get(of.start_ms, NOTHING), of.predictions) for of in traffic.past]
        usual = [(of, n) for of, n in past if self.name not in of.odd]
        if len(past) - len(usual) > ODD_SHARE_MAX * len(past):
            usual = past
        counts = np.array([self._of_how_many(of, n) for of, n in usual], np.int64).reshape(-1, 2)
        before = counts.sum(axis=0)
        now = self._of_how_many(extras.get(traffic.growing.start_ms, NOTHING), traffic.growing.predictions)
        odd = Odd(*(np.array([n], np.int64) for n in (*before.tolist(), *now)))
        [said] = judge_odd(
            odd,
            effects=np.array([self.effect * self.sample]),
            significance=self.significance,
            dependence=np.array([_dispersion(counts)]),
        )
        shares = tuple(min(float(x) / max(float(n), 1.0) / self.sample, 1.0) for x, n in (before, now))
        return Verdict(
            self.name,
            self.detector,
            said.score / self.sample,
            said.threshold / self.sample,
            said.p_value,
            said.n_reference,
            said.n_current,
            said.level,
            shares=(shares[0], shares[1]),
        )

    def _of_how_many(self, of: Beside, predictions: int) -> tuple[int, int]:
        n = self.count(of)
        # What came twice came besides; of what is sampled, no more can be than there are events.
        return (n, predictions + n) if self.sample == 1.0 else (n, max(predictions, n))


def _dispersion(counts: Ints) -> float:
    """Return by how much more shares swing from stretch to stretch than if each row spoke for itself; at least 1.

    Examples
    --------
    >>> round(_dispersion(np.array([[10, 100], [30, 100], [20, 100]])), 6)
    6.25
    """
    odd, n = counts.sum(axis=0).tolist()
    told = counts[counts[:, 1] > 0]
    if len(told) < 2 or not 0 < odd < n:
        return 1.0
    share = odd / n
    chance = told[:, 1] * (share * (1.0 - share))
    return max(float(((told[:, 0] - told[:, 1] * share) ** 2 / chance).sum()) / (len(told) - 1), 1.0)
