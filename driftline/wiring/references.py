"""Reference files become profiles in force."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from detectors.reference.profile import Profile
from driftline.events import FeatureType
from driftline.settings import ModelSettings, Settings
from driftline.store.connection import Connection, bounded, connect, run
from streams.monitored import EVERY_VERSION, MonitoredModel, put_profile_in_force
from streams.references.reference import profile_from_file


def reference_files(model: ModelSettings) -> dict[str, Path]:
    """Name a model's reference files, by version (or `*`); a version that learns from its first events has none."""
    references = {version: of.reference for version, of in model.versions.items()}
    if model.reference is not None:
        references[EVERY_VERSION] = model.reference
    return {version: reference.path for version, reference in references.items() if reference.path is not None}


def file_profiles(settings: Settings, model: ModelSettings) -> dict[str, Profile]:
    """Build the profiles of a model's reference files, by version (or `*`).

    Raises
    ------
    InputError
        If a file can't be read or does not fit the settings.
    """
    return {
        version: profile_from_file(path, model, settings.limits) for version, path in reference_files(model).items()
    }


async def put_references_in_force(
    connection: Connection, models: Mapping[str, MonitoredModel], profiles: Mapping[str, Mapping[str, Profile]]
) -> None:
    """Compare every model with its reference files from now on; what is in force already stays.

    So does what a person accepted, until the file has another digest than it had then. Segments of the references come
    first where `limits.segments_max` leaves no room for all.
    """
    for name, of_model in profiles.items():
        segments = {segment.name for profile in of_model.values() for segment in profile.segments}
        await models[name].admit_segments(connection, sorted(segments))
    async with bounded(connection):
        for name, of_model in profiles.items():
            for version, profile in of_model.items():
                await put_profile_in_force(connection, models[name], version, profile)
        for model in models.values():
            configured = list(model.settings.versions)
            await run(connection, "release_versions", model_id=model.model_id, configured=configured)


def types_in(profiles: Mapping[str, Profile]) -> list[FeatureType] | None:
    """Return the feature types of a model's reference, or None without one."""
    for profile in profiles.values():
        return [FeatureType(feature.name, feature.kind) for feature in profile.features if feature.name[:1] != "@"]
    return None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Open a connection and close it again."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()
