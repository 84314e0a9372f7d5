"""Do the first events that come become the reference, exactly they, and does every later one count?"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from detectors.reference.profile import Profile
from driftline.events import FeatureType
from driftline.store.connection import Connection
from streams.monitored import EVERY_VERSION
from streams.references.reference import profile_from_batch
from tests.support.pipelines import HOUR, MINUTE, SECOND, Event, Lab, features, lab, label, prediction

pytestmark = pytest.mark.postgres

N = 120
TYPES = (FeatureType("c", "categorical"), FeatureType("x", "numeric"))


def stream(n: int, seed: int = 1, **rest: Any) -> list[Event]:
    """Make predictions a second apart, three of each moment, in the order of (time, id)."""
    chance = np.random.default_rng(seed)
    return [
        prediction(
            f"p{row:04}",
            row // 3 * SECOND,
            int(chance.random() < 0.4),
            score=round(float(chance.random()), 3),
            features={"x": round(float(chance.normal()), 3), "c": str(chance.choice(["a", "b"]))},
            **rest,
        )
        for row in range(n)
    ]


def warm_up(first_events: int = N, **model: Any) -> dict[str, Any]:
    windows = {"length": "1m", "pane": "1s", "out_of_orderness": "5s"}
    return {"reference": {"first_events": first_events}, "features": "auto", "windows": windows, **model}


async def frozen(made: Lab, version: str = EVERY_VERSION) -> Profile | None:
    in_force = await made.pipeline.profiles.in_force(made.connection, [made.model])
    profile_id = in_force.get((made.model.model_id, version))
    return None if profile_id is None else (await made.pipeline.profiles.layout(made.connection, profile_id)).profile


def built(made: Lab, events: list[Event]) -> Profile:
    """Build the profile of some events directly."""
    batch = made.decode("predictions", events).predictions[made.model.name]
    only = made.model.settings
    return profile_from_batch(
        batch, TYPES, task=only.task, bins=10, categories_max=50, segments=only.segments, segments_max=50
    )


async def test_the_first_events_become_the_reference_and_the_later_ones_count(connection: Connection) -> None:
    made = await lab(connection, warm_up())
    events = stream(400)
    await made.commit("predictions", *events)
    await made.commit("labels", *(label(f"p{row:04}", row // 3 * SECOND + 1) for row in range(0, 400, 2)))
    await made.close()

    profile = await frozen(made)
    assert profile is not None
    assert profile.n == N
    assert profile.digest == built(made, events[:N]).digest
    judged = await made.drift(detector="psi", feature="x")
    assert [(row["window_start"], row["n_current"]) for row in judged] == [
        (0, 180 - N),
        (MINUTE, 180),
        (2 * MINUTE, 40),
    ]
    # What was predicted while the reference was collected was predicted nevertheless.
    for basis in ("cohort", "arrival"):
        found = await made.performance(basis=basis, metric="accuracy")
        assert [(row["n_predictions"], row["n_labelled"], row["coverage"]) for row in found] == [
            (180, 90, 0.5), (180, 90, 0.5), (40, 20, 0.5),
        ]  # fmt: skip
    right = [event["prediction"] == 1 for event in events[:180:2]]
    [first] = await made.performance(basis="cohort", metric="accuracy", window_start=0)
    assert first["value"] == pytest.approx(np.mean(right))
    traffic = await made.rows("select window_start, n_predictions, n_labelled from driftline.v_traffic order by 1")
    assert [(row["n_predictions"], row["n_labelled"]) for row in traffic] == [(180, 90), (180, 90), (40, 20)]
    assert await made.count("warm_up") == 0


async def test_segments_are_compared_with_their_own_first_events(connection: Connection) -> None:
    made = await lab(connection, warm_up(segments=["d"]))
    events = stream(400)
    for row, event in enumerate(events):
        event["segment"] = {"d": [None, "a", "b", "c"][row % 4]} if row < 300 else {"d": "new"}
    await made.commit("predictions", *events)
    await made.close()

    profile = await frozen(made)
    assert profile is not None
    assert profile.digest == built(made, events[:N]).digest
    assert [segment.name for segment in profile.segments] == ["d=a", "d=b", "d=c", "d=missing"]
    sizes = {
        (row["segment"], row["n_reference"], row["reason"]) for row in await made.drift(detector="psi", feature="x")
    }
    segments = {(f"d={name}", N // 4, None) for name in ("a", "b", "c", "missing")}
    assert sizes == {("*", N, None), *segments, ("d=new", 0, "no_reference")}


async def test_nothing_is_judged_before_there_are_enough(connection: Connection) -> None:
    made = await lab(connection, warm_up())
    await made.commit("predictions", *stream(N - 1))
    await made.close(HOUR)
    assert await frozen(made) is None
    assert (await made.drift(), await made.performance()) == ([], [])
    # Enough of them, but the pane of the last one is still open: an earlier one might come.
    await made.commit("predictions", prediction("p9999", (N - 1) // 3 * SECOND), partition=1)
    await made.close((N - 1) // 3 * SECOND + 999)
    assert await frozen(made) is None
    await made.close((N - 1) // 3 * SECOND + 1000)
    assert (await frozen(made)).n == N


async def test_which_events_are_the_first_does_not_depend_on_how_they_came(connection: Connection) -> None:
    events = stream(200)
    chance = np.random.default_rng(3)
    digests, sizes = set(), []
    for number in range(4):
        made = await lab(connection, warm_up(100), name=f"m{number}")
        # The hundredth event is one of three of its moment, so the moment does not tell which are the first.
        order = np.argsort([event["timestamp"] + chance.integers(0, 5_000) * bool(number) for event in events])
        cuts = [0, 200] if number == 0 else [0, *sorted(chance.choice(199, 5, replace=False) + 1), 200]
        for start, end in pairwise(cuts):
            for partition in (0, 1):
                fetch = [events[row] for row in order[start:end] if row % 2 == partition]
                if fetch:
                    await made.commit("predictions", *fetch, partition=partition)
        await made.close()
        profile = await frozen(made)
        assert profile is not None
        digests.add(profile.digest)
        sizes.append([row["n_current"] for row in await made.drift(detector="psi", feature="x", version="v1")])

    assert len(digests) == 1
    assert sizes == [sizes[0]] * 4
    assert sum(sizes[0]) == 100


async def test_which_of_one_moment_are_the_first_does_not_depend_on_the_installations_secret(
    connection: Connection,
) -> None:
    # Keys are digests under a secret of each installation; two replays of one file must agree all the same.
    events = [event | {"timestamp": stream(1)[0]["timestamp"]} for event in stream(200)]
    for row, event in enumerate(events):
        event["features"]["x"] = [row // 2, row / 2, None][row % 3]
    digests = set()
    # Live, types are found out from what comes; a replay knows them from its files.
    known = [{"name": feature.name, "type": feature.kind} for feature in TYPES]
    for secret, listed in ((b"one", "auto"), (b"another", "auto"), (b"third", known)):
        made = await lab(connection, warm_up(100, features=listed), name=secret.decode())
        object.__setattr__(made.decoder, "id_secret", secret)
        await made.commit("predictions", *events)
        await made.close()
        profile = await frozen(made)
        assert profile is not None
        digests.add(profile.digest)

    assert len(digests) == 1


async def test_of_many_events_of_one_moment_the_first_are_like_all_of_them(connection: Connection) -> None:
    # A nightly job gives all its answers one time. To take those first that sort first would be to take one answer.
    made = await lab(connection, warm_up(200))
    chance = np.random.default_rng(5)
    cs = chance.choice(["a", "b", "c"], 1000, p=[0.2, 0.3, 0.5]).tolist()
    await made.commit(
        "predictions", *(prediction(f"p{row:04}", 0, row % 2, features={"c": c}) for row, c in enumerate(cs))
    )
    await made.close()

    profile = await frozen(made)
    assert profile is not None
    for feature, shares in zip(profile.features, ({"a": 0.2, "b": 0.3, "c": 0.5}, {"0": 0.5, "1": 0.5}), strict=True):
        counts = dict(zip(feature.bin_labels(), feature.counts, strict=True))
        for value, share in shares.items():
            assert abs(counts[value] - 200 * share) < 4 * np.sqrt(200 * share * (1 - share)), (value, counts)


async def test_labels_that_come_before_and_after_the_reference_is_complete_are_joined_once(
    connection: Connection,
) -> None:
    made = await lab(connection, warm_up(60, labels={"on_correction": "restate"}))
    events = stream(180)
    late = [label(f"p{row:04}", 50 * SECOND, 1) for row in range(40, 90)]
    await made.commit("labels", *(label(f"p{row:04}", 10 * SECOND, 0) for row in range(50)))
    await made.commit("predictions", *events[:90])
    await made.commit("labels", *late[:25])
    await made.close(40 * SECOND)
    assert await frozen(made) is not None
    await made.commit("labels", *late[25:])
    await made.commit("predictions", *events[90:])
    await made.close()

    truth = {f"p{row:04}": 0 for row in range(50)} | {f"p{row:04}": 1 for row in range(40, 90)}
    right = [
        truth[event["prediction_id"]] == event["prediction"] for event in events if event["prediction_id"] in truth
    ]
    [found] = await made.performance(basis="cohort", metric="accuracy")
    assert (found["n_predictions"], found["n_labelled"]) == (180, 90)
    assert found["value"] == pytest.approx(np.mean(right))


async def test_the_greatest_label_of_one_moment_holds_while_the_reference_is_collected(connection: Connection) -> None:
    # Class codes are given in the order of their coming, so they must not decide.
    made = await lab(connection, warm_up(30, labels={"on_correction": "restate"}))
    await made.commit("labels", label("p0000", SECOND, 1), label("p0000", SECOND, 0))
    await made.commit("predictions", *[event | {"prediction": 1} for event in stream(60)])
    await made.close()

    [found] = await made.performance(basis="cohort", metric="accuracy")
    assert (found["n_labelled"], found["value"]) == (1, 1.0)


async def test_versions_with_a_reference_of_their_own_are_frozen_apart(connection: Connection) -> None:
    model = warm_up(60) | {"versions": {"v2": {"reference": {"first_events": 30}}}}
    made = await lab(connection, model)
    one, two = stream(90), stream(90, seed=2, version="v2")
    three = stream(30, seed=3, version="v3")
    for event in two:
        event["prediction_id"] += "-v2"
    for event in three:
        event["prediction_id"] += "-v3"
    await made.commit("predictions", *one, *two, *three)
    await made.close()

    own, shared = await frozen(made, "v2"), await frozen(made)
    assert own is not None
    assert shared is not None
    assert own.digest == built(made, two[:30]).digest
    # Versions without a reference of their own share one, and are judged apart.
    assert shared.n == 60
    current = {row["version"]: row["n_current"] for row in await made.drift(detector="psi", feature="x", segment="*")}
    assert current["v2"] == 60
    assert current["v1"] + current.get("v3", 0) == 90 + 30 - 60


async def test_features_that_come_apart_before_the_reference_is_complete_are_counted_as_such(
    connection: Connection,
) -> None:
    made = await lab(connection, warm_up(30))
    events = stream(60)
    await made.commit("features", features("p0000", 0, x=5.0, c="b"))
    await made.commit("predictions", *events)
    await made.close()

    assert (await made.counts())["features_without_reference"] == 1
    profile = await frozen(made)
    assert profile is not None
    # The features that the prediction itself carries are in the reference.
    assert profile.digest == built(made, events[:30]).digest


async def test_features_that_are_no_numbers_or_lack_survive_the_wait(connection: Connection) -> None:
    made = await lab(
        connection, warm_up(30) | {"features": [{"name": "x", "type": "numeric"}, {"name": "c", "type": "categorical"}]}
    )
    odd = [{"x": "text", "c": "a"}, {"x": None, "c": None}, {"c": ["list"]}, {"x": 1.5, "c": "b"}, {"x": True, "c": 1}]
    events = [event | {"features": odd[row % 5]} for row, event in enumerate(stream(60))]
    events[7] = {name: value for name, value in events[7].items() if name != "features"}
    await made.commit("predictions", *events)
    await made.close()

    profile = await frozen(made)
    assert profile is not None
    by_name = {feature.name: feature for feature in profile.features}
    assert by_name["x"].counts[-2:] == (6 + 5, 6 + 6)
    assert by_name["c"].counts[-2:] == (6, 5)
    assert profile.n == 30
    [row] = await made.drift(detector="psi", feature="x")
    assert row["n_current"] == 30


async def test_a_regression_is_frozen_too(connection: Connection) -> None:
    made = await lab(connection, warm_up(30, task="regression"))
    events = [event | {"prediction": row / 7} for row, event in enumerate(stream(60))]
    for event in events:
        del event["score"]
    await made.commit("predictions", *events)
    await made.commit("labels", *(label(event["prediction_id"], MINUTE, 1.0) for event in events))
    await made.close()

    profile = await frozen(made)
    assert profile is not None
    assert profile.digest == built(made, events[:30]).digest
    found = {row["metric"]: row["value"] for row in await made.performance(basis="cohort")}
    errors = np.array([event["prediction"] - 1.0 for event in events])
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), abs=1e-6)
