"""Can the configuration be read, do the files it names hold what it says, and are the programs that we start here?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from driftline.doctor import Finding, fail, ok, warn
from driftline.embedded import embedded_binaries
from driftline.errors import ConfigurationError, InputError, ServiceUnavailableError
from driftline.settings import ModelSettings, ReferenceSettings, Settings, load_settings
from labels_join.calibration import why_not_estimated
from streams.references.reference import profile_from_file


def check_configuration(path: Path, environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """Load the configuration; None if it can't be used."""
    try:
        settings = load_settings(path, environ)
    except ConfigurationError as error:
        return None, fail("configuration", error)
    overrides = sum(name.startswith("DRIFTLINE__") for name in environ)
    models = _named(list(settings.models))
    return settings, [ok("configuration", f"{path}: {models}; {overrides} overrides from the environment")]


MODELS_NAMED_MAX = 10


def _named(models: Sequence[str]) -> str:
    """Name a few models, and count the others.

    Examples
    --------
    >>> _named([f"m{n}" for n in range(12)])
    'm0, m1, m2, m3, m4, m5, m6, m7, m8, m9 and 2 more'
    """
    more = len(models) - MODELS_NAMED_MAX
    return ", ".join(models[:MODELS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def check_references(settings: Settings) -> Iterator[Finding]:
    """Read every reference file as `driftline run` would."""
    for name, model in settings.models.items():
        for of, reference in references_of(name, model).items():
            if reference.path is None:
                yield ok("reference", f"{of}: collected from the first {reference.first_events} events")
                continue
            try:
                profile = profile_from_file(reference.path, model, settings.limits)
            except InputError as error:
                yield from fail("reference", error)
            else:
                features = sum(not feature.name.startswith("@") for feature in profile.features)
                told = f"{of}: {reference.path}, {features} features, digest {profile.digest}"
                why_not = why_not_estimated(profile) if model.has_labels else None
                yield ok("reference", told + (f"; no estimates before labels: {why_not}" if why_not else ""))


def check_seasons(settings: Settings) -> Iterator[Finding]:
    """Look for seasons that nothing is compared with."""
    for name, model in settings.models.items():
        if model.windows.seasonality_ms is not None and not model.drift.window_effects:
            told = f"{name}: nothing is compared with past seasons, for drift.detectors names no window statistic"
            yield warn("seasons", f"{told}; add one, such as psi, or take windows.seasonality away")


def references_of(name: str, model: ModelSettings) -> dict[str, ReferenceSettings]:
    """Name the references of a model: its own, and those of single versions."""
    own = {} if model.reference is None else {name: model.reference}
    return own | {f"{name} {version}": of.reference for version, of in model.versions.items()}


def check_embedded() -> list[Finding]:
    """Check that there is an embedded Postgres, which only replay and demo use."""
    try:
        return [ok("embedded postgres", str(embedded_binaries()))]
    except ServiceUnavailableError as error:
        return [warn("embedded postgres", f"{error}; only replay and demo use it")]
