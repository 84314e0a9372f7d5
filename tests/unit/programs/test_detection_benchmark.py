"""Are the streams of `make bench-detection` what their names say, and does its yardstick tell good from bad?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from river.datasets import synth

from benchmarks.detection import concepts, items, windows
from benchmarks.detection.ours_items import ROWS, alarms_of
from benchmarks.detection.ours_windows import alarms_of as alarms_of_windows
from benchmarks.detection.ours_windows import count, in_a_row
from benchmarks.detection.page import page, picture
from benchmarks.detection.results import adwin_rows, row
from benchmarks.detection.running import Said, Streams, baselines, peer
from benchmarks.detection.scoring import score

PAGES = Path(__file__).parents[3] / "docs" / "benchmarks"
RIVERS = {
    "SEA": (lambda variant: synth.SEA(variant, seed=1), lambda x, v: concepts.sea_class(x, v), range(4)),
    "STAGGER": (
        lambda variant: synth.STAGGER(variant, seed=1),
        lambda x, v: concepts.stagger_class(x, v),
        range(3),
    ),
    "Agrawal": (
        lambda variant: synth.Agrawal(variant, seed=1),
        lambda x, v: concepts.agrawal_class(x, v),
        range(3),
    ),
}


@pytest.mark.parametrize("name", RIVERS)
def test_concepts_put_rows_into_the_classes_that_rivers_generators_do(name: str) -> None:
    make, classify, variants = RIVERS[name]
    for variant in variants:
        rows = list(make(variant).take(400))
        features = np.array([list(x.values()) for x, _ in rows], float)
        assert classify(features, variant).tolist() == [int(y) for _, y in rows]


def test_led_lights_the_segments_of_a_digit() -> None:
    for x, digit in synth.LED(seed=1, noise_percentage=0.0).take(60):
        assert list(x.values())[:7] == concepts.LED_SEGMENTS[digit].tolist()


def test_streams_change_where_they_say_and_autoregressive_ones_resemble_their_neighbours() -> None:
    for name, made in items.make_items(2, None).items():
        before, after = made.values[:, : items.CHANGE_AT].mean(), made.values[:, items.CHANGE_AT :].mean()
        assert after - before > (0.03 if made.kind == "errors" else 0.8), name
    values = concepts.autoregressive(np.random.default_rng(1), 20_000, 0.9)[:, 0]
    assert np.corrcoef(values[:-1], values[1:])[0, 1] == pytest.approx(0.9, abs=0.02)
    assert values.std() == pytest.approx(1.0, abs=0.1)


def test_alarms_are_counted_before_the_change_and_the_first_one_after_it_is_the_delay() -> None:
    found = score([[3, 7, 12, 13], [15], [9], []], 10, 20)
    assert (found.false, found.looked, found.found, found.delays) == (3, 40, 2, (3, 6))
    assert found.false_per_100k == 7_500
    assert found.by_chance == pytest.approx(4 * (1 - np.exp(-3 / 40 * 10)))


@pytest.fixture(scope="module")
def streams() -> Streams:
    specs = ("normal, a mean moves by 0.5", "STAGGER, colours shift")
    return Streams(
        items.make_items(6, None, ("Bernoulli .20 to .50", "AR(1) .9")),
        {name: of for name, of in windows.make_windows(1, None).items() if name in specs},
        [],
        1,
    )


def test_who_always_alarms_finds_everything_by_chance_and_who_never_does_finds_nothing(streams: Streams) -> None:
    rows = [row(said, streams) for said in baselines(streams)]
    assert [(of["table"], of["detector"], of["independent"]["found"]) for of in rows] == [
        ("items", "always alarms", 1.0),
        ("items", "never alarms", 0.0),
        ("windows", "always alarms", 1.0),
        ("windows", "never alarms", 0.0),
    ]
    assert [of["independent"]["false_per_100k"] for of in rows] == [100_000, 0, 100_000, 0]
    assert rows[0]["independent"]["by_chance"] == pytest.approx(1.0)
    assert rows[2]["independent"]["delay_median"] == 1


def test_our_rows_find_large_changes_soon_and_raise_no_alarm_before_whether_values_are_independent_or_not(
    streams: Streams,
) -> None:
    for name, of in ROWS.items():
        if of.pane == 1:
            continue
        found = row(Said("items", "driftline", name, "values", "", {
            family: alarms_of(of, made) for family, made in streams.items.items()
        }), streams)  # fmt: skip
        assert found["independent"]["false"] == 0, name
        assert found["dependent"]["false"] == 0, name
        assert found["independent"]["found"] >= 0.8, name
        assert found["independent"]["delay_median"] <= 1_000, name


def test_an_episode_finds_what_psi_finds_a_window_later_and_raises_no_false_alarm(streams: Streams) -> None:
    for name, of in streams.windows.items():
        alarms = [alarms_of_windows("psi", count(made)) for made in of]
        lasting = [in_a_row(found) for found in alarms]
        said = Said("windows", "driftline", "psi", "all features", "", {name: lasting})
        found = row(said, streams)["independent"]
        assert (found["found"], found["delay_median"], found["false"]) == (1.0, 2, 0)
        assert all(set(some) <= set(whole) for some, whole in zip(lasting, alarms, strict=True))


def test_a_change_of_what_a_detector_does_not_look_at_is_not_held_against_it(streams: Streams) -> None:
    name = "STAGGER, colours shift"
    said = Said("windows", "some", "ks", "numeric features", "", {name: [[]]})
    assert row(said, streams)["independent"]["streams"] == 0
    everything = Said("windows", "some", "chi2", "all features", "", {name: [[]]})
    assert row(everything, streams)["independent"]["found"] == 0


def test_a_peer_that_is_not_there_has_rows_that_say_so(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.detection.running.ENVIRONMENTS", Path("nowhere"))
    rows = [row(of, streams) | {"run": {"date": "-", "command": "-"}} for of in peer("river", streams).said]
    machine = {"cpu": "-", "cores": 1, "system": "-", "python": "-"}
    assert page({"machine": machine, "rows": rows}).count("not installed here; make bench-detection does it") == 2
    assert picture(rows).get_suptitle()


def test_the_committed_page_is_what_its_rows_say_and_each_row_is_the_sum_of_its_kinds_of_streams() -> None:
    found = json.loads((PAGES / "detection.json").read_text("utf-8"))

    assert (PAGES / "detection.md").read_text("utf-8") == page(found)
    counted = [row for row in found["rows"] if row["table"] in ("items", "windows") and not row["missing"]]
    assert len(counted) > 20
    for of in counted:  # also of a tool that was given one kind after another
        for what in ("streams", "looked", "false"):
            assert sum(kind[what] for kind in of["families"].values()) == (
                of["independent"][what] + of["dependent"][what]
            ), (of["tool"], of["detector"], what)


def test_adwin_by_itself_raises_no_alarm_and_tells_the_delay_of_all_streams_also_of_those_it_missed() -> None:
    for found in adwin_rows(3):
        assert (found["looked"], found["false"]) == (30_000, 0)
        assert 1 <= found["delay_median"] <= items.AFTER
