"""How much do features, and watched series, swing from piece to piece of a stream? Learnt bit by bit, and bounded."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from detectors.noise.dependence import Dispersion, FloatArray, IntArray, compare_means, compare_shares

PIECES_A_SLIDE = 4
"""Into so many parts a slide is cut: neighbouring ones tell of events that resemble each other within minutes."""

PARTS_PAIRS_MIN = PIECES_A_SLIDE - 1
"""One slide tells enough for a first guess."""

LENGTHS_PAIRS_MIN = 8
"""Whole windows tell also of what swings more slowly, but a pair of them is rare: a few by chance tell nothing."""

PANES_A_PIECE = 8
PANES_PAIRS_MIN, PIECES_PAIRS_MIN = 30, 16
"""The difference of two means has one degree of freedom: it takes many pairs to tell."""

_HEADER = struct.Struct("<qqq")


@dataclass(frozen=True)
class FeatureSwings:
    """What is known of the features of one version and segment.

    Parameters
    ----------
    parts, lengths
        Dispersion from part to part of a slide, and from one window's length to the next.
    start_ms
        Where the length begins that is not over yet.
    growing, last
        Counts by bin of that length and of the one before, the latter None at first.
    """

    parts: Dispersion
    lengths: Dispersion
    start_ms: int
    growing: IntArray
    last: IntArray | None

    @classmethod
    def unknown(cls, features: int, bins: int, start_ms: int) -> Self:
        """Return what is known before the first slide."""
        nothing = Dispersion.unknown(features)
        return cls(nothing, nothing, start_ms, np.zeros(bins, np.int64), None)

    def after(self, parts: IntArray, start_ms: int, starts: IntArray) -> FeatureSwings:
        """Return what is known after one more slide.

        Parameters
        ----------
        parts
            int64 [parts, bins]; the slide's counts.
        start_ms
            Where the window's length begins that the slide lies in.
        starts
            Where each feature's bins start.
        """
        learnt = replace(self, parts=self.parts.after(compare_shares(parts, starts)))
        slide = parts.sum(axis=0)
        if start_ms == self.start_ms:
            return replace(learnt, growing=self.growing + slide)
        lengths = self.lengths
        if self.last is not None:
            lengths = lengths.after(compare_shares(np.stack([self.last, self.growing]), starts))
        return replace(learnt, lengths=lengths, start_ms=start_ms, growing=slide, last=self.growing)

    def seasonal(self, like: IntArray | None, starts: IntArray) -> FeatureSwings:
        """Return what is known when the growing length, now over, was held against its like phase a season before.

        Where features follow the hour, neighbouring lengths differ anyway and say nothing about chance.

        Parameters
        ----------
        like
            Counts by bin of that phase; None where it held nothing.
        """
        lengths = self.lengths
        if like is not None:
            lengths = lengths.after(compare_shares(np.stack([like, self.growing]), starts))
        return replace(self, lengths=lengths, last=None)

    def known(self, freedoms: FloatArray, *, seasonal: bool = False) -> FloatArray:
        """Return each feature's dispersion.

        Parameters
        ----------
        freedoms
            In how many directions the shares of each feature's bins move, at least 1.
        seasonal
            Whether windows are compared with like phases, so that only what like phases differ by counts.
        """
        of_lengths = self.lengths.known_together(LENGTHS_PAIRS_MIN, freedoms)
        if seasonal:
            return of_lengths
        return np.maximum(self.parts.known_together(PARTS_PAIRS_MIN, freedoms), of_lengths)

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        header = _HEADER.pack(self.start_ms, self.parts.means.size, self.growing.size)
        counts = [self.growing] if self.last is None else [self.growing, self.last]
        stored = [of.astype("<i8").tobytes() for of in counts]
        return b"".join((header, self.parts.to_bytes(), self.lengths.to_bytes(), *stored))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return what `to_bytes` was given."""
        start_ms, features, bins = _HEADER.unpack_from(content)
        width, at = 16 * features, _HEADER.size
        parts, lengths = (Dispersion.from_bytes(content[at + of * width : at + (of + 1) * width]) for of in (0, 1))
        counts = np.frombuffer(content, "<i8", offset=at + 2 * width).astype(np.int64)
        return cls(parts, lengths, start_ms, counts[:bins], counts[bins:] if counts.size > bins else None)


class SeriesSwings:
    """What is known of the series that sequential detectors watch: learnt from the panes that these are fed with.

    Parameters
    ----------
    content
        As `to_bytes` returned it; None for nothing.
    """

    def __init__(self, series: int, content: bytes | None) -> None:
        self._panes = self._pieces = Dispersion.unknown(series)
        if content is not None:
            half = len(content) // 2
            self._panes, self._pieces = Dispersion.from_bytes(content[:half]), Dispersion.from_bytes(content[half:])

    @staticmethod
    def size(series: int) -> int:
        """Return how long the stored form is, in bytes."""
        return 2 * 16 * series

    def learn(self, counts: IntArray, sums: IntArray, squares: IntArray) -> FloatArray:
        """Learn from some panes in a row, int64 [panes, series], and return each series' dispersion."""
        of_panes = (counts, sums, squares)
        self._panes = self._panes.after(compare_means(*of_panes))
        whole = len(counts) // PANES_A_PIECE * PANES_A_PIECE
        pieces = [of[:whole].reshape(-1, PANES_A_PIECE, of.shape[1]).sum(axis=1) for of in of_panes]
        if whole:
            self._pieces = self._pieces.after(compare_means(*pieces))
        one = np.ones(counts.shape[1])
        return np.maximum(self._panes.known(PANES_PAIRS_MIN, one), self._pieces.known(PIECES_PAIRS_MIN, one))

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return self._panes.to_bytes() + self._pieces.to_bytes()
