"""What one fetch holds for one model, written: repeats dropped, rows stored, pairs made, deltas summarised.

First the join, then the summary, so that the pane lock, which keeps windows from being closed, is held no longer than
the summary takes. The caller takes the locks and moves the offset in the same transaction. What counts is decided by
the log: of two predictions that say the same, of two labels that must not differ, and of two sources of one id's
features, the one that stands first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from driftline.events import Bytes, FeatureBatch, Ints, Mask, PredictionBatch
from driftline.store.connection import Connection
from labels_join.join import (
    Added,
    add_labels,
    add_predictions,
    add_served_features,
    features_counted_before,
    repeated_predictions,
)
from labels_join.outcomes import Pairs
from labels_join.repeats import comes_after, first_in_batch, kept_by_share
from streams.committing.deltas import outcomes_of, write_outcomes
from streams.committing.extras import Extras, new_features_by_pane, repeats_by_pane, write_extras
from streams.committing.prepared import CodedFeatures, CodedLabels, CodedPredictions, PreparedModel
from streams.counting import Part
from streams.monitored import MonitoredModel, Profiles, profile_of_version
from streams.references.warm_up import keep_for_reference, with_columns

InForce = Mapping[tuple[int, str], int]
"""Profile ids by (model id, version or `*`)."""


@dataclass(slots=True)
class Joined:
    """What is left to summarise after the join.

    Parameters
    ----------
    predictions, features
        Those that are no repeats.
    pairs
        Predictions that met their labels.
    """

    predictions: CodedPredictions | None = None
    features: CodedFeatures | None = None
    pairs: list[Pairs] = field(default_factory=list)


class PartOf(NamedTuple):
    """Events of a model to be summarised under one profile."""

    model_id: int
    profile_id: int
    part: Part


@dataclass(frozen=True, slots=True)
class ModelCommit:
    """Writes what one fetch holds for one model, in two steps; the offset is not moved yet.

    Parameters
    ----------
    counts
        Events by (model, reason), to be added to.
    extras
        What comes beside what counts, to be added to.
    """

    connection: Connection
    profiles: Profiles
    item: PreparedModel
    counts: Counter[tuple[str, str]]
    extras: Extras = field(default_factory=Counter)

    @property
    def model(self) -> MonitoredModel:
        """The model."""
        return self.item.model

    async def join(self, in_force: InForce) -> Joined:
        """Store what is new and find its pairs; the caller holds the join lock.

        Parameters
        ----------
        in_force
            Profile ids by (model id, version or `*`); they may be put in force, but not out of it, until the summary.
        """
        joined = Joined(*await self._first_sources(in_force))
        if not self.model.settings.has_labels:
            return joined
        if joined.predictions is not None and len(joined.predictions.batch):
            keyed = joined.predictions.keyed
            kept = keyed.take(self._is_kept(keyed.key))
            joined.pairs.append(self._pairs(await add_predictions(self.connection, self.model.joined(), kept)))
        if joined.features is not None and len(joined.features.batch):
            batch = joined.features.batch
            await add_served_features(self.connection, self.model.joined(), batch.key, batch.time_ms)
        if self.item.labels is not None:
            joined.pairs.append(await self._add_labels(self.item.labels))
        return joined

    async def summarise(self, joined: Joined, in_force: InForce) -> list[PartOf]:
        """Write the deltas of pairs, and return the predictions and served features to be summarised with others'.

        The caller holds the pane lock.
        """
        parts: list[PartOf] = []
        if joined.predictions is not None and len(joined.predictions.batch):
            parts += await self._predictions(joined.predictions, in_force)
        if joined.features is not None and len(joined.features.batch):
            parts += await self._features(joined.features, in_force)
        for pairs in joined.pairs:
            await self._outcomes(pairs, in_force)
        await write_extras(self.connection, self.model, self.extras)
        return parts

    async def _first_sources(self, in_force: InForce) -> tuple[CodedPredictions | None, CodedFeatures | None]:
        """Leave out what says again what was said before; of an id's features, what came first in the log counts."""
        predictions, features = self.item.predictions, self._features_with_reference(in_force)
        if predictions is not None:
            self._count("prediction", len(predictions.batch))
        if not self.model.settings.has_labels:
            return predictions, features
        if predictions is not None:
            predictions = await self._new_predictions(predictions)
        if features is not None:
            n = len(features.batch)
            features = await self._new_features(features)
            if predictions is not None:
                telling = predictions.batch.take(predictions.batch.has_features)
                key, order = features.batch.key, features.batch.order
                features = features.take(~comes_after(key, order, telling.key, telling.order))
                key, order = features.batch.key, features.batch.order
                predictions = predictions.without_features(
                    comes_after(predictions.batch.key, predictions.batch.order, key, order)
                )
            self._count("repeated_features", n - len(features.batch))
        return predictions, features

    def _features_with_reference(self, in_force: InForce) -> CodedFeatures | None:
        """Leave out feature events that can't be counted, so that the features of their predictions are."""
        part = self.item.features
        if part is None:
            return None
        self._count("feature_event", len(part.batch))
        without = self._by_profile(part.version, in_force).get(None, np.zeros(len(part.batch), np.bool_))
        self._count("features_without_reference", int(without.sum()))
        part = part.take(~without)
        if not self.model.settings.has_labels:
            return part
        # Of an id that is not kept, nothing will tell later whether its prediction carried the features itself.
        kept = self._is_kept(part.batch.key)
        self._count("features_not_kept", int((~kept).sum()))
        return part.take(kept)

    def _is_kept(self, key: Bytes) -> Mask:
        """Tell which ids are joined with labels; of the others, repeats can't be noticed either."""
        labels = self.model.settings.labels
        return kept_by_share(key, 0.0 if labels is None else labels.keep_share)

    async def _new_predictions(self, part: CodedPredictions) -> CodedPredictions:
        joined = self.model.joined()
        repeated = self._is_kept(part.keyed.key)
        repeated[repeated] = await repeated_predictions(self.connection, joined, part.keyed.take(repeated))
        self._count("repeated_prediction", int(repeated.sum()))
        if repeated.any() and "duplicates" in self.model.settings.traffic.checks:
            keyed = part.keyed
            self.extras.update(repeats_by_pane(keyed.time_ms[repeated], keyed.late[repeated], self._pane_ms))
        part = part.take(~repeated)
        counted = await features_counted_before(self.connection, joined, part.keyed.key, by_events_only=True)
        return part.without_features(counted)

    async def _new_features(self, part: CodedFeatures) -> CodedFeatures:
        key = part.batch.key
        counted = await features_counted_before(self.connection, self.model.joined(), key, by_events_only=False)
        return part.take(~counted & first_in_batch(key))

    async def _add_labels(self, part: CodedLabels) -> Pairs:
        kept = part.take(self._is_kept(part.keyed.key))
        n_segments = len(self.model.settings.segments)
        added = await add_labels(self.connection, self.model.joined(), kept.keyed, n_segments)
        self._count("label", len(part.batch))
        self._count("label_not_kept", len(part.batch) - len(kept.batch))
        self._count("repeated_label", added.repeats)
        return self._pairs(added)

    def _pairs(self, added: Added) -> Pairs:
        self._count("label_prediction_time_wrong", added.apart)
        return added.pairs

    async def _predictions(self, part: CodedPredictions, in_force: InForce) -> list[PartOf]:
        parts = []
        for profile_id, chosen in self._by_profile(part.keyed.version, in_force).items():
            some = part.take(chosen)
            if profile_id is None:
                await keep_for_reference(self.connection, self.model, some.batch, some.keyed)
                continue
            layout, keyed = await self.profiles.layout(self.connection, profile_id), some.keyed
            batch = with_columns(some.batch, layout.profile)
            self._note_new_features(batch, keyed.late)
            of = Part(batch, keyed.version, keyed.segments, keyed.late, layout, self._pane_ms)
            parts.append(PartOf(self.model.model_id, profile_id, of))
        return parts

    async def _features(self, part: CodedFeatures, in_force: InForce) -> list[PartOf]:
        parts = []
        for profile_id, chosen in self._by_profile(part.version, in_force).items():
            assert profile_id is not None, "features without a reference were left out"
            some, layout = part.take(chosen), await self.profiles.layout(self.connection, profile_id)
            batch = with_columns(some.batch, layout.profile)
            self._note_new_features(batch, some.late)
            of = Part(batch, some.version, some.segments, some.late, layout, self._pane_ms)
            parts.append(PartOf(self.model.model_id, profile_id, of))
        return parts

    async def _outcomes(self, pairs: Pairs, in_force: InForce) -> None:
        self._count("pair", int(pairs.weight.sum()))
        for profile_id, chosen in self._by_profile(pairs.version, in_force).items():
            if profile_id is None:
                continue  # all pairs so far are summarised at once when the reference is complete
            layout = await self.profiles.layout(self.connection, profile_id)
            await write_outcomes(self.connection, outcomes_of(self.model, profile_id, layout, pairs.take(chosen)))

    def _note_new_features(self, batch: PredictionBatch | FeatureBatch, late: Mask) -> None:
        if batch.new_features and "new_features" in self.model.settings.traffic.checks:
            self.extras.update(new_features_by_pane(batch, late, self._pane_ms))

    @property
    def _pane_ms(self) -> int:
        return self.model.settings.windows.pane_ms

    def _by_profile(self, version: Ints, in_force: InForce) -> dict[int | None, Any]:
        """Return, by profile id (None while the reference is still collected), which rows belong to it."""
        names = self.model.names("version")
        chosen: dict[int | None, Any] = {}
        for code in np.unique(version).tolist():
            profile_id = profile_of_version(in_force, self.model, names[code])
            chosen[profile_id] = chosen.get(profile_id, False) | (version == code)
        return chosen

    def _count(self, reason: str, n: int) -> None:
        if n:
            self.counts[self.model.name, reason] += n
