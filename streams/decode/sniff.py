"""Which schema do a group's messages have? The first of them tells.

Invariants: whatever Arrow parses with the schema says the same as `streams.decode.rows` would read from it, or shows by
its columns that it is odd. So every path that `streams.decode.rows` might look at is in the schema; where two paths
exclude each other, the one that stays makes Arrow fail on a message that has the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from detectors.canonical import canonical
from streams.decode.messages import Refused, is_envelope, parse_json
from streams.decode.shapes import Event, EventShape, Kind, Path, Paths, lookup

LEAVES_MAX = 5_000
"""Columns of a schema; a message with more goes row by row."""

TEXT_ROLES: Mapping[Kind, tuple[str, ...]] = {
    "prediction": ("id", "time", "version", "variant"),
    "label": ("id", "time", "prediction_time"),
    "feature": ("id", "time", "version", "source"),
}
NUMBER_ROLES: Mapping[Kind, tuple[str, ...]] = {"prediction": ("score",), "label": ("reward",), "feature": ()}
OUTCOME_ROLES: Mapping[Kind, tuple[str, ...]] = {"prediction": ("prediction",), "label": ("label",), "feature": ()}

_OBJECT = pa.struct([])
_TEXT_TYPES: Mapping[type, pa.DataType] = {
    type(None): pa.string(),
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.float64(),
    float: pa.float64(),
}


class Sniffed(NamedTuple):
    """How to read a group.

    Parameters
    ----------
    root
        Where the event stands in the message: `()`, or `("data",)` in a CloudEvents envelope.
    has_object
        Whether the features stand in a features object.
    """

    schema: pa.Schema
    root: Path
    has_object: bool


class _UnfitError(Exception):
    """No schema can describe the group."""


def sniff_any(values: Sequence[bytes], kind: Kind, shape: EventShape, others: Paths) -> Sniffed | None:
    """Read a schema off the first of a group's messages that has one; see `sniff`.

    One of three may be broken without costing the others their fast path.
    """
    for value in (values[0], values[len(values) // 2], values[-1]):
        try:
            sniffed = sniff(parse_json(value), kind, shape, others)
        except Refused:
            continue
        if sniffed is not None:
            return sniffed
    return None


def sniff(document: object, kind: Kind, shape: EventShape, others: Paths) -> Sniffed | None:
    """Find the schema of a group from one of its messages.

    Parameters
    ----------
    document
        The parsed message.
    others
        Further paths that must be seen: those that tell the model, or another kind of event.

    Returns
    -------
    None if the group has to go row by row.
    """
    root: Path = ("data",) if type(document) is dict and is_envelope(document) else ()
    event = lookup(document, (root,))
    if type(event) is not dict or shape.features is None:
        return None
    has_object = kind != "label" and shape.look["features"](event) is not None
    try:
        wanted = _wanted(event, kind, shape, others, has_object)
        leaves = {(*root, *path): leaf for path, leaf in wanted.items()} | {("specversion",): pa.string()}
        return Sniffed(_schema(leaves), root, has_object)
    except (_UnfitError, UnicodeEncodeError):  # JSON lets a class be named by a lone surrogate, Arrow does not
        return None


def _wanted(event: Event, kind: Kind, shape: EventShape, others: Paths, has_object: bool) -> dict[Path, pa.DataType]:
    number_paths = [path for role in NUMBER_ROLES[kind] for path in shape.paths[role]]
    text_paths = [*others, *(path for role in TEXT_ROLES[kind] for path in shape.paths[role])]
    outcomes = [path for role in OUTCOME_ROLES[kind] for path in shape.paths[role]]
    (number_paths if shape.task == "regression" else text_paths).extend(outcomes)
    objects: list[Path] = []
    if kind == "prediction" and shape.task == "multiclass":
        objects += shape.paths["probabilities"]
        number_paths += _classes(event, shape)
    if kind != "label":
        objects += shape.paths["features"]
        text_paths += [path for paths in shape.segment_paths for path in paths]
        candidates = shape.inner_features if has_object else shape.outer_features
        for feature, paths in zip(shape.features or (), candidates, strict=True):
            (number_paths if feature.kind == "numeric" else text_paths).extend(paths)
    wanted: dict[Path, pa.DataType] = dict.fromkeys(objects, _OBJECT)
    wanted |= {path: _text_type(event, path) for path in text_paths}
    wanted |= dict.fromkeys(number_paths, pa.float64())
    if len(wanted) > LEAVES_MAX:
        raise _UnfitError
    return _without_conflicts(event, wanted)


def _classes(event: Event, shape: EventShape) -> list[Path]:
    paths = []
    for root in shape.paths["probabilities"]:
        probabilities = lookup(event, (root,))
        if type(probabilities) is dict:
            if any(canonical(name) != name for name in probabilities):
                raise _UnfitError
            paths += [(*root, name) for name in probabilities]
    return paths


def _text_type(event: Event, path: Path) -> pa.DataType:
    kind = _TEXT_TYPES.get(type(lookup(event, (path,))))
    if kind is None:
        raise _UnfitError
    return kind


def _without_conflicts(event: Event, wanted: Mapping[Path, pa.DataType]) -> dict[Path, pa.DataType]:
    kept = {}
    for path, leaf in wanted.items():
        above = [path[:length] for length in range(1, len(path))]
        if any(wanted.get(prefix, _OBJECT) is not _OBJECT for prefix in above):
            continue  # a scalar is wanted there too, and Arrow fails on a message that has an object instead
        if any(type(lookup(event, (prefix,))) not in (dict, type(None)) for prefix in above):
            raise _UnfitError
        kept[path] = leaf
    return kept


def _schema(leaves: Mapping[Path, pa.DataType]) -> pa.Schema:
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        if leaf is _OBJECT:
            node.setdefault(path[-1], {})
        else:
            node[path[-1]] = leaf
    return pa.schema(_fields(tree))


def _fields(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(node)) if isinstance(node, dict) else node) for name, node in tree.items()]
