"""Which events does a benchmark send?

A model of 20 features (18 numeric, 2 categorical) in three segments, 460 bytes of JSON a prediction, with labels for a
fifth of them some time later. Invariants: the same seed makes the same bytes; JSON, Arrow and files hold the same
events; partitions are in the order of event time, so nothing is late and live results equal a replay's.

What events say is drawn from two pools of rows, one for each half of the time, between which one feature moves: making
each event's text anew would take longer than measuring it. Ids and times are each event's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from driftline.events import Floats, Ints

MODEL = "bench"
VERSION = "2024-05"
START_MS = 1_717_200_000_000
POOL_ROWS = 20_000
EVENTS_A_SECOND = 500
"""Of event time: windows of two minutes hold 60,000 events."""

LABELLED_SHARE = 0.2
LABEL_DELAY_MS_MEAN = 60_000
LABEL_DELAY_MS_MAX = 300_000
MOVED_BY = 0.3
"""How far `balance` moves in the second half, in its standard deviations."""

NUMERIC = (
    "amount", "balance", "income", "age", "tenure", "distance", "duration", "ratio", "velocity", "spread",
    "clicks", "visits", "items", "refunds", "logins", "devices", "cards", "limits",
)  # fmt: skip
CATEGORIES = {
    "channel": ("web", "app", "branch", "phone", "partner", "mail"),
    "country": ("DE", "FR", "IT", "ES", "PL", "NL", "SE", "AT", "CZ", "PT", "FI", "DK"),
}
REGIONS = ("north", "south", "west")


class Message(NamedTuple):
    """What goes to a topic; `events` is how many events it holds."""

    partition: int
    key: bytes
    value: bytes
    events: int = 1


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows that events are drawn from; all columns of one length.

    Parameters
    ----------
    numeric
        float64 or int64 [rows], by feature, as the JSON text has them.
    categorical, region
        Texts by code.
    """

    numeric: dict[str, Floats | Ints]
    categorical: dict[str, Ints]
    region: Ints
    score: Floats


@dataclass(frozen=True, eq=False)
class Traffic:
    """Predictions in the order of their time, and the labels of some.

    Parameters
    ----------
    row
        int64 [events]; rows of the pool.
    labelled, label_time_ms, label
        [labels]; which prediction, when its truth came, and what it was, in the order in which they came.
    """

    seed: int
    pool: Pool
    row: Ints
    time_ms: Ints
    labelled: Ints
    label_time_ms: Ints
    label: Ints

    def __len__(self) -> int:
        return len(self.row)

    @property
    def score(self) -> Floats:
        """The probability of class 1, of each event."""
        return self.pool.score[self.row]

    def first(self, events: int) -> Traffic:
        """Keep the first events, and none of the labels."""
        return replace(self.without_labels(), row=self.row[:events], time_ms=self.time_ms[:events])

    def without_labels(self) -> Traffic:
        """Leave the labels out."""
        none = np.empty(0, np.int64)
        return replace(self, labelled=none, label_time_ms=none, label=none)


def make_traffic(
    events: int, seed: int, *, moved_by: float = MOVED_BY, events_a_second: float = EVENTS_A_SECOND
) -> Traffic:
    """Draw events, evenly over event time, and labels for `LABELLED_SHARE` of them."""
    chance = np.random.default_rng(seed)
    pool = _pool(chance, moved_by)
    row = chance.integers(0, POOL_ROWS, events) + POOL_ROWS * (np.arange(events) >= events // 2)
    time_ms = START_MS + (np.arange(events) * (1000 / events_a_second)).astype(np.int64)
    labelled = np.flatnonzero(chance.random(events) < LABELLED_SHARE)
    delay = chance.exponential(LABEL_DELAY_MS_MEAN, len(labelled)).astype(np.int64)
    label_time_ms = time_ms[labelled] + np.clip(delay, 1, LABEL_DELAY_MS_MAX)
    label = (chance.random(len(labelled)) < pool.score[row[labelled]]).astype(np.int64)
    order = np.argsort(label_time_ms, kind="stable")
    return Traffic(seed, pool, row, time_ms, labelled[order], label_time_ms[order], label[order])


def _pool(chance: np.random.Generator, moved_by: float) -> Pool:
    rows = 2 * POOL_ROWS
    numeric: dict[str, Floats | Ints] = {}
    for place, name in enumerate(NUMERIC):
        if place < 3:
            numeric[name] = np.round(chance.lognormal(5 + place, 0.7, rows), 2)
        elif place < 10:
            numeric[name] = np.round(chance.normal(10.0 * place, 3.0, rows), 3)
        else:
            numeric[name] = chance.poisson(3.0 + place, rows)
    moved = numeric["balance"]
    moved[POOL_ROWS:] = np.round(moved[POOL_ROWS:] + moved_by * moved.std(), 2)
    categorical = {
        name: chance.choice(len(values), rows, p=_falling(len(values))) for name, values in CATEGORIES.items()
    }
    return Pool(numeric, categorical, chance.integers(0, len(REGIONS), rows), np.round(chance.beta(2, 5, rows), 4))


def _falling(n: int) -> Floats:
    """Shares of categories, each smaller than the one before."""
    weights = 1 / np.arange(1, n + 1)
    shares: Floats = weights / weights.sum()
    return shares


def _id(seed: int, event: int) -> str:
    return f"{seed:04x}-{event:09d}"


def json_predictions(traffic: Traffic, partitions: int, *, by_segment: bool = False) -> Iterator[Message]:
    """Write predictions as messages of one event each, keyed by their ids or by their segments."""
    tails = _tails(traffic.pool)
    regions = traffic.pool.region.tolist()
    rows, times = traffic.row.tolist(), traffic.time_ms.tolist()
    for event, (row, time_ms) in enumerate(zip(rows, times, strict=True)):
        name = _id(traffic.seed, event)
        head = f'{{"prediction_id":"{name}","model":"{MODEL}","version":"{VERSION}","timestamp":{time_ms},'
        place, key = (regions[row], REGIONS[regions[row]]) if by_segment else (event, name)
        yield Message(place % partitions, key.encode(), head.encode() + tails[row])


def _tails(pool: Pool) -> list[bytes]:
    """Write what an event says besides its id and time, for each row of the pool."""
    features = {name: values.tolist() for name, values in pool.numeric.items()}
    features |= {name: np.array(CATEGORIES[name])[codes].tolist() for name, codes in pool.categorical.items()}
    regions = np.array(REGIONS)[pool.region].tolist()
    tails = []
    for score, region, *values in zip(pool.score.tolist(), regions, *features.values(), strict=True):
        event = {
            "prediction": int(score >= 0.5),
            "score": score,
            "segment": {"region": region},
            "features": dict(zip(features, values, strict=True)),
        }
        tails.append(orjson.dumps(event)[1:])
    return tails


def json_labels(traffic: Traffic, partitions: int, *, with_prediction_time: bool = False) -> Iterator[Message]:
    """Write labels as messages of one event each, each on the partition of its prediction."""
    labels = zip(traffic.labelled.tolist(), traffic.label_time_ms.tolist(), traffic.label.tolist(), strict=True)
    for event, time_ms, label in labels:
        name = _id(traffic.seed, event)
        text = f'{{"prediction_id":"{name}","model":"{MODEL}","timestamp":{time_ms},"label":{label}'
        if with_prediction_time:
            text += f',"prediction_timestamp":{traffic.time_ms[event]}'
        yield Message(event % partitions, name.encode(), f"{text}}}".encode())


def arrow_messages(table: pa.Table, partition_of: Ints, partitions: int, events_a_message: int) -> Iterator[Message]:
    """Pack the rows of a table into Arrow streams, by partition, in the order in which their first events come."""
    parts = [table.filter(pa.array(partition_of == partition)) for partition in range(partitions)]
    for start in range(0, max((part.num_rows for part in parts), default=0), events_a_message):
        for partition, part in enumerate(parts):
            packed = part.slice(start, events_a_message)
            if packed.num_rows:
                yield Message(partition, b"%d-%d" % (partition, start), _arrow_stream(packed), packed.num_rows)


def _arrow_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def predictions_table(traffic: Traffic) -> pa.Table:
    """Give the predictions as a table with the fields of the event contract; without regions there is no segment."""
    pool, row = traffic.pool, traffic.row
    features = {name: pa.array(values[row]) for name, values in pool.numeric.items()}
    features |= {name: _texts(CATEGORIES[name], codes[row]) for name, codes in pool.categorical.items()}
    regions = [_texts(REGIONS, pool.region[row])] if len(pool.region) else []
    score = traffic.score
    columns = {
        "prediction_id": pa.array([_id(traffic.seed, event) for event in range(len(traffic))]),
        "model": _texts((MODEL,), np.zeros(len(row), np.int8)),
        "version": _texts((VERSION,), np.zeros(len(row), np.int8)),
        "timestamp": traffic.time_ms,
        "prediction": (score >= 0.5).astype(np.int64),
        "score": score,
        "features": pa.StructArray.from_arrays(list(features.values()), list(features)),
    }
    return pa.table(columns | ({"segment": pa.StructArray.from_arrays(regions, ["region"])} if regions else {}))


def _texts(values: Sequence[str], codes: Ints) -> pa.Array:
    return pa.array(values).take(pa.array(codes))


def labels_table(traffic: Traffic) -> pa.Table:
    """Give the labels as a table with the fields of the event contract."""
    return pa.table(
        {
            "prediction_id": pa.array([_id(traffic.seed, event) for event in traffic.labelled.tolist()]),
            "model": _texts((MODEL,), np.zeros(len(traffic.labelled), np.int8)),
            "timestamp": traffic.label_time_ms,
            "label": traffic.label,
        }
    )
