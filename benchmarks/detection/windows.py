"""Which streams of feature windows are watched? A reference, windows in which nothing changed, and changed ones.

Synthetic features, and real rows in random order (so that nothing changes but what is injected). Invariant: the same
seed makes the same streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from benchmarks.detection.concepts import AGRAWAL, Centroids, Columns, Floats, agrawal, autoregressive, led, rbf, sea
from benchmarks.detection.real import Data, employment, housing

NULL, AFTER = 30, 10
"""Windows before the change, and with it."""


class Windows(NamedTuple):
    """One stream of windows.

    Parameters
    ----------
    reference
        What no drift means.
    rows
        All windows, one after the other.
    size
        Rows of a window.
    changed
        The features that change with window `NULL`.
    """

    reference: Columns
    rows: Columns
    size: int
    changed: frozenset[str]

    @property
    def n(self) -> int:
        """How many windows there are."""
        return len(next(iter(self.rows.values()))) // self.size

    def window(self, number: int) -> Columns:
        """Return the rows of one window."""
        own = slice(number * self.size, (number + 1) * self.size)
        return {name: column[own] for name, column in self.rows.items()}


class Spec(NamedTuple):
    """How a stream of windows is drawn.

    Parameters
    ----------
    reference, size
        Rows of the reference and of a window.
    draw
        Draws so many unchanged rows, in their order.
    change
        Draws so many changed rows, or changes rows that were drawn; returns the names of what it changed, too.
    """

    reference: int
    size: int
    draw: Callable[[Generator, int], Columns]
    change: Callable[[Generator, Columns], tuple[Columns, set[str]]]


def _named(features: Floats) -> Columns:
    return {f"x{number}": column for number, column in enumerate(features.T)}


def _normal(generator: Generator, n: int) -> Columns:
    return _named(generator.normal(size=(n, 10)))


def _with(rows: Columns, **columns: object) -> tuple[Columns, set[str]]:
    return {**rows, **{name: np.asarray(column) for name, column in columns.items()}}, set(columns)


def _correlated(correlation: float) -> Callable[[Generator, int], Columns]:
    return lambda generator, n: _named(autoregressive(generator, n, correlation, 10))


def _stagger(generator: Generator, n: int, shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)) -> Columns:
    kinds = {
        "size": ("small", "medium", "large"),
        "colour": ("red", "blue", "green"),
        "shape": ("circle", "square", "other"),
    }
    drawn = {name: np.array(of)[generator.integers(0, 3, n)] for name, of in kinds.items()}
    return {**drawn, "colour": np.array(kinds["colour"])[generator.choice(3, n, p=shares)]}


def _led(generator: Generator, n: int, noise: float = 0.1) -> Columns:
    features = led(generator, n, 0, noise).features
    return {f"x{number}": np.where(column > 0, "on", "off") for number, column in enumerate(features.T)}


def _agrawal(generator: Generator, n: int) -> Columns:
    features = agrawal(generator, n, 0).features
    columns = dict(zip(AGRAWAL, features.T, strict=True))
    return {name: column.astype(int).astype(str) if name in ("car", "zipcode", "elevel") else column
            for name, column in columns.items()}  # fmt: skip


def _colours(generator: Generator, rows: Columns) -> tuple[Columns, set[str]]:
    return _with(rows, colour=_stagger(generator, len(rows["size"]), (0.5, 0.3, 0.2))["colour"])


_CENTROIDS = Centroids.drawn(np.random.default_rng(0))

SYNTHETIC: Mapping[str, Spec] = {
    "normal, a mean moves by 0.5": Spec(5_000, 500, _normal, lambda g, rows: _with(rows, x0=rows["x0"] + 0.5)),
    "normal, windows of 100": Spec(5_000, 100, _normal, lambda g, rows: _with(rows, x0=rows["x0"] + 0.5)),
    "AR(1) .9, a mean moves by 1": Spec(
        5_000, 500, _correlated(0.9), lambda g, rows: _with(rows, x0=rows["x0"] + 1.0)
    ),
    "SEA, a range shrinks": Spec(
        5_000, 500, lambda g, n: _named(sea(g, n, 0).features), lambda g, rows: _with(rows, x0=2 + 0.8 * rows["x0"])
    ),
    "LED, noise of 30 %, not 10": Spec(
        5_000, 500, _led, lambda g, rows: (_led(g, len(rows["x0"]), 0.3), {f"x{segment}" for segment in range(7)})
    ),
    "STAGGER, colours shift": Spec(
        5_000, 500, _stagger, _colours
    ),
    "Agrawal, ages from 30": Spec(
        5_000, 500, _agrawal, lambda g, rows: _with(rows, age=g.integers(30, 81, len(rows["age"])).astype(float))
    ),
    "RBF, centroids move": Spec(
        5_000,
        500,
        lambda g, n: _named(rbf(g, n, _CENTROIDS).features),
        lambda g, rows: (
            _named(rbf(g, len(rows["x0"]), _CENTROIDS.moved(0.15)).features),
            set(rows),
        ),
    ),
}  # fmt: skip


def _missing(name: str, share: float) -> Callable[[Generator, Columns], tuple[Columns, set[str]]]:
    def change(generator: Generator, rows: Columns) -> tuple[Columns, set[str]]:
        column = rows[name]
        nothing = "" if column.dtype.kind == "U" else np.nan
        return _with(rows, **{name: np.where(generator.random(len(column)) < share, nothing, column)})

    return change


def _times(name: str, factor: float) -> Callable[[Generator, Columns], tuple[Columns, set[str]]]:
    return lambda generator, rows: _with(rows, **{name: rows[name] * factor})


def _unseen(name: str, share: float) -> Callable[[Generator, Columns], tuple[Columns, set[str]]]:
    def change(generator: Generator, rows: Columns) -> tuple[Columns, set[str]]:
        return _with(rows, **{name: np.where(generator.random(len(rows[name])) < share, "new", rows[name])})

    return change


def _rows_of(data: Data) -> Callable[[Generator, int], Columns]:
    def draw(generator: Generator, n: int) -> Columns:
        order = generator.permutation(len(data.label))[:n]
        return {name: column[order] for name, column in data.features.items()}

    return draw


def real_specs(folder: Path) -> dict[str, Spec]:
    """Return the streams that are drawn from real data: all windows and the reference hold different rows."""
    of_employment, of_housing = _rows_of(employment(folder)), _rows_of(housing(folder))
    return {
        "employment, ages +5": Spec(
            10_000, 500, of_employment, lambda g, rows: _with(rows, AGEP=rows["AGEP"] + 5.0)
        ),
        "employment, SCHL missing in 20 %": Spec(10_000, 500, of_employment, _missing("SCHL", 0.2)),
        "employment, RELP new in 5 %": Spec(10_000, 500, of_employment, _unseen("RELP", 0.05)),
        "housing, incomes +20 %": Spec(2_500, 80, of_housing, _times("MedInc", 1.2)),
        "housing, AveRooms missing in 20 %": Spec(2_500, 80, of_housing, _missing("AveRooms", 0.2)),
        "housing, Population in thousands": Spec(2_500, 80, of_housing, _times("Population", 0.001)),
    }  # fmt: skip


def make_windows(streams: int, data: Path | None) -> dict[str, list[Windows]]:
    """Make so many streams of each kind; without the folder of real data only synthetic ones."""
    specs = {**SYNTHETIC, **(real_specs(data) if data is not None else {})}
    return {
        name: [_make(spec, np.random.default_rng([*name.encode(), seed])) for seed in range(streams)]
        for name, spec in specs.items()
    }


def _make(spec: Spec, generator: Generator) -> Windows:
    drawn = spec.draw(generator, spec.reference + (NULL + AFTER) * spec.size)
    end = spec.reference + NULL * spec.size
    changed, names = spec.change(generator, {name: column[end:] for name, column in drawn.items()})
    rows = {name: np.concatenate([column[spec.reference : end], changed[name]]) for name, column in drawn.items()}
    reference = {name: column[: spec.reference] for name, column in drawn.items()}
    return Windows(reference, rows, spec.size, frozenset(names))
