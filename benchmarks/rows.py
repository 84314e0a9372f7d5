"""Which rows are there? Each is a line of `ROWS`: what it says, how it is measured once, and what it should reach.

A new row is a function `(Stage) -> Measured` that checks its own answer, and a line here. Rows are measured in turns in
this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.measuring.drain import drain, prepare_drain
from benchmarks.measuring.freshness import measure_freshness
from benchmarks.measuring.join import measure_join
from benchmarks.measuring.peer import measure_peer, own_python
from benchmarks.measuring.scale import (
    SEGMENTS,
    measure_arrears,
    measure_models,
    measure_window,
    replayed_backlog,
    replayed_hours,
)
from benchmarks.measuring.workers import PARTITIONS, measure_rebalance, measure_workers
from benchmarks.report.results import RATE, Kind, Measured, NotMeasuredError, Target
from benchmarks.setting.stage import Stage
from driftline.settings import KafkaSettings
from streams.health import TURNS_MAX


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    title
        What is measured, for people.
    measure
        Measures it once.
    prepare
        Makes what it needs before anything is measured; what it does not make is made when it is measured first.
    figure
        The name of the figure that the row is about.
    quick
        Whether `--quick` measures it too.
    turns_max
        How often it is measured at most, where once takes long.
    """

    title: str
    kind: Kind
    measure: Callable[[Stage], Measured]
    targets: tuple[Target, ...] = ()
    figure: str = RATE
    quick: bool = True
    turns_max: int | None = None
    prepare: Callable[[Stage], object] = lambda stage: None


def peer(script: str, share: float) -> Callable[[Stage], Measured]:
    """Let a peer drain a share of what our rows do, so that it takes seconds too."""
    return lambda stage: measure_peer(stage, script, stage.topics("json").predictions, _share(stage, share))


def limit(script: str, share: float) -> Callable[[Stage], Measured]:
    """Let a program of our own environment drain a share of what our rows do."""
    return lambda stage: measure_peer(
        stage, script, stage.topics("json").predictions, _share(stage, share), python=own_python()
    )


def not_there_yet(stage: Stage) -> Measured:
    """Say that there is nothing to measure."""
    raise NotMeasuredError("the client for model servers is not written yet")


def _share(stage: Stage, share: float) -> int:
    return int(stage.size.events * share)


STANDS_STILL_MS_MAX = TURNS_MAX * KafkaSettings(bootstrap_servers="any:9092").stuck_after_ms
"""A partition that waits for so long while others move makes its worker not ready."""

ROWS: Mapping[str, Row] = {
    "driftline": Row(
        "drift only: 20 features, 3 segments, PSI + ADWIN, durable, one worker",
        "driftline",
        partial(drain, form="json", labels=False),
        (
            Target(RATE, at_least=150_000),
            Target("ratio", at_least=15, peer="faust"),
            Target("ratio", at_least=2.7, peer="quix"),
            Target("peak_mib", at_most=400),
        ),
        prepare=partial(prepare_drain, form="json", labels=False),
    ),
    "driftline-labels": Row(
        "the same, every prediction stored and 20 % of labels joined, exactly once",
        "driftline",
        partial(drain, form="json", labels=True),
        (
            Target(RATE, at_least=80_000),
            Target("ratio", at_least=4.5, peer="quix-durable"),
            Target("peak_mib", at_most=400),
        ),
        prepare=partial(prepare_drain, form="json", labels=True),
    ),
    "driftline-arrow": Row(
        "Arrow batches of 2,000 events, drift only",
        "driftline",
        partial(drain, form="arrow", labels=False),
        (Target(RATE, at_least=500_000), Target("peak_mib", at_most=400)),
        prepare=partial(prepare_drain, form="arrow", labels=False),
    ),
    "driftline-arrow-labels": Row(
        "Arrow batches, with labels",
        "driftline",
        partial(drain, form="arrow", labels=True),
        (Target(RATE, at_least=150_000), Target("peak_mib", at_most=400)),
        quick=False,
        prepare=partial(prepare_drain, form="arrow", labels=True),
    ),
    "workers-1": Row(
        "one worker on 32 partitions, with labels; how long a partition waits for its turn",
        "driftline",
        lambda stage: measure_workers(stage, 1),
        (Target("partition_waited_ms_max", at_most=STANDS_STILL_MS_MAX), Target("peak_mib", at_most=400)),
        quick=False,
        turns_max=3,
        prepare=partial(prepare_drain, form="json", labels=True, partitions=PARTITIONS),
    ),
    "workers-2": Row(
        "two workers on 32 partitions, with labels, from when they share them",
        "driftline",
        lambda stage: measure_workers(stage, 2),
        (Target("partition_waited_ms_max", at_most=STANDS_STILL_MS_MAX), Target("peak_mib", at_most=400)),
        quick=False,
        turns_max=3,
        prepare=partial(prepare_drain, form="json", labels=True, partitions=PARTITIONS),
    ),
    "rebalance": Row(
        "a second worker joins and leaves: how long nothing is committed, and how many events are decoded twice",
        "driftline",
        measure_rebalance,
        figure="pause_when_one_joins_ms",
        quick=False,
        turns_max=3,
        prepare=partial(prepare_drain, form="json", labels=True, partitions=PARTITIONS),
    ),
    "join": Row(
        "labels join 5 M predictions of a month (in a whole run); with prediction_timestamp; beyond memory",
        "driftline",
        measure_join,
        (
            Target("labels_per_s", at_least=35_000),
            Target("labels_with_time_per_s", at_least=60_000),
            Target("labels_beyond_memory_per_s", at_least=20_000),
        ),
        figure="labels_per_s",
        quick=False,
        turns_max=1,
    ),
    "freshness": Row(
        "how long after it was sent an event is in its pane's row, at 10,000 events/s",
        "driftline",
        measure_freshness,
        (Target("freshness_ms_p99", at_most=2_000),),
        figure="freshness_ms_p99",
        quick=False,
    ),
    "window": Row(
        "closing a window of 100 features and 20 segments, from panes merged as they passed",
        "driftline",
        lambda stage: measure_window(stage, SEGMENTS),
        (Target("window_ms", at_most=200),),
        figure="window_ms",
        quick=False,
        prepare=lambda stage: replayed_hours(stage, SEGMENTS),
    ),
    "window-50": Row(
        "the same with 50 segments",
        "driftline",
        lambda stage: measure_window(stage, 50),
        figure="window_ms",
        quick=False,
        turns_max=3,
        prepare=lambda stage: replayed_hours(stage, 50),
    ),
    "arrears": Row(
        "closing a backlog of 10,000 panes; how much more than in proportion twice and four times as many cost",
        "driftline",
        measure_arrears,
        (Target("factor_2x", at_most=1.3), Target("factor_4x", at_most=1.3)),
        figure="panes_per_s",
        quick=False,
        turns_max=1,
        prepare=replayed_backlog,
    ),
    "models-200": Row(
        "200 models in one topic: share of one model's rate, by CPU time, drift only",
        "driftline",
        lambda stage: measure_models(stage, 200),
        (Target("share_of_one_model", at_least=0.7),),
        figure="share_of_one_model",
        quick=False,
        turns_max=1,
    ),
    "models-1000": Row(
        "the same with 1,000 models",
        "driftline",
        lambda stage: measure_models(stage, 1_000),
        figure="share_of_one_model",
        quick=False,
        turns_max=1,
    ),
    "client": Row(
        "a call of the client in a model server at 1,000 calls/s; its memory while the broker is away",
        "driftline",
        not_there_yet,
        (Target("call_us_p99", at_most=50), Target("memory_mib", at_most=32)),
        figure="call_us_p99",
        quick=False,
    ),
    "faust": Row(
        "stock Faust agent: river's ADWIN and numpy's PSI, in memory, no segments",
        "peer",
        peer("faust_agent.py", 0.1),
    ),
    "faust-durable": Row(
        "stock Faust agent with one durable windowed sum, nothing else",
        "peer",
        peer("faust_durable.py", 0.02),
        quick=False,
    ),
    "quix": Row(
        "Quix Streams: bins of every feature and PSI, in memory, no ADWIN, no segments",
        "peer",
        peer("quix_memory.py", 0.3),
    ),
    "quix-durable": Row(
        "Quix Streams with one durable windowed mean, nothing else", "peer", peer("quix_durable.py", 0.1)
    ),
    "quix-durable-keyed": Row(
        "the same from a topic that is keyed by segment, so that three windows are open and not one an id",
        "peer",
        lambda stage: measure_peer(stage, "quix_durable.py", stage.by_segment, _share(stage, 0.1)),
        quick=False,
    ),
    "consumer": Row("limit: confluent-kafka reads, nothing is decoded", "limit", limit("bare_confluent.py", 1)),
    "consumer-aiokafka": Row(
        "limit: aiokafka reads whole fetches, nothing is decoded",
        "limit",
        limit("bare_aiokafka.py", 1),
        quick=False,
    ),
    "decoder": Row(
        "limit: our decoder makes columns of what is in memory, nothing is read or kept",
        "limit",
        limit("bare_decoder.py", 0.3),
    ),
}
