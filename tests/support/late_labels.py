"""Deployments of a binary model whose labels are late by class and score, and what is known of one of their days."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from detectors.metrics import Estimate
from detectors.reference.profile import Profile, bin_score
from driftline.settings.metrics import Metric
from labels_join.correction import Corrected, LateGrain, corrected
from labels_join.delays import DelayCurves, Delays, DelaySpec, delay_curves, score_groups
from labels_join.performance import metrics_of
from tests.support.outcomes import vector_of
from tests.support.profiles import event, profile_of

DAY = 86_400_000
HORIZON_DAYS, HISTORY_DAYS, A_DAY = 90, 180, 4_000
SPEC = DelaySpec(DAY, HORIZON_DAYS * DAY)


@dataclass(frozen=True)
class Deployment:
    """How many predictions a day are positive, how they are scored, and how late their labels are.

    Parameters
    ----------
    log_odds, spread
        The scores' log-odds are normal around the one of the true class; above 0 a prediction is positive.
    delay_days
        [true class, score group]: the mean of exponential delays; the last group, without a score, does not occur.
    """

    positive: float
    log_odds: tuple[float, float]
    spread: float
    delay_days: tuple[tuple[float, ...], tuple[float, ...]]

    def drawn(self, chance: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw which of some predictions are positive, and their scores."""
        true = (chance.random(n) < self.positive).astype(int)
        return true, 1.0 / (1.0 + np.exp(-chance.normal(np.array(self.log_odds)[true], self.spread)))

    def evenly(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return as many predictions as `drawn`, without chance: a class's scores are its quantiles."""
        true = (np.arange(n) < self.positive * n).astype(int)
        odds = [
            stats.norm.ppf((np.arange(size) + 0.5) / size) * self.spread + middle
            for size, middle in zip(np.bincount(true).tolist(), self.log_odds, strict=True)
        ]
        return true, 1.0 / (1.0 + np.exp(-np.concatenate(odds[::-1])))


SPREAD = 2.374
LATE_POSITIVES = Deployment(
    0.05,
    (SPREAD * float(stats.norm.ppf(0.0169)), SPREAD * float(stats.norm.ppf(0.6))),
    SPREAD,
    ((2.0,) * 5, (20.0,) * 5),
)
"""Six in ten positives are found, 1.7 % of negatives flagged; precision is 0.65. Positives' labels take 20 days."""

SLOW_MISTAKES = Deployment(0.3, (-1.0, 1.0), 1.5, ((2.0, 4.0, 8.0, 16.0, 2.0), (24.0, 12.0, 6.0, 3.0, 3.0)))
"""The less the score is like the truth, the longer its label takes: what is in flatters the model."""


@cache
def reference(of: Deployment, rows: int = 5_000) -> Profile:
    """Return the profile of some labelled rows of a deployment."""
    true, score = of.drawn(np.random.default_rng(99), rows)
    rows_told = zip(true.tolist(), score.tolist(), strict=True)
    return profile_of([event(0, 0, int(p > 0.5), label=t, score=p) for t, p in rows_told], "binary")


def groups_of(profile: Profile, score: np.ndarray) -> np.ndarray:
    """Return the quarter of the reference's scores that each is in."""
    group: np.ndarray = score_groups(profile)[bin_score(profile, score)]
    return group


def _chances_of_age(mean: float) -> np.ndarray:
    """Return the chance of each whole day from the end of a label's day on, and last that of coming too late."""
    days = np.arange(2.0, HORIZON_DAYS + 1)
    # A prediction is made at any time of its day.
    at_once = 1.0 - mean * (1.0 - np.exp(-1.0 / mean))
    later = 1.0 - mean * (np.exp(1.0 / mean) - 1.0) * np.exp(-days / mean)
    return np.diff([0.0, at_once, *later, 1.0 - np.exp(-HORIZON_DAYS / mean), 1.0])


@cache
def _chances(of: Deployment) -> np.ndarray:
    """Return float64 [true, score groups, ages]: the chance of each prediction's label."""
    true, score = of.drawn(np.random.default_rng(98), 1_000_000)
    of_group = np.zeros((2, 5))
    np.add.at(of_group, (true, groups_of(reference(of), score)), 1.0 / len(true))
    by_age = np.array([[_chances_of_age(mean) for mean in means] for means in of.delay_days])
    chances: np.ndarray = of_group[:, :, None] * by_age
    return chances


def history(of: Deployment, chance: np.random.Generator, now_days: int) -> Delays:
    """Draw the delays of a deployment that has run for some days, as they are counted by then."""
    chances = _chances(of)
    daily = chance.multinomial(A_DAY, chances.ravel(), size=now_days).reshape(-1, *chances.shape)
    age = np.array([SPEC.age_index(days * DAY) for days in range(HORIZON_DAYS + 1)])
    delays = Delays(0)
    for day, labels in enumerate(np.moveaxis(daily, 3, 1)):
        block = delays.blocks.setdefault(SPEC.block_of(day * DAY), np.zeros((len(SPEC.ages_ms), 2, 5), np.int64))
        is_in = min(now_days - day, len(age))
        np.add.at(block, age[:is_in], labels[:is_in])
    return delays


def a_day(of: Deployment, chance: np.random.Generator, age_days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a day's predictions: true class, score, and whether the label is in when so many days have passed."""
    true, score = of.drawn(chance, A_DAY)
    mean = np.array(of.delay_days)[true, groups_of(reference(of), score)]
    return true, score, chance.random(A_DAY) + chance.exponential(mean) < age_days + 1


def corrected_of(
    profile: Profile, curves: DelayCurves, true: np.ndarray, score: np.ndarray, age_days: int, wanted: list[Metric]
) -> tuple[dict[Metric, Estimate], Corrected]:
    """Return what some labels that are in say of metrics, and what all of them are expected to."""
    vector = vector_of(profile, score > 0.5, true, score, ["0", "1"])
    naive = metrics_of([(vector, profile)], "1", wanted)
    return naive, corrected(curves, [LateGrain.of(age_days * DAY, vector, profile, "1")], naive, profile)


def two_weeks_on(
    of: Deployment, seed: int, wanted: list[Metric], days: int = 1
) -> list[tuple[dict[Metric, Estimate], Corrected]]:
    """Draw a history and some days after it; return what is known of each of these days two weeks later."""
    chance = np.random.default_rng(seed)
    now_days = HISTORY_DAYS + 15
    curves = delay_curves(SPEC, history(of, chance, now_days), now_days * DAY)
    assert isinstance(curves, DelayCurves)
    told = []
    for _ in range(days):
        true, score, is_in = a_day(of, chance, 14)
        told.append(corrected_of(reference(of), curves, true[is_in], score[is_in], 14, wanted))
    return told
