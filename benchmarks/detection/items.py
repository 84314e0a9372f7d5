"""Which streams of single values are watched? Errors of a model that was trained once, and values of a feature.

Every stream has a part before it, on which models are trained and scales are measured, a part in which nothing
changes, and a part after a change. Invariant: the same seed makes the same streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from sklearn.tree import DecisionTreeClassifier

from benchmarks.detection.concepts import (
    Centroids,
    Floats,
    Rows,
    agrawal,
    autoregressive,
    led,
    rbf,
    sea,
    stagger,
)
from benchmarks.detection.real import employment

TRAINED = 2_000
NULL, AFTER = 10_000, 3_000
CHANGE_AT = NULL
SHIFT = 1.0
FLIPPED = 0.15


class Items(NamedTuple):
    """Some streams of one kind.

    Parameters
    ----------
    kind
        `errors` are 0 or 1, `values` any number.
    before
        float64 [streams, TRAINED]; what came before, for those that need a reference.
    values
        float64 [streams, NULL + AFTER]; the change is at `CHANGE_AT`.
    """

    kind: Literal["errors", "values"]
    before: Floats
    values: Floats


Stream = Callable[[Generator], Floats]
"""Makes one stream, with what comes before it: TRAINED + NULL + AFTER values."""


def _bernoulli(before: float, after: float) -> Stream:
    def make(generator: Generator) -> Floats:
        share = np.repeat([before, after], [TRAINED + NULL, AFTER])
        return (generator.random(len(share)) < share).astype(np.float64)

    return make


def _errors(draw: Callable[[Generator], tuple[Rows, Rows]]) -> Stream:
    """Train a tree on the first rows of the old concept and tell where it errs from then on."""

    def make(generator: Generator) -> Floats:
        old, new = draw(generator)
        features, label = (np.concatenate(of) for of in zip(old, new, strict=True))
        tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=10, random_state=0)
        tree.fit(features[:TRAINED], label[:TRAINED])
        wrong: Floats = (tree.predict(features[TRAINED:]) != label[TRAINED:]).astype(np.float64)
        return wrong

    return make


_OLD = 2 * TRAINED + NULL


def _rbf(generator: Generator) -> tuple[Rows, Rows]:
    centroids = Centroids.drawn(generator)
    return rbf(generator, _OLD, centroids), rbf(generator, AFTER, centroids.relabelled(0.3))


def _ar(correlation: float) -> Stream:
    def make(generator: Generator) -> Floats:
        values = autoregressive(generator, TRAINED + NULL + AFTER, correlation)[:, 0]
        values[TRAINED + NULL :] += SHIFT
        return values

    return make


SYNTHETIC: Mapping[str, tuple[Literal["errors", "values"], Stream]] = {
    "Bernoulli .20 to .25": ("errors", _bernoulli(0.20, 0.25)),
    "Bernoulli .20 to .30": ("errors", _bernoulli(0.20, 0.30)),
    "Bernoulli .20 to .50": ("errors", _bernoulli(0.20, 0.50)),
    "SEA": ("errors", _errors(lambda g: (sea(g, _OLD, 0), sea(g, AFTER, 3)))),
    "LED": ("errors", _errors(lambda g: (led(g, _OLD, 0), led(g, AFTER, 3)))),
    "Agrawal": ("errors", _errors(lambda g: (agrawal(g, _OLD, 0), agrawal(g, AFTER, 2)))),
    "STAGGER": ("errors", _errors(lambda g: (stagger(g, _OLD, 0), stagger(g, AFTER, 1)))),
    "RBF": ("errors", _errors(_rbf)),
    "AR(1) 0": ("values", _ar(0.0)),
    "AR(1) .5": ("values", _ar(0.5)),
    "AR(1) .9": ("values", _ar(0.9)),
}
EMPLOYMENT = "employment, labels flipped"


def make_items(streams: int, data: Path | None, only: tuple[str, ...] | None = None) -> dict[str, Items]:
    """Make the streams of all families.

    Parameters
    ----------
    streams
        Of each family.
    data
        The folder of real data; without it they are left out.
    only
        These families, if not all.
    """
    families = dict(SYNTHETIC)
    if data is not None:
        wrong = employment(data).wrong

        def flipped(generator: Generator) -> Floats:
            errors = generator.permutation(wrong)[: TRAINED + NULL + AFTER]
            flip = generator.random(len(errors)) < FLIPPED
            flip[: TRAINED + NULL] = False
            return np.where(flip, 1.0 - errors, errors)

        families[EMPLOYMENT] = ("errors", flipped)
    made = {}
    for name, (kind, stream) in families.items():
        if only is None or name in only:
            rows = np.stack([stream(np.random.default_rng([*name.encode(), seed])) for seed in range(streams)])
            made[name] = Items(kind, rows[:, :TRAINED], rows[:, TRAINED:])
    return made
