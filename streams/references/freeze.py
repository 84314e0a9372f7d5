"""The moment a model's first events become its reference: counted, frozen, and everything after them summarised.

It holds the model's join lock and pane lock alone, so no prediction or label is half way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from driftline.events import Coded, FeatureType, Ints
from driftline.settings import ReferenceSettings
from driftline.store.connection import Connection, bounded, rows, run
from labels_join.join import all_pairs
from streams.committing.deltas import PanesOf, outcomes_of, write_outcomes, write_panes
from streams.committing.extras import new_features_by_pane, write_extras
from streams.counting import count_predictions, summarise_predictions
from streams.monitored import EVERY_VERSION, MonitoredModel, Profiles, put_profile_in_force
from streams.panes import NO_PROFILE
from streams.references.reference import infer_feature_types, profile_from_batch
from streams.references.warm_up import Kept, kept_events, reference_name, with_columns
from streams.windows import floor_to


async def freeze_references(
    connection: Connection, profiles: Profiles, model: MonitoredModel, watermark_ms: int, *, categories_max: int
) -> list[str]:
    """Freeze the references of a model that have enough events; return whose they are (a version, or `*`).

    Parameters
    ----------
    watermark_ms
        The model's watermark: the pane of the last needed event must be closed.
    categories_max
        Bound on the categories of a feature.
    """
    wanted = _collected_references(model)
    sizes = {item.version: item.n for item in await rows(connection, "warm_up_sizes", model_ids=[model.model_id])}
    frozen = []
    for name, settings in wanted.items():
        if sizes.get(name, 0) >= (settings.first_events or 0) > 0 and await _freeze(
            connection, profiles, model, name, settings, watermark_ms, categories_max
        ):
            frozen.append(name)
    return frozen


async def references_complete(connection: Connection, models: Iterable[MonitoredModel]) -> set[str]:
    """Name the models that have collected enough events for a reference, so that it may be frozen."""
    wanted = {model.model_id: (model.name, _collected_references(model)) for model in models}
    collecting = [model_id for model_id, (_, references) in wanted.items() if references]
    if not collecting:
        return set()
    complete = set()
    for item in await rows(connection, "warm_up_sizes", model_ids=collecting):
        name, references = wanted[item.model_id]
        if item.version in references and item.n >= (references[item.version].first_events or 0):
            complete.add(name)
    return complete


def _collected_references(model: MonitoredModel) -> dict[str, ReferenceSettings]:
    references = {version: settings.reference for version, settings in model.settings.versions.items()}
    if model.settings.reference is not None:
        references[EVERY_VERSION] = model.settings.reference
    return {name: settings for name, settings in references.items() if settings.first_events is not None}


async def _freeze(
    connection: Connection,
    profiles: Profiles,
    model: MonitoredModel,
    name: str,
    settings: ReferenceSettings,
    watermark_ms: int,
    categories_max: int,
) -> bool:
    windows = model.settings.windows
    async with bounded(connection):
        if model.settings.has_labels:
            await rows(connection, "lock_join_alone", buckets=[model.bucket])
        await rows(connection, "lock_panes_alone", bucket=model.bucket)
        await model.refresh_names(connection)
        kept = await kept_events(connection, model, name)
        n = settings.first_events or 0
        if kept is None or len(kept.batch) < n:
            return False
        pane_end_ms = floor_to(int(kept.batch.time_ms[n - 1]), windows.pane_ms) + windows.pane_ms
        if watermark_ms < pane_end_ms + windows.allowed_lateness_ms:
            return False
        first = np.arange(len(kept.batch)) < n
        reference, pane_ms = kept.take(first), windows.pane_ms
        batch = replace(reference.batch, segments=_segment_columns(model, reference.segments))
        profile = profile_from_batch(
            batch,
            _feature_types(model, batch.raw_features or ()),
            task=model.settings.task,
            bins=model.settings.drift.bins,
            categories_max=categories_max,
            segments=model.settings.segments,
            segments_max=model.names_max["segment"],
            reconstruction=model.settings.drift.reconstruction,
        )
        profile_id = await put_profile_in_force(connection, model, name, profile)
        counted = count_predictions(batch.time_ms, reference.version, reference.segments, reference.late, pane_ms)
        await write_panes(connection, [PanesOf(model.model_id, NO_PROFILE, counted)])
        await _summarise_rest(connection, profiles, model, profile_id, kept.take(~first))
        await _pair_all(connection, profiles, model, profile_id, name)
        await run(connection, "end_warm_up", model_id=model.model_id, version=name)
    return True


def _segment_columns(model: MonitoredModel, segments: Ints) -> tuple[Coded, ...]:
    """Undo the codes: the values of each segment, as decoding gave them, the rest under its names."""
    names = model.names("segment")
    return tuple(
        Coded(codes.astype(np.int32), tuple(name.removeprefix(f"{of}=") for name in names))
        for of, codes in zip(model.settings.segments, segments.T, strict=True)
    )


def _feature_types(model: MonitoredModel, raw: tuple[dict[str, object], ...]) -> tuple[FeatureType, ...]:
    if model.settings.features is not None:
        return tuple(FeatureType(feature.name, feature.type) for feature in model.settings.features)
    return tuple(infer_feature_types(raw))


async def _summarise_rest(
    connection: Connection, profiles: Profiles, model: MonitoredModel, profile_id: int, rest: Kept
) -> None:
    if not len(rest.batch):
        return
    layout = await profiles.layout(connection, profile_id)
    batch = with_columns(rest.batch, layout.profile)
    pane_ms = model.settings.windows.pane_ms
    deltas = summarise_predictions(batch, rest.version, rest.segments, rest.late, layout, pane_ms)
    await write_panes(connection, [PanesOf(model.model_id, profile_id, deltas)])
    if "new_features" in model.settings.traffic.checks:
        await write_extras(connection, model, new_features_by_pane(batch, rest.late, pane_ms))


async def _pair_all(
    connection: Connection, profiles: Profiles, model: MonitoredModel, profile_id: int, name: str
) -> None:
    if not model.settings.has_labels:
        return
    versions = [code for code, version in enumerate(model.names("version")) if reference_name(model, version) == name]
    pairs = await all_pairs(connection, model.joined(), versions, len(model.settings.segments))
    if len(pairs):
        layout = await profiles.layout(connection, profile_id)
        await write_outcomes(connection, outcomes_of(model, profile_id, layout, pairs))
