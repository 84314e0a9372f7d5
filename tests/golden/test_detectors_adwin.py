"""Adaptive windows cut where a brute-force scan over the same buckets does, and first where river does."""

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from river import drift

from detectors.sequential.adwin import AdwinBank
from detectors.sequential.cuts import AdwinSpec

ONE = np.ones(1)


Bucket = tuple[int, int, float, float]


@dataclass
class BruteForce:
    """Windows as plain lists of buckets (level, count, sum, sum of squares), oldest first, one list a series."""

    spec: AdwinSpec
    value_range: float
    effect: float
    windows: list[list[Bucket]]

    def update(self, panes: list[tuple[int, float, float]]) -> list[tuple[int, int] | None]:
        """Add a pane; return the sizes of both parts at each series' first cut."""
        for window, pane in zip(self.windows, panes, strict=True):
            window.append((0, *pane))
            merge(window, self.spec.max_buckets)
        return [self._cut(window) for window in self.windows]

    def _cut(self, window: list[Bucket]) -> tuple[int, int] | None:
        first = None
        while (boundary := self._best_boundary(window)) is not None:
            first = first or (size(window[:boundary]), size(window[boundary:]))
            after = next(at for at, bucket in enumerate(window) if at >= boundary and bucket[1])
            # One pane of several events may hold the change.
            dropped = after + 1 if window[after][0] == 0 and window[after][1] > 1 else boundary
            window[:dropped] = [(level, 0, 0, 0) for level, *_ in window[:dropped]]
        return first

    def _best_boundary(self, window: list[Bucket]) -> int | None:
        width, total, square = (sum(bucket[i] for bucket in window) for i in (1, 2, 3))
        if width <= self.spec.grace:
            return None
        variance = square / width - (total / width) ** 2
        confidence = math.log(2 * math.log(width) / self.spec.delta)
        ratios = {}
        for boundary in range(1, len(window)):
            n0, u0 = size(window[:boundary]), sum(bucket[2] for bucket in window[:boundary])
            n1, u1 = width - n0, total - u0
            if min(n0, n1) >= self.spec.min_window:
                m = 1 / (n0 - self.spec.min_window + 1) + 1 / (n1 - self.spec.min_window + 1)
                epsilon = math.sqrt(2 * m * variance * confidence) + 2 / 3 * confidence * m * self.value_range
                ratios[boundary] = abs(u0 / n0 - u1 / n1) / max(epsilon, self.effect)
        best = max(ratios, key=lambda boundary: ratios[boundary], default=None)
        return best if best is not None and ratios[best] >= 1 else None


def merge(window: list[Bucket], max_buckets: int) -> None:
    level = 0
    while (same := [i for i, bucket in enumerate(window) if bucket[0] == level])[max_buckets:]:
        pair = window[same[0]], window[same[1]]
        window[same[0] : same[1] + 1] = [(level + 1, *(sum(bucket[i] for bucket in pair) for i in (1, 2, 3)))]
        level += 1


def size(part: list[Bucket]) -> int:
    return sum(bucket[1] for bucket in part)


def bernoulli(generator: np.random.Generator, *shares: float, each: int = 2000) -> np.ndarray:
    return np.concatenate([generator.random(each) < share for share in shares]).astype(np.int64)


def gaussian(generator: np.random.Generator, *means: float, each: int = 2000) -> np.ndarray:
    return np.concatenate([np.rint(np.clip(generator.normal(m, 0.1, each), 0, 1) * 2**16) for m in means]).astype(
        np.int64
    )


def single_events(steps: np.ndarray, unit: float, clock: int = 1) -> Iterator[tuple[int, int] | None]:
    bank = AdwinBank(AdwinSpec(clock=clock), ONE, ONE * unit, ONE * 0)
    for step in steps:
        cut = bank.update(np.array([1]), np.array([step]), np.array([step * step]))
        yield (int(cut.n_old[0]), int(cut.n_new[0])) if cut.detected[0] else None


STREAMS = {
    "Bernoulli .20 to .50": lambda generator: (bernoulli(generator, 0.2, 0.5), 1.0),
    "Bernoulli .20 to .30": lambda generator: (bernoulli(generator, 0.2, 0.3), 1.0),
    "Bernoulli .05 to .10": lambda generator: (bernoulli(generator, 0.05, 0.1), 1.0),
    "Bernoulli unchanged": lambda generator: (bernoulli(generator, 0.5, 0.5), 1.0),
    "Gaussian .40 to .43": lambda generator: (gaussian(generator, 0.4, 0.43), 2.0**-16),
    "Gaussian .40 to .60": lambda generator: (gaussian(generator, 0.4, 0.6), 2.0**-16),
    "Gaussian unchanged": lambda generator: (gaussian(generator, 0.4, 0.4), 2.0**-16),
    "constant then another": lambda generator: (np.repeat([0, 1], 200), 1.0),
}


@pytest.mark.parametrize("clock", [1, 32])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("seed", [1, 2])
def test_panes_of_one_event_are_first_detected_where_river_detects(stream: str, clock: int, seed: int) -> None:
    steps, unit = STREAMS[stream](np.random.default_rng(seed))
    theirs = drift.ADWIN(clock=clock)
    expected = None
    for index, step in enumerate(steps):
        theirs.update(float(step * unit))
        if theirs.drift_detected:
            expected = index
            break
    ours = next((index for index, cut in enumerate(single_events(steps, unit, clock)) if cut), None)
    assert ours == expected
    assert (expected is None) == stream.endswith("unchanged")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_panes_of_one_event_are_cut_as_by_a_brute_force_scan_the_last_bucket_too(seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = bernoulli(generator, 0.2, 0.6, 0.1, 0.9, each=300)
    brute = BruteForce(AdwinSpec(), 1.0, 0.0, [[]])
    expected = [brute.update([(1, step, step * step)])[0] for step in steps.tolist()]
    assert list(single_events(steps, 1.0)) == expected
    assert sum(cut is not None for cut in expected) >= 3


def test_a_change_seen_in_the_last_buckets_only_is_cut() -> None:
    # 40 panes, of which only the newest differs: the one boundary that shows it is the last.
    bank, brute = AdwinBank(AdwinSpec(), ONE, ONE, ONE * 0), BruteForce(AdwinSpec(), 1.0, 0.0, [[]])
    for ones in [10] * 40 + [100]:
        cut = bank.update(np.array([100]), np.array([ones]), np.array([ones]))
        expected = brute.update([(100, ones, ones)])
    assert expected == [(4000, 100)]
    assert (cut.detected[0], cut.n_old[0], cut.n_new[0]) == (True, 4000, 100)


@pytest.mark.parametrize("effect", [0.0, 0.15])
def test_weighted_panes_of_many_series_are_cut_as_each_alone_by_a_brute_force_scan(effect: float) -> None:
    generator, series, spec = np.random.default_rng(7), 12, AdwinSpec()
    ranges, units = np.full(series, 16.0), np.full(series, 1 / 4096)
    bank = AdwinBank(spec, ranges, units, np.full(series, effect))
    brute = BruteForce(spec, 16.0, effect, [[] for _ in range(series)])
    cuts = 0
    for pane in range(250):
        means = np.where(np.arange(series) % 3 == 0, 0.0, 0.4 * ((pane // 80) % 2))
        sizes = generator.integers(0, 400, series) * (generator.random(series) < 0.8)
        values = [np.rint(generator.normal(m, 1, n) * 4096).astype(np.int64) for m, n in zip(means, sizes, strict=True)]
        counts, sums = sizes.astype(np.int64), np.array([v.sum() for v in values])
        squares = np.array([(v * v).sum() for v in values])
        if not counts.any():
            continue
        cut = bank.update(counts, sums, squares)
        expected = brute.update(
            list(zip(counts.tolist(), (sums / 4096).tolist(), (squares / 4096**2).tolist(), strict=True))
        )
        found = zip(cut.detected, cut.n_old.tolist(), cut.n_new.tolist(), strict=True)
        assert [sizes if detected else None for detected, *sizes in found] == [e and list(e) for e in expected]
        cuts += int(cut.detected.sum())
    assert cuts >= 16


def test_a_million_unchanged_events_are_never_cut_and_small_changes_are_found_as_soon_as_by_river() -> None:
    # A hundred streams of 10,000 events at a share of .20, one event a pane; then, of each, two ways to go on. The
    # bounds are river's median delays after 10,000 events, as measured with river 0.26.
    streams, spec = 100, AdwinSpec()
    one, ones, nothing = np.ones(streams), np.ones(streams, np.int64), np.zeros(streams)
    bank, generator = AdwinBank(spec, one, one, nothing), np.random.default_rng(30)
    for _ in range(10_000):
        hits = (generator.random(streams) < 0.2).astype(np.int64)
        assert not bank.update(ones, hits, hits).detected.any()
    for share, delay_median_max in ((0.30, 448), (0.25, 1456)):
        changed = AdwinBank.restore(spec, one, one, nothing, bank.snapshot())
        delays = np.full(streams, 10**6)
        for event in range(1, 2 * delay_median_max):
            hits = (generator.random(streams) < share).astype(np.int64)
            cut = changed.update(ones, hits, hits).detected
            delays = np.where(cut, np.minimum(delays, event), delays)
        assert np.median(delays) <= delay_median_max


def test_a_million_unchanged_events_of_one_stream_are_never_cut() -> None:
    hits = (np.random.default_rng(31).random((1_000_000, 1)) < 0.2).astype(np.int64)
    ones, starts = np.ones((1000, 1), np.int64), np.zeros(1000, np.int64)
    bank = AdwinBank(AdwinSpec(), ONE, ONE, ONE * 0)
    for at in range(0, len(hits), 1000):
        part = hits[at : at + 1000]
        assert bank.update_many(ones, part, part, starts) == []
    changed = (np.random.default_rng(32).random((1000, 1)) < 0.4).astype(np.int64)
    assert bank.update_many(ones, changed, changed, starts)


def test_a_state_is_stored_in_the_released_form_and_gone_on_with() -> None:
    # By hand: what was released stores a digest of the specification, three numbers, the buckets' levels and starts,
    # and the totals up to each bucket, all series side by side.
    generator, one, effects = np.random.default_rng(5), np.ones(2), np.array([0.0, 0.05])
    bank, brute = AdwinBank(AdwinSpec(), one, one, effects), BruteForce(AdwinSpec(), 1.0, 1.0, [[], []])
    for pane in range(40):
        ones = generator.binomial(100, 0.3, 2)
        bank.update(np.array([100, 100]), ones, ones, 1000 * pane)
        brute.update([(100, int(n), int(n)) for n in ones])
    spec = "[('clock', 1), ('delta', 0.002), ('grace', 10), ('max_buckets', 5), ('min_window', 5)]"
    columns = b"".join(column.astype("<f8").tobytes() for column in (one, one, effects))
    digest = hashlib.blake2b(spec.encode() + columns, digest_size=16).digest()
    levels = [bucket[0] for bucket in brute.windows[0]]
    starts = (1000 * np.cumsum([0, *(2**level for level in levels[:-1])])).tolist()
    totals = np.cumsum([[bucket[1:] for bucket in window] for window in brute.windows], axis=1)
    by_hand = struct.pack("<16sqqq", digest, 2, len(levels), 40)
    by_hand += np.array([levels, starts], "<i8").tobytes() + totals.transpose(2, 1, 0).astype("<i8").tobytes()
    assert bank.snapshot() == by_hand
    again = AdwinBank.restore(AdwinSpec(), one, one, effects, by_hand)
    change = np.array([100, 100]), np.array([30, 90]), np.array([30, 90])
    assert again.update(*change, 40_000).detected.tolist() == [False, True]
