"""Does a pane count what a loop over its events counts?"""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC, unpack_cells
from driftline.events import FeatureBatch, Ints, Mask
from driftline.settings.metrics import Task
from streams import counting
from streams.counting import Part, count_predictions, summarise, summarise_predictions
from streams.panes import PaneLayout, narrowed, odd_values, pane_layout, scored_cells, widened
from tests.support.profiles import Event, batch_of, event, profile_of, random_events

PANE_MS = 1_000
EDGES = [0.25, 0.5, 0.75]
REFERENCE = [
    event(row, row, row % 2, score=(row + 0.5) / 101, features={"x": row / 100, "c": "ab"[row % 2]})
    for row in range(101)
]
Summary = tuple[int, int, int, bool]


def columns(events: list[Event], seed: int = 0) -> tuple[Ints, Ints, Mask]:
    """Draw codes of versions and of two segments, and which events are late."""
    chance = np.random.default_rng(seed)
    n = len(events)
    segments = np.stack([chance.integers(0, 3, n), chance.integers(5, 7, n)], axis=1)
    return chance.integers(0, 2, n), segments, chance.random(n) < 0.2


def summaries_of(events: list[Event], version: Ints, segments: Ints, late: Mask) -> dict[Summary, list[Event]]:
    found: dict[Summary, list[Event]] = {}
    for row, each in enumerate(events):
        start = each["timestamp"] // PANE_MS * PANE_MS
        for segment in (ALL_TRAFFIC, *segments[row].tolist()):
            found.setdefault((int(version[row]), segment, start, bool(late[row])), []).append(each)
    return found


def bin_of_x(value: object) -> int:
    """Bins (-inf, .25], (.25, .5], (.5, .75], (.75, inf), missing, other."""
    if value is None:
        return 4
    return sum(value > edge for edge in EDGES) if type(value) is float else 5


def bin_of_c(value: object) -> int:
    """Bins a, b, missing, other; a comes first because it is more frequent."""
    return 2 if value is None else {"a": 0, "b": 1}.get(value, 3) if type(value) is str else 3


def steps_of(feature: str, value: object, profile: Profile) -> int:
    """The standardised value in steps of 1/4096, clipped to 8 scales."""
    if type(value) is not float:
        return 0
    [of] = [each for each in profile.features if each.name == feature]
    return round(min(max((value - of.centre) / of.scale, -8), 8) * 4096)


def expected_vector(inside: list[Event], layout: PaneLayout) -> list[int]:
    """Everything dense: bins of x, c, @prediction and @score, then sums and sums of squares of x and @score."""
    carried = [each["features"] for each in inside if each["features"] is not None]
    x = np.bincount([bin_of_x(values["x"]) for values in carried], minlength=6)
    c = np.bincount([bin_of_c(values["c"]) for values in carried], minlength=4)
    predicted = np.bincount([each["prediction"] for each in inside], minlength=2).tolist()
    [of_score] = [feature for feature in layout.profile.features if feature.name == "@score"]
    scores = [each.get("score") for each in inside]
    score = [
        len(of_score.edges) + 1 if each is None else sum(each > edge for edge in of_score.edges) for each in scores
    ]
    sums = []
    for feature, values in (("x", [values["x"] for values in carried]), ("@score", scores)):
        steps = [steps_of(feature, value, layout.profile) for value in values]
        sums += [sum(steps), sum(step * step for step in steps)]
    return [*x, *c, *predicted, 0, 0, *np.bincount(score, minlength=len(of_score.edges) + 3), *sums]


def test_so_many_models_lie_side_by_side_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = pane_layout(profile_of(REFERENCE))
    events = random_events(1, 100)
    version, segments, late = columns(events)
    parts = [Part(batch_of(events), version, segments, late, layout, PANE_MS)] * 7
    rows_together: list[int] = []
    group = counting.group_rows

    def noted(version: Ints, *others: Any) -> Any:
        rows_together.append(len(version))
        return group(version, *others)

    monkeypatch.setattr(counting, "group_rows", noted)
    monkeypatch.setattr(counting, "CELLS_MAX", 300 * layout.width)
    first, *rest = summarise(parts)
    assert rows_together == [300, 300, 100]
    assert all(each.vectors == first.vectors for each in rest)


@pytest.mark.parametrize(
    ("block_values", "cells_max"),
    [(64, counting.CELLS_MAX), (counting.BLOCK_VALUES, 1), (counting.BLOCK_VALUES, 10**9)],
)
@pytest.mark.parametrize("beside", [(), ("binary",), ("regression", "binary", "multiclass")])
def test_every_summary_counts_its_events_whatever_stands_beside(
    beside: tuple[Task, ...], block_values: int, cells_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(counting, "CELLS_MAX", cells_max)
    layout = pane_layout(profile_of(REFERENCE))
    assert layout.profile.features[0].edges == tuple(EDGES)
    assert layout.profile.features[1].categories == ("a", "b")
    events = random_events(1, 300)
    version, segments, late = columns(events)
    part = Part(batch_of(events), version, segments, late, layout, PANE_MS)
    found = summarise([*map(part_of_another, beside), part, *map(part_of_another, beside)])[len(beside)]
    expected = summaries_of(events, version, segments, late)

    assert len(found) == len(expected)
    for place, vector in enumerate(found.vectors):
        key = (
            int(found.version[place]),
            int(found.segment[place]),
            int(found.start_ms[place]),
            bool(found.late[place]),
        )
        inside = expected[key]
        numbers = np.frombuffer(vector, np.int64)
        assert int(found.n[place]) == len(inside)
        assert numbers[: layout.width].tolist() == expected_vector(inside, layout)
        cells, counts = unpack_cells(numbers[layout.width :])
        assert dict(zip(cells.tolist(), counts.tolist(), strict=True)) == Counter(
            each["prediction"] * layout.score_bins + score_bin(each.get("score"), layout.profile) for each in inside
        ) + odd_cells_of(inside, 2 * layout.score_bins)


def part_of_another(task: Task) -> Part:
    """Events of a model with other edges, categories and classes."""
    outcomes = {"binary": [0, 1], "regression": [0.5, 9.5], "multiclass": ["ant", "bee", "cat"]}[task]
    reference = [
        event(row, row, outcomes[row % len(outcomes)], features={"x": row**2, "c": "abcd"[row % 4]})
        for row in range(99)
    ]
    events = [event(row, 500 * row, outcomes[0], features={"x": row, "c": "d"}) for row in range(70)]
    version, segments, late = columns(events)
    return Part(batch_of(events, task), version, segments, late, pane_layout(profile_of(reference, task)), PANE_MS)


def odd_cells_of(inside: list[Event], behind: int) -> Counter[int]:
    """Behind the scores: how often x lies outside of 0 to 1, and how often c is no text at all."""
    odd: Counter[int] = Counter()
    for values in (each["features"] for each in inside if each["features"] is not None):
        odd[behind] += type(values["x"]) is float and not 0 <= values["x"] <= 1
        odd[behind + 1] += type(values["c"]) is list
    return +odd


def score_bin(score: float | None, profile: Profile) -> int:
    return len(profile.score_edges) + 1 if score is None else sum(score > edge for edge in profile.score_edges)


def test_features_that_came_apart_count_as_features_and_not_as_predictions() -> None:
    layout = pane_layout(profile_of(REFERENCE))
    events = [each for each in random_events(2, 100) if each["features"] is not None]
    batch = batch_of(events)
    served = FeatureBatch(batch.order, batch.key, batch.time_ms, batch.version, batch.segments, batch.features)
    none, all_one = np.empty((len(events), 0), np.int64), np.zeros(len(events), np.int64)
    on_time = np.zeros(len(events), np.bool_)
    [apart] = summarise([Part(served, all_one, none, on_time, layout, PANE_MS)])
    beside = summarise_predictions(batch, all_one, none, on_time, layout, PANE_MS)

    assert apart.n.tolist() == [0] * len(apart)
    assert apart.start_ms.tolist() == beside.start_ms.tolist()
    n_features = 6 + 4
    for one, other in zip(apart.vectors, beside.vectors, strict=True):
        alone, both = (np.frombuffer(vector, np.int64) for vector in (one, other))
        assert scored_cells(alone[layout.width :], layout).size == 0
        assert odd_values(alone, layout).tolist() == odd_values(both, layout).tolist()
        assert alone[:n_features].tolist() == both[:n_features].tolist()
        assert alone[n_features : layout.n_bins].sum() == 0
        assert alone[layout.n_bins : layout.n_bins + 2].tolist() == both[layout.n_bins : layout.n_bins + 2].tolist()


def test_a_feature_that_the_reference_lacks_is_left_out_and_one_that_lacks_is_not_counted() -> None:
    layout = pane_layout(profile_of(REFERENCE))
    batch = batch_of([event(1, 0)])
    features = {"x": batch.features["x"], "unheard of": batch.features["x"]}
    reduced = type(batch)(*(features if value is batch.features else value for value in _fields(batch)))
    on_time, none = np.zeros(1, np.bool_), np.empty((1, 0), np.int64)
    [vector] = summarise_predictions(reduced, np.zeros(1, np.int64), none, on_time, layout, PANE_MS).vectors

    numbers = np.frombuffer(vector, np.int64)
    assert numbers[:6].sum() == 1
    assert numbers[6:10].sum() == 0


def _fields(batch: object) -> list[object]:
    return [getattr(batch, name) for name in type(batch).__slots__]


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_panes_of_other_tasks_hold_their_own_predictions(task: str) -> None:
    outcomes = [0.5, 1.5, 2.5] if task == "regression" else ["ant", "bee", "cat"]
    reference = [event(row, row, outcomes[row % 3]) for row in range(99)]
    layout = pane_layout(profile_of(reference, task))
    events = [event(row, 0, outcomes[row % 2]) for row in range(10)]
    on_time, none = np.zeros(10, np.bool_), np.empty((10, 0), np.int64)
    [vector] = summarise_predictions(
        batch_of(events, task), np.zeros(10, np.int64), none, on_time, layout, PANE_MS
    ).vectors

    numbers = np.frombuffer(vector, np.int64)
    start, end = (int(edge) for edge in layout.starts[2:4])
    assert numbers[start:end].sum() == 10
    if task == "regression":
        assert len(numbers) == layout.width
        assert layout.score_bins == 0
    else:
        assert numbers[start : start + 3].tolist() == [5, 5, 0]
        cells, counts = unpack_cells(numbers[layout.width :])
        assert (cells // layout.score_bins).tolist() == [0, 1]
        assert counts.tolist() == [5, 5]


def test_panes_of_the_reference_itself_hold_nothing_but_a_count() -> None:
    events = random_events(3, 50)
    version, segments, late = columns(events)
    time_ms = np.array([each["timestamp"] for each in events])
    counted = count_predictions(time_ms, version, segments, late, PANE_MS)

    assert counted.vectors == [b""] * len(counted)
    keys = zip(counted.version, counted.segment, counted.start_ms, counted.late, strict=True)
    found = {tuple(key): int(n) for key, n in zip(keys, counted.n, strict=True)}
    assert found == {key: len(inside) for key, inside in summaries_of(events, version, segments, late).items()}


def test_times_before_1970_lie_in_panes_too() -> None:
    counted = count_predictions(
        np.array([-1, -1000, -1001]), np.zeros(3, np.int64), np.empty((3, 0), np.int64), np.zeros(3, np.bool_), PANE_MS
    )
    assert (counted.start_ms.tolist(), counted.n.tolist()) == ([-2000, -1000], [1, 2])


@pytest.mark.parametrize("n_bins", [0, 3, 4, 7, 258])
@pytest.mark.parametrize("largest", [65_535, 65_536])
def test_vectors_that_wait_are_the_same_again_and_shorter_if_their_counts_fit_sixteen_bits(
    n_bins: int, largest: int
) -> None:
    chance = np.random.default_rng(n_bins)
    rest = chance.integers(-(2**62), 2**62, (5, 43))  # sums, and cells of a histogram
    counts = chance.integers(0, 1_000, (5, n_bins))
    counts[3:, -1:] = largest
    vectors = [np.concatenate(of).tobytes() for of in zip(counts, rest, strict=True)]

    waiting = narrowed(vectors, n_bins)

    assert [widened(vector) for vector in waiting] == [widened(vector) for vector in vectors] == vectors
    shorter = [len(now) < len(before) for now, before in zip(waiting, vectors, strict=True)]
    assert shorter == [n_bins > 0 and largest < 2**16] * 5
