"""What do SEA, LED, STAGGER, Agrawal and RBF streams hold? Features and classes, before and after a change of concept.

Written from the papers, a whole stream at a time; a test holds the class of every row to river's generators. Pure.

References
----------
.. [1] W. N. Street and Y. Kim, "A streaming ensemble algorithm (SEA) for large-scale classification", KDD 2001.
.. [2] L. Breiman et al., "Classification and regression trees", 1984: the LED display.
.. [3] J. C. Schlimmer and R. H. Granger, "Incremental learning from noisy data", Machine Learning 1, 1986: STAGGER.
.. [4] R. Agrawal et al., "Database mining: a performance perspective", IEEE TKDE 5, 1993.
.. [5] A. Bifet et al., "New ensemble methods for evolving data streams", KDD 2009: random radial basis functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = Mapping[str, NDArray[Any]]
"""Features by name: float64 with NaN for missing, or text with an empty text for missing."""


class Rows(NamedTuple):
    """Features of a stream, one row an item, and each row's class."""

    features: Floats
    label: Ints


SEA_THRESHOLDS = (8.0, 9.0, 7.0, 9.5)


def sea(generator: Generator, n: int, variant: int, noise: float = 0.1) -> Rows:
    """Draw three uniform features of 0 to 10; the class is whether the first two exceed a threshold."""
    features = generator.uniform(0.0, 10.0, (n, 3))
    label = sea_class(features, variant) ^ (generator.random(n) < noise)
    return Rows(features, label.astype(np.int64))


def sea_class(features: Floats, variant: int) -> Ints:
    """Return the class without noise."""
    above: Ints = (features[:, 0] + features[:, 1] > SEA_THRESHOLDS[variant]).astype(np.int64)
    return above


LED_SEGMENTS = np.array(
    [[int(lit) for lit in digit] for digit in
     ("1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011")]
)  # fmt: skip
"""The seven segments that are lit for each digit."""


def led(generator: Generator, n: int, swapped: int, noise: float = 0.1) -> Rows:
    """Draw the segments of digits, some of them flipped by noise, and 17 irrelevant ones.

    Parameters
    ----------
    swapped
        So many segments have changed places with irrelevant ones.
    """
    digit = generator.integers(0, 10, n)
    lit = LED_SEGMENTS[digit] ^ (generator.random((n, 7)) < noise)
    features = np.concatenate([lit, generator.integers(0, 2, (n, 17))], axis=1).astype(np.float64)
    places = np.arange(24)
    places[:swapped], places[7 : 7 + swapped] = np.arange(7, 7 + swapped), np.arange(swapped)
    return Rows(features[:, places], digit)


def stagger(generator: Generator, n: int, variant: int) -> Rows:
    """Draw sizes, colours and shapes, each of three kinds; the class is one of three rules."""
    features = generator.integers(0, 3, (n, 3)).astype(np.float64)
    return Rows(features, stagger_class(features, variant))


def stagger_class(features: Floats, variant: int) -> Ints:
    """Return 1 for small and red; green or circular; medium or large."""
    size, colour, shape = features.T
    rules = (size == 0) & (colour == 0), (colour == 2) | (shape == 0), (size == 1) | (size == 2)
    holds: Ints = rules[variant].astype(np.int64)
    return holds


AGRAWAL = ("salary", "commission", "age", "elevel", "car", "zipcode", "hvalue", "hyears", "loan")


def agrawal(generator: Generator, n: int, variant: int, noise: float = 0.05) -> Rows:
    """Draw loan applicants; the class is whether they belong to group A of a rule."""
    salary = generator.uniform(20_000, 150_000, n)
    commission = np.where(salary >= 75_000, 0.0, generator.uniform(10_000, 75_000, n))
    age, elevel = generator.integers(20, 81, n), generator.integers(0, 5, n)
    car, zipcode = generator.integers(1, 21, n), generator.integers(0, 9, n)
    hvalue = (9.0 - zipcode) * 100_000 * (0.5 + generator.random(n))
    hyears, loan = generator.integers(1, 31, n), generator.uniform(0, 500_000, n)
    features = np.stack([salary, commission, age, elevel, car, zipcode, hvalue, hyears, loan], axis=1)
    label = agrawal_class(features, variant) ^ (generator.random(n) < noise)
    return Rows(features, label.astype(np.int64))


def agrawal_class(features: Floats, variant: int) -> Ints:
    """Return the class by one of Agrawal's first three rules: 1 is group A."""
    salary, _, age, elevel = features.T[:4]
    young, old = age < 40, age >= 60
    in_a = (
        young | old,
        np.select(
            [young, old],
            [(salary >= 50_000) & (salary <= 100_000), (salary >= 25_000) & (salary <= 75_000)],
            (salary >= 75_000) & (salary <= 125_000),
        ),
        np.select([young, old], [elevel <= 1, (elevel >= 2) & (elevel <= 4)], (elevel >= 1) & (elevel <= 3)),
    )
    is_in_a: Ints = in_a[variant].astype(np.int64)
    return is_in_a


class Centroids(NamedTuple):
    """Where classes gather."""

    places: Floats
    spread: Floats
    label: Ints

    @classmethod
    def drawn(cls, generator: Generator, n: int = 50, features: int = 10) -> Centroids:
        """Draw centroids in the unit cube, half of each class."""
        return cls(generator.random((n, features)), generator.random(n) * 0.2, np.arange(n) % 2)

    def moved(self, by: float) -> Centroids:
        """Return them with all places farther along every axis by so much, where a wall turns them back."""
        return self._replace(places=1.0 - np.abs(1.0 - (self.places + by)))

    def relabelled(self, share: float) -> Centroids:
        """Return them with the first of them in the other class."""
        return self._replace(label=np.where(np.arange(len(self.label)) < share * len(self.label), 1, 0) ^ self.label)


def rbf(generator: Generator, n: int, centroids: Centroids) -> Rows:
    """Draw rows around centroids: in any direction, at a normal distance."""
    own = generator.integers(0, len(centroids.label), n)
    direction = generator.normal(size=(n, centroids.places.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    distance = generator.normal(size=n) * centroids.spread[own]
    return Rows(centroids.places[own] + direction * distance[:, None], centroids.label[own])


def autoregressive(generator: Generator, n: int, correlation: float, series: int = 1) -> Floats:
    """Draw first-order autoregressive series of unit variance, shape ``(n, series)``."""
    values = generator.normal(size=(n, series))
    for row in range(1, n):
        values[row] = correlation * values[row - 1] + np.sqrt(1.0 - correlation**2) * values[row]
    return values
