"""What does one fetch from Kafka hold? Decoding: records in, batches of columns out.

Invariants: no bytes whatever make decoding raise; one bad message costs nothing but itself; the fast path, which reads
a group of messages as one table, gives what the row-by-row path gives; every record ends as rows, as a dead letter, or
in a counter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from driftline.events import DeadLetter, Decoded, Ints, LabelBatch, Mask
from driftline.settings.services import LimitSettings, Payloads
from streams.decode.arrow import finder
from streams.decode.batches import BUILDERS, merge
from streams.decode.blocks import is_block, is_line, read_block, short_lines
from streams.decode.columns import COLUMN_READERS, Table, by_model, table_of_messages
from streams.decode.messages import (
    Marks,
    Records,
    Refused,
    event_of,
    events_of,
    length_of,
    marks_of,
    parse_arrow,
    parse_json,
)
from streams.decode.payloads import kept_payload
from streams.decode.routing import TOLD_BY_EACH, Group, Router
from streams.decode.rows import Reading, read_feature, read_label, read_prediction
from streams.decode.shapes import Event, EventShape, Kind, TopicRoute
from streams.decode.sniff import sniff_any
from streams.decode.unknown import by_name, first_names, in_sample, new_in_event, new_in_table

FAST_ROWS_MIN = 160
"""Groups of fewer messages go row by row: reading a table has a fixed cost."""

DEAD_LETTERS_A_MESSAGE_MAX = 100
"""Dead letters made of one message; the rest of its refused events is counted as `dead_letters_left_out`."""

SAMPLE_EVERY = 1000
"""Unknown fields are counted in messages whose offset is a multiple of this."""

TABLES_BYTES_MAX = 8 * 1024 * 1024
"""Arrow messages are read together up to so much: compressed they may hold any multiple of what was fetched."""

Members = dict[str, list[int]]
"""Indices of messages in the fetch, rising, by model."""

_ROW_READERS: Mapping[Kind, Callable[[Event, int, Reading], Any]] = {
    "prediction": read_prediction,
    "label": read_label,
    "feature": read_feature,
}


@dataclass(frozen=True)
class Decoder:
    """Everything that decoding depends on besides the messages.

    Parameters
    ----------
    shapes
        By model.
    routes
        By topic.
    id_secret
        Key of the ids' digests, 1 to 64 bytes.
    payloads
        What dead letters keep of their messages; they quote values only where they may keep them.
    fast_rows_min
        Messages from which on a group is read as a table.
    """

    shapes: Mapping[str, EventShape]
    routes: Mapping[str, TopicRoute]
    limits: LimitSettings
    id_secret: bytes
    payloads: Payloads = "keep"
    fast_rows_min: int = FAST_ROWS_MIN

    def decode(self, topic: str, partition: int, records: Records) -> Decoded:
        """Decode what was fetched of one partition.

        Parameters
        ----------
        topic
            One of `routes`.
        records
            In the order of the log.
        """
        return _Fetch(self, topic, partition, records).decoded()

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """How to read each model's events."""
        return {model: Reading(shape, self.limits.id_bytes_max) for model, shape in self.shapes.items()}

    @cached_property
    def routers(self) -> Mapping[str, Router]:
        """Who tells the model and kind of an event, by topic."""
        return {topic: Router(route, self.shapes) for topic, route in self.routes.items()}


class _Fetch:
    """The state of decoding one fetch."""

    def __init__(self, decoder: Decoder, topic: str, partition: int, records: Records) -> None:
        self.decoder, self.topic, self.partition, self.records = decoder, topic, partition, records
        self.limits, self.router = decoder.limits, decoder.routers[topic]
        # A place in the log is record * stride + element until the number of elements of every record is known.
        self.stride = self.limits.array_events_max
        self.elements = np.ones(len(records), np.int64)
        self.marks = {headers: marks_of(headers) for headers in set(records.headers)}
        self.sampled = set(np.flatnonzero(records.offsets % SAMPLE_EVERY == 0).tolist())
        self.rows: dict[tuple[Kind, str], list[Any]] = {}
        self.parts: dict[tuple[Kind, str], list[Any]] = {}
        self.dead: list[DeadLetter] = []
        self.refused: Counter[int] = Counter()
        self.payload = (-1, b"")
        self.counts: Counter[tuple[str, str]] = Counter()
        self.tables: dict[tuple[Group, pa.Schema], dict[str, list[tuple[int, pa.Table]]]] = {}
        """Arrow messages that are parsed, by their columns and models."""
        self.tables_bytes = 0
        self.columns: dict[int, dict[str, Mask]] = {}
        """Of Arrow messages: which of their events carry features that are not known."""
        self.parsed: tuple[int, list[object]] = (-1, [])

    def decoded(self) -> Decoded:
        lines: dict[Marks, list[int]] = {}
        single: list[int] = []
        bytes_max = self.limits.message_bytes_max
        for marks, indices in self._by_marks().items():
            lines[marks] = [] if marks.is_arrow else short_lines(self.records.values, indices, bytes_max)
            if len(lines[marks]) < len(indices):
                for index in sorted(set(indices).difference(lines[marks])):
                    self._sort_out(index, marks, lines[marks], single)
        self._read_tables()
        for group, members in self._groups(lines, single).items():
            single += self._read_group(group, members)
        for index in single:
            self._read_message(index)
        return self._result()

    def _by_marks(self) -> dict[Marks, Sequence[int]]:
        """Return the messages, by what their headers say."""
        if len(self.marks) == 1:
            return {marks: range(len(self.records)) for marks in self.marks.values()}
        indices: dict[Marks, list[int]] = {}
        for index, headers in enumerate(self.records.headers):
            indices.setdefault(self.marks[headers], []).append(index)
        return dict(indices)

    def _sort_out(self, index: int, marks: Marks, lines: list[int], single: list[int]) -> None:
        """Look closer at a message that is not certainly a line: it may be one, or is read alone or not at all."""
        value = self.records.values[index]
        if not value:
            self._count_empty(index, "tombstone" if value is None else "empty")
        elif len(value) > self.limits.message_bytes_max:
            what = f"the message: expected at most {self.limits.message_bytes_max} bytes"
            self._refuse(index, 0, Refused("too_large", what, length_of(value)))
        elif marks.is_arrow:
            self._read_arrow(index, value)
        elif is_line(value):
            lines.append(index)
        else:
            single.append(index)

    def _groups(self, lines: Mapping[Marks, list[int]], single: list[int]) -> dict[Group, Members]:
        """Group messages that may be read as one table; the others join the single ones."""
        groups: dict[Group, Members] = {}
        for marks, indices in lines.items():
            for guess, members in self.router.guess(marks, indices, self._value).items():
                if guess is None:
                    single += members
                else:
                    group, model = guess
                    groups.setdefault(group, {}).setdefault(model, []).extend(members)
        for group in [group for group, members in groups.items() if _size(members) < self.decoder.fast_rows_min]:
            single += _flat(groups.pop(group))
        for own in chain.from_iterable(members.values() for members in groups.values()):
            own.sort()  # messages of one model may have come under different headers
        return groups

    def _read_group(self, group: Group, members: Members) -> list[int]:
        """Read messages as one table; return those that have to be read one by one."""
        indices = _flat(members)
        values = [self._value(index) for index in indices]
        block = b"\n".join(values)
        if not is_block(block, len(values)):
            fit = {model: [i for i in own if is_block(self._value(i), 1)] for model, own in members.items()}
            unfit = sorted(set(indices).difference(_flat(fit)))
            return unfit + self._read_group(group, fit) if len(unfit) < len(indices) else unfit
        sniffed = sniff_any(values, group.kind, self.decoder.shapes[group.model], self.router.watched_paths(group))
        parsed = None if sniffed is None else read_block(block, sniffed.schema, max(map(len, values)))
        if sniffed is None or parsed is None or parsed.num_rows != len(values):
            return indices
        models, read = [(model, len(own)) for model, own in members.items()], np.array(indices)
        if TOLD_BY_EACH in members:
            rows, models = self.router.models_of(table_of_messages(parsed, models, read * self.stride, sniffed))
            parsed, read = parsed.take(pa.array(rows)), read[rows]
        if not models:
            return indices
        table = table_of_messages(parsed, models, read * self.stride, sniffed)
        self._keep(group, table)
        model_of = np.repeat([model for model, _ in models], [n for _, n in models])
        for row in np.flatnonzero(np.isin(read, [*self.sampled]) & ~table.odd).tolist():
            event = event_of(parse_json(self._value(int(read[row]))))
            self._count_unknown(event, group.kind, str(model_of[row]))
        return sorted(set(indices).difference(read[~table.odd].tolist()))

    def _read_message(self, index: int) -> None:
        """Read a JSON message event by event."""
        try:
            elements = events_of(parse_json(self._value(index)))
            if len(elements) > self.limits.array_events_max:
                what = f"the message: expected at most {self.limits.array_events_max} events"
                raise Refused("too_many_events", what, len(elements))
        except Refused as refused:
            self._refuse(index, 0, refused)
            return
        if not elements:
            self._count_empty(index, "empty")
            return
        self.elements[index] = len(elements)
        for element, event in enumerate(elements):
            self._read_event(index, element, event)

    def _read_arrow(self, index: int, value: bytes) -> None:
        """Parse an Arrow message; it is read as a table, with others that have the same columns."""
        try:
            parsed = parse_arrow(value, self.limits.array_events_max)
        except Refused as refused:
            self._refuse(index, 0, refused)
            return
        if not parsed.num_rows:
            self._count_empty(index, "empty")
            return
        self.elements[index] = parsed.num_rows
        guess = self.router.guess_table(finder(parsed), self._marks(index))
        if guess is None or self.decoder.shapes[guess[1]].features is None:
            self._read_rows(parsed, self._order(index, parsed))
            return
        group, model = guess
        self.tables.setdefault((group, parsed.schema), {}).setdefault(model, []).append((index, parsed))
        self.tables_bytes += parsed.nbytes
        if self.tables_bytes >= TABLES_BYTES_MAX:
            self._read_tables()

    def _read_tables(self) -> None:
        """Read the Arrow messages that were parsed: what has the same columns as one table, odd rows one by one."""
        tables, self.tables, self.tables_bytes = self.tables, {}, 0
        for (group, _), members in tables.items():
            parts = list(chain.from_iterable(members.values()))
            parsed, shape = pa.concat_tables([part for _, part in parts]), self.decoder.shapes[group.model]
            find, order = finder(parsed), np.concatenate([self._order(*part) for part in parts])
            has_object = any(find(path) is not None for path in shape.paths["features"])
            models = [(model, sum(part.num_rows for _, part in own)) for model, own in members.items()]
            table = Table(find, models, order, has_object, np.zeros(len(order), np.bool_))
            self._keep(group, table)
            found = new_in_table(parsed.column_names, find, shape, has_object=has_object)
            ends = np.cumsum([part.num_rows for _, part in parts]).tolist()
            for (index, part), end in zip(parts, ends, strict=True):
                self.columns[index] = first_names({name: of[end - part.num_rows : end] for name, of in found.items()})
            self._read_rows(parsed.filter(pa.array(table.odd)), order[table.odd])

    def _order(self, index: int, parsed: pa.Table) -> Ints:
        return index * self.stride + np.arange(parsed.num_rows)

    def _read_rows(self, parsed: pa.Table, order: Ints) -> None:
        for place, event in zip(order.tolist(), parsed.to_pylist(), strict=True):
            self._read_event(place // self.stride, place % self.stride, event)

    def _keep(self, group: Group, table: Table) -> None:
        """Keep the rows of a table that are not odd."""
        self.router.mark_others(table, group)
        batch = COLUMN_READERS[group.kind](table, self.decoder.readings[group.model], self.decoder.id_secret)
        for model, part in by_model(batch, table):
            self.parts.setdefault((group.kind, model), []).append(part)

    def _read_event(self, index: int, element: int, candidate: object) -> None:
        model = None
        try:
            event = event_of(candidate)
            model = self.router.model_of(event, self._marks(index))
            kind = self.router.kind_of(event, model, self._marks(index))
            row = _ROW_READERS[kind](event, index * self.stride + element, self.decoder.readings[model])
        except Refused as refused:
            self._refuse(index, element, refused, model)
            return
        if row is None:
            self.counts[model, "offline_features"] += 1
        else:
            self.rows.setdefault((kind, model), []).append(row)
            if index in self.sampled:
                self._count_unknown(event, kind, model)

    def _count_unknown(self, event: Event, kind: Kind, model: str) -> None:
        shape = self.decoder.shapes[model]
        features = shape.look["features"](event) if kind != "label" else None
        # While the features are not known, whatever stands at the top level may be one.
        if shape.features is not None or type(features) is dict:
            self._count(model, "unknown_field", len(event.keys() - shape.known_fields))
        if shape.features is not None and type(features) is dict:
            self._count(model, "unknown_feature", len(features.keys() - shape.known_features))

    def _count(self, model: str, reason: str, number: int) -> None:
        if number:
            self.counts[model, reason] += number

    def _count_empty(self, index: int, reason: str) -> None:
        self.elements[index] = 0
        model = self._marks(index).model
        self._count(model if model is not None and model in self.router.kinds_by_model else "*", reason, 1)

    def _refuse(self, index: int, element: int, refused: Refused, model: str | None = None) -> None:
        self.refused[index] += 1
        if self.refused[index] > DEAD_LETTERS_A_MESSAGE_MAX:
            self._count(model or "*", "dead_letters_left_out", 1)
            return
        letter = DeadLetter(
            refused.reason,
            refused.detail(self.decoder.payloads == "keep"),
            model,
            self.topic,
            self.partition,
            int(self.records.offsets[index]),
            element,
            self._payload(index),
        )
        self.dead.append(letter)

    def _payload(self, index: int) -> bytes:
        # One slice for all the refused events of a message: ten thousand copies would be memory nobody counted on.
        if self.payload[0] != index:
            bytes_max = self.limits.dead_letter_payload_bytes_max
            self.payload = (index, kept_payload(self._value(index), self.decoder.payloads, bytes_max))
        return self.payload[1]

    def _marks(self, index: int) -> Marks:
        return self.marks[self.records.headers[index]]

    def _value(self, index: int) -> bytes:
        return self.records.values[index] or b""

    def _result(self) -> Decoded:
        for (kind, model), rows in self.rows.items():
            rows.sort(key=lambda row: row.order)
            batch = BUILDERS[kind](rows, self.decoder.shapes[model], self.decoder.id_secret)
            self.parts.setdefault((kind, model), []).append(batch)
        first = np.cumsum(self.elements) - self.elements
        result = Decoded(
            record_of=np.repeat(np.arange(len(self.records)), self.elements),
            dead=sorted(self.dead, key=lambda letter: (letter.offset, letter.element)),
            counts=dict(self.counts),
        )
        batches: dict[Kind, dict[str, Any]] = {
            "prediction": result.predictions,
            "label": result.labels,
            "feature": result.features,
        }
        for (kind, model), parts in self.parts.items():
            merged = self._with_new_features(merge(parts), model)
            order = first[merged.order // self.stride] + merged.order % self.stride
            batches[kind][model] = replace(merged, order=order)
        return result

    def _with_new_features(self, batch: Any, model: str) -> Any:
        """Say which events of the sample carry features that are not known; the sample is read once more."""
        shape = self.decoder.shapes[model]
        if isinstance(batch, LabelBatch) or shape.features is None:
            return batch
        rows = in_sample(batch.key)
        told = [(row, self._new_in(*divmod(int(batch.order[row]), self.stride), shape)) for row in rows.tolist()]
        return replace(batch, new_features=by_name(told, len(batch)))

    def _new_in(self, index: int, element: int, shape: EventShape) -> list[str]:
        if self._marks(index).is_arrow:
            return [name for name, carried in self.columns.get(index, {}).items() if carried[element]]
        if self.parsed[0] != index:  # the events of one message stand side by side
            self.parsed = (index, events_of(parse_json(self._value(index))))
        return new_in_event(event_of(self.parsed[1][element]), shape)


def _size(members: Members) -> int:
    return sum(map(len, members.values()))


def _flat(members: Members) -> list[int]:
    return list(chain.from_iterable(members.values()))
