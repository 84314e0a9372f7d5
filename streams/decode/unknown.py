"""Which features come that a model does not know? Told by name, on a sample of the events.

Whether an event is in the sample follows from its id alone, so neither batches nor workers matter, and an event that is
not costs no more than the comparison of a column. Invariant: what is kept of a batch is bounded, whatever names it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa

from driftline.events import Bytes, Ints, Mask
from streams.decode.arrow import Find, is_scalar, nulls
from streams.decode.shapes import Event, EventShape, Path

SAMPLE_OF_65536 = 655
SAMPLE_SHARE = SAMPLE_OF_65536 / 65_536
"""About one event in a hundred."""

NAMES_A_BATCH_MAX = 50
"""Of more names in a batch the first by name are kept."""

NAME_CHARACTERS_MAX = 200


def in_sample(key: Bytes) -> Ints:
    """Return the rows that are in the sample, by the last two bytes of their keys.

    Examples
    --------
    >>> in_sample(np.array([[0] * 16, [200] * 16, [9] * 14 + [2, 142]], np.uint8)).tolist()
    [0, 2]
    """
    last = np.ascontiguousarray(key[:, -2:]).view(">u2").ravel()
    return np.flatnonzero(last < SAMPLE_OF_65536)


def new_in_event(event: Event, shape: EventShape) -> list[str]:
    """Name what stands where features stand, in the features object or else at the top, and is none that is known."""
    features = shape.look["features"](event)
    if type(features) is dict:
        return new_among(features, shape.known_features)
    return new_among(event, shape.known_fields)


def new_among(features: Mapping[str, object], known: Set[str]) -> list[str]:
    """Name the features that have a value and are not known; objects and lists are none.

    Examples
    --------
    >>> new_among({"age": 3, "city": "X", "gone": None, "list": []}, {"age"})
    ['city']
    """
    new = features.keys() - known  # nearly always there is none
    return sorted(name for name in new if not isinstance(features[name], dict | list | NoneType))


def new_in_table(names: Iterable[str], find: Find, shape: EventShape, *, has_object: bool) -> dict[str, Mask]:
    """Return which rows of a table carry the features that are not known.

    Parameters
    ----------
    names
        The table's columns.
    has_object
        Whether features stand in a features object; else they stand at the top level.
    """
    roots: list[Path] = [()]
    known = shape.known_fields
    if has_object:
        objects = {path: find(path) for path in shape.paths["features"]}
        held = {path: array for path, array in objects.items() if array is not None and pa.types.is_struct(array.type)}
        roots, known = [*held], shape.known_features
        names = [field.name for array in held.values() for field in array.type]
    found: dict[str, Mask] = {}
    for root in roots:
        for name in sorted({*names} - known):
            array = find((*root, name))
            if array is not None and _holds_scalars(array.type) and array.null_count < len(array):
                found[name] = found.get(name, False) | ~nulls(array)
    return found


def first_names(found: Mapping[str, Mask]) -> dict[str, Mask]:
    """Keep, of the names that any row carries, the first by name.

    Examples
    --------
    >>> list(first_names({"b": np.array([True, False]), "a": np.array([False, False])}))
    ['b']
    """
    return dict(sorted((name, rows) for name, rows in found.items() if rows.any())[:NAMES_A_BATCH_MAX])


def of_sample(found: Mapping[str, Mask], key: Bytes, order: Ints) -> dict[str, Mask]:
    """Return of what a table holds what the rows of a batch carry that are in the sample.

    Parameters
    ----------
    key, order
        Of the batch's rows; `order` is each one's row in the table.
    """
    sampled = np.zeros(len(order), np.bool_)
    sampled[in_sample(key)] = True
    carried = {name: rows[order] & sampled for name, rows in found.items()}
    return {name: rows for name, rows in carried.items() if rows.any()}


def _holds_scalars(kind: pa.DataType) -> bool:
    return is_scalar(kind.value_type if pa.types.is_dictionary(kind) else kind)


def by_name(told: Iterable[tuple[int, Iterable[str]]], n_rows: int) -> dict[str, Mask]:
    """Turn (row, names) into which rows carry each name.

    Examples
    --------
    >>> {name: rows.tolist() for name, rows in by_name([(0, ["b"]), (2, ["a", "b"])], 3).items()}
    {'a': [False, False, True], 'b': [True, False, True]}
    """
    rows: dict[str, list[int]] = {}
    for row, names in told:
        for name in names:
            rows.setdefault(name[:NAME_CHARACTERS_MAX], []).append(row)
    found: dict[str, Any] = {}
    for name in sorted(rows)[:NAMES_A_BATCH_MAX]:
        found[name] = np.zeros(n_rows, np.bool_)
        found[name][rows[name]] = True
    return found
