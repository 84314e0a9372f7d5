"""Which rows are there? Each is a line of `ROWS`: what it says, how it is measured once, and what it should reach.

A new row is a function `(Stage) -> Measured` that checks its own answer, and a line here. Rows are measured in turns in
this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.drain import drain
from benchmarks.peer import measure_peer, own_python
from benchmarks.results import RATE, Kind, Measured, Target
from benchmarks.stage import Stage


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    title
        What is measured, for people.
    measure
        Measures it once.
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


def _of(stage: Stage, share: float) -> int:
    """Return how many events a peer drains of those that our rows do, for a run of seconds."""
    return int(stage.size.events * share)


ROWS: Mapping[str, Row] = {
    "driftline": Row(
        "drift only: 20 features, 3 segments, PSI + ADWIN, durable, one worker",
        "driftline",
        lambda stage: drain(stage, "json", labels=False),
        (
            Target(RATE, at_least=150_000),
            Target("ratio", at_least=15, peer="faust"),
            Target("ratio", at_least=2.7, peer="quix"),
            Target("peak_mib", at_most=400),
        ),
    ),
    "driftline-labels": Row(
        "the same, every prediction stored and 20 % of labels joined, exactly once",
        "driftline",
        lambda stage: drain(stage, "json", labels=True),
        (
            Target(RATE, at_least=80_000),
            Target("ratio", at_least=4.5, peer="quix-durable"),
            Target("peak_mib", at_most=400),
        ),
    ),
    "driftline-arrow": Row(
        "Arrow batches of 2,000 events, drift only",
        "driftline",
        lambda stage: drain(stage, "arrow", labels=False),
        (Target(RATE, at_least=500_000), Target("peak_mib", at_most=400)),
    ),
    "driftline-arrow-labels": Row(
        "Arrow batches, with labels",
        "driftline",
        lambda stage: drain(stage, "arrow", labels=True),
        (Target(RATE, at_least=150_000), Target("peak_mib", at_most=400)),
    ),
    "faust": Row(
        "stock Faust agent: river's ADWIN and numpy's PSI, in memory, no segments",
        "peer",
        lambda stage: measure_peer(stage, "faust_agent.py", stage.topics("json").predictions, _of(stage, 0.12)),
    ),
    "consumer": Row(
        "limit: confluent-kafka reads, nothing is decoded",
        "limit",
        lambda stage: measure_peer(
            stage, "bare_confluent.py", stage.topics("json").predictions, _of(stage, 1), python=own_python()
        ),
    ),
}
