"""Which model and kind is an event of?

Invariants: headers are believed first, then the event's own fields, then the topic; a guess made from bytes is only a
guess, and the columns of the guessed group tell which rows to look at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from driftline.events import MISSING, OTHER, Ints, Mask
from streams.decode.arrow import Find, as_codes, nulls
from streams.decode.columns import Table
from streams.decode.messages import Marks, Refused
from streams.decode.shapes import Event, EventShape, Kind, Paths, TopicRoute, lookup
from streams.decode.values import text_of

TOLD_BY_EACH = ""
"""Stands for the model of messages that are read together, and each of which tells its own."""

_TELLING: tuple[Kind, ...] = ("label", "prediction")
"""Kinds that an event shows by a field of that name, in the order in which they are tried."""


class Group(NamedTuple):
    """Messages that are probably of one kind and of models alike; what is told need not be looked for in them.

    Parameters
    ----------
    model
        The first of the models.
    """

    kind: Kind
    model: str
    model_told: bool
    kind_told: bool


@dataclass(frozen=True)
class Router:
    """Tells the model and kind of the events of one topic."""

    route: TopicRoute
    shapes: Mapping[str, EventShape]

    @cached_property
    def model_paths(self) -> Paths:
        """Where any of the topic's models may name itself."""
        models = self.route.models
        return tuple(dict.fromkeys(path for model in models for path in self.shapes[model].paths["model"]))

    @cached_property
    def kinds_by_model(self) -> Mapping[str, tuple[Kind, ...]]:
        """The kinds that the topic carries of each of its models."""
        carried = self.route.kinds
        return {model: tuple(kind for kind in carried if model in carried[kind]) for model in self.route.models}

    @cached_property
    def only_model(self) -> str | None:
        """The topic's model if it has just one."""
        return self.route.models[0] if len(self.route.models) == 1 else None

    def model_of(self, event: Event, marks: Marks) -> str:
        """Tell an event's model.

        Raises
        ------
        Refused
            `unknown_model`, or `missing_field` if nothing tells it.
        """
        if marks.model is not None:
            return self._known(marks.model, marks.model)
        found = lookup(event, self.model_paths)
        if found is not None:
            return self._known(text_of(found), found)
        if self.only_model is None:
            raise Refused(
                "missing_field", "the model is told by neither a header nor a field, and the topic has several"
            )
        return self.only_model

    def _known(self, model: str | None, found: object) -> str:
        if model is None or model not in self.kinds_by_model:
            raise Refused("unknown_model", "expected the name of a configured model", found)
        return model

    def kind_of(self, event: Event, model: str, marks: Marks) -> Kind:
        """Tell an event's kind.

        Raises
        ------
        Refused
            `unknown_kind`.
        """
        told = self.told_kind(model, marks)
        if told is not None:
            return told
        kinds, look = self.kinds_by_model[model], self.shapes[model].look
        for kind in _TELLING:
            if kind in kinds and look[kind](event) is not None:
                return kind
        if "feature" not in kinds:
            raise Refused("unknown_kind", f"expected one of the fields {' and '.join(_TELLING)}")
        return "feature"

    def told_kind(self, model: str, marks: Marks) -> Kind | None:
        """Tell the kind of a model's events from the topic or the headers alone, if they tell.

        Raises
        ------
        Refused
            `unknown_kind` if the header names a kind that the topic does not carry of the model.
        """
        kinds = self.kinds_by_model[model]
        if len(kinds) == 1:
            return kinds[0]
        for kind in kinds:
            if kind == marks.kind:
                return kind
        if marks.kind is not None:
            raise Refused("unknown_kind", f"header driftline-kind: expected {', '.join(kinds)}", marks.kind)
        return None

    @cached_property
    def alike(self) -> Mapping[str, str]:
        """For each model the first that is alike in all but the name: their messages can be read together."""
        first: dict[object, str] = {}
        return {
            model: first.setdefault((repr(replace(self.shapes[model], model="")), kinds), model)
            for model, kinds in self.kinds_by_model.items()
        }

    def guess(
        self, marks: Marks, indices: Sequence[int], value_of: Callable[[int], bytes]
    ) -> dict[tuple[Group, str] | None, list[int]]:
        """Sort messages with the same headers by probable group and model; None is "can't tell without parsing".

        Where all models are alike, none is looked for: the model is `TOLD_BY_EACH`.
        """
        model = self._told_model(marks)
        kinds = self.kinds_by_model.get(model or "", ())
        if model is not None and (len(kinds) <= 1 or marks.kind is not None):
            return {self._group_of(model, b"", marks): list(indices)}  # there is nothing to look for in the messages
        if model is None and (group := self._group_of_all(marks)) is not None:
            return {(group, TOLD_BY_EACH): list(indices)}
        groups: dict[tuple[Group, str] | None, list[int]] = {}
        of_model: dict[str | None, list[int]] = {}
        for index in indices:
            value = value_of(index)
            name = self._scanned_model(value) if model is None else model
            if name in of_model:
                of_model[name].append(index)
                continue
            guess = self._group_of(name, value, marks)
            members = groups.setdefault(guess, [])
            members.append(index)
            if guess is None or guess[0].kind_told:
                of_model[name] = members  # nothing else in the message was looked at
        return groups

    def _group_of_all(self, marks: Marks) -> Group | None:
        """Return the group of messages of any model, if all of the topic's are alike and their kind is told."""
        if len({*self.alike.values()}) > 1:
            return None
        found = self._group(self.route.models[0], marks, lambda names: False)
        return found[0] if found is not None and found[0].kind_told else None

    def _told_model(self, marks: Marks) -> str | None:
        return self.only_model if marks.model is None else marks.model

    def _group_of(self, model: str | None, value: bytes, marks: Marks) -> tuple[Group, str] | None:
        return self._group(model, marks, lambda names: any(b'"%b"' % name.encode() in value for name in names))

    def guess_table(self, find: Find, marks: Marks) -> tuple[Group, str] | None:
        """Guess the group and model of a table of events from its columns; None is "can't tell"."""
        told = self._told_model(marks)
        model = self._first_model(find) if told is None else told
        return self._group(model, marks, lambda names: any(find((name,)) is not None for name in names))

    def _group(
        self, model: str | None, marks: Marks, holds_any: Callable[[list[str]], bool]
    ) -> tuple[Group, str] | None:
        if model is None or model not in self.kinds_by_model:
            return None
        try:
            told = self.told_kind(model, marks)
        except Refused:
            return None
        kind = told or self._likely_kind(model, holds_any)
        return Group(kind, self.alike[model], marks.model is not None, told is not None), model

    def _likely_kind(self, model: str, holds_any: Callable[[list[str]], bool]) -> Kind:
        kinds, paths = self.kinds_by_model[model], self.shapes[model].paths
        for kind in _TELLING:
            if kind in kinds and holds_any([path[-1] for path in paths[kind]]):
                return kind
        return "feature" if "feature" in kinds else kinds[0]

    def _first_model(self, find: Find) -> str | None:
        for path in self.model_paths:
            array = find(path)
            if array is not None and len(array):
                return text_of(array[0].as_py())
        return None

    def _scanned_model(self, value: bytes) -> str | None:
        match = self._model_pattern.search(value)
        return match[1].decode("utf-8", "replace") if match else None

    @cached_property
    def _model_pattern(self) -> re.Pattern[bytes]:
        names = b"|".join(re.escape(path[-1].encode()) for path in self.model_paths)
        return re.compile(rb'"(?:' + names + rb')"\s*:\s*"([^"\\]*)"')

    def watched_paths(self, group: Group) -> Paths:
        """List the paths that would show that a message is of another model or kind than guessed."""
        paths = () if group.model_told else self.model_paths
        return paths + tuple(path for kind in self._other_kinds(group) for path in self.shapes[group.model].paths[kind])

    def models_of(self, table: Table) -> tuple[Ints, list[tuple[str, int]]]:
        """Return the rows of a table that tell a model of the topic, model by model, and how many each has of them."""
        array = table.column(self.model_paths)
        if array is None:
            return np.empty(0, np.int64), []
        coded, _ = as_codes(array)
        known = np.array([*(name in self.kinds_by_model for name in coded.values), False, False])
        rows = np.flatnonzero(known[coded.codes] & ~table.odd)
        rows = rows[np.argsort(coded.codes[rows], kind="stable")]
        counts = np.bincount(coded.codes[rows], minlength=len(coded.values)).tolist()
        return rows, [(name, n) for name, n in zip(coded.values, counts, strict=True) if n]

    def mark_others(self, table: Table, group: Group) -> None:
        """Mark the rows as odd that are of another model or kind than guessed."""
        if not group.model_told:
            table.odd[:] |= ~self._as_guessed(table)
        for kind in self._other_kinds(group):
            array = table.column(self.shapes[group.model].paths[kind])
            if array is not None:
                table.odd[:] |= ~nulls(array)

    def _other_kinds(self, group: Group) -> tuple[Kind, ...]:
        if group.kind_told:
            return ()
        kinds = self.kinds_by_model[group.model]
        return tuple(kind for kind in _TELLING if kind in kinds and kind != group.kind)

    def _as_guessed(self, table: Table) -> Mask:
        array = table.column(self.model_paths)
        if array is None:
            return np.full(table.rows, self.only_model is not None)
        coded, _ = as_codes(array)
        code_of = {text: code for code, text in enumerate(coded.values)}
        codes = [code_of.get(model, OTHER) for model, _ in table.models]
        guessed = np.repeat(codes, [rows for _, rows in table.models])
        unnamed = (coded.codes == MISSING) & (self.only_model is not None)
        as_guessed: Mask = unnamed | ((coded.codes == guessed) & (guessed >= 0))
        return as_guessed
