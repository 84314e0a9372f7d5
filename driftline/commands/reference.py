"""`driftline reference`: what does "no drift" look like to a model?"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from detectors.reference.profile import FeatureProfile, Profile
from driftline.arguments import Time, known_model, named_person
from driftline.errors import ConfigurationError
from driftline.settings import Settings, load_settings
from driftline.wiring.by_hand import store_of
from driftline.wiring.references import reference_files
from retraining.words import time_in_words
from streams.monitored import EVERY_VERSION
from streams.references.accept import Accepted, Stretch, accept_stretch, find_model
from streams.references.reference import profile_from_file

EVERY_VERSION_SHOWN = {"*": "all versions"}
CHANGES_SHOWN_MAX = 5
HEADING = ("feature", "type", "bins", "missing", "other", "")

Built = dict[str, dict[str, tuple[Path, Profile]]]
"""By model and version (or `*`), a reference file and its profile."""


@click.group("reference")
def command() -> None:
    """Build the reference that no drift means, or accept what is seen as the new one."""


@command.command("build")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--model", help="Only this model of the configuration.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the profiles there, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def build(config: Path, model: str | None, output: Path | None, as_json: bool) -> None:
    """Freeze the reference files, and show what they say of features.

    Bins are those besides `missing` and `other`, which every feature has. The same files and settings give the same
    digest everywhere; a worker and a replay build the same profiles by themselves.
    """
    settings = load_settings(config, os.environ)
    built = _build(settings, _files(settings, model), quiet=as_json)
    if output is not None:
        _write(output, built)
    click.echo(json.dumps(_as_json(built, output)) if as_json else "\n".join(_as_text(built, output)))


@command.command("accept")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--model", required=True, help="Whose reference it is to be.")
@click.option("--version", help="Only this version's events; they become a reference of its own.")
@click.option("--from", "from_ms", required=True, type=Time(), metavar="TIME", help="Where the stretch begins.")
@click.option("--to", "to_ms", required=True, type=Time(), metavar="TIME", help="Where it ends, exclusive.")
@click.option("--by", metavar="NAME", help="Who does it; by default the login name.")
@click.option("--note", default="", metavar="TEXT", help="Why; it is kept in the audit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def accept(
    config: Path,
    model: str,
    version: str | None,
    from_ms: int,
    to_ms: int,
    by: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Say that what was seen from one time to another is the new normal.

    The events of that stretch, which must be closed, become the reference, in the bins of the old one. Running workers
    take it at once: windows that close from now on are compared with it, verdicts that were made stay, open episodes
    close as superseded. It stays until the configuration's reference file changes. Times without an offset are UTC; the
    stretch is cut to whole slides.
    """
    settings, person = load_settings(config, os.environ), named_person(by)
    of_model = settings.models[known_model(model, settings.models)]
    stretch = Stretch(version, from_ms, to_ms)

    async def go() -> Accepted:
        async with store_of(settings, config, "reference accept") as store:
            return await accept_stretch(store, await find_model(store, model, of_model), stretch, person, note)

    accepted = asyncio.run(go())
    told = json.dumps(_accepted_as_json(model, accepted)) if as_json else "\n".join(_accepted_as_text(model, accepted))
    click.echo(told)


def _accepted_as_text(model: str, accepted: Accepted) -> Iterator[str]:
    whose = f"{model} {accepted.reference}"
    if accepted.reference == EVERY_VERSION:
        whose = f"{model}, all versions that share its reference ({', '.join(accepted.versions)})"
    yield f"{whose}: {time_in_words(accepted.from_ms)} to {time_in_words(accepted.to_ms)}"
    yield f"{accepted.windows} windows, {accepted.events} events"
    if not accepted.is_new:
        yield f"digest {accepted.new_digest} is in force already: nothing was changed"
        return
    yield f"digest {accepted.new_digest} replaces {accepted.old_digest}"
    yield "what it changed most, by PSI from the old to the new reference:"
    shown = accepted.changes[:CHANGES_SHOWN_MAX]
    width = max(len(name) for name, _ in shown)
    for name, change in shown:
        yield f"  {name.ljust(width)}  {change:.4f}"
    yield f"windows that end after {time_in_words(accepted.in_force_ms)} are compared with it"


def _accepted_as_json(model: str, accepted: Accepted) -> dict[str, object]:
    return {
        "model": model,
        "reference": accepted.reference,
        "versions": list(accepted.versions),
        "from": time_in_words(accepted.from_ms),
        "to": time_in_words(accepted.to_ms),
        "windows": accepted.windows,
        "events": accepted.events,
        "old_digest": accepted.old_digest,
        "new_digest": accepted.new_digest,
        "changed": accepted.is_new,
        "psi": dict(accepted.changes),
        "in_force_after": time_in_words(accepted.in_force_ms),
    }


def _files(settings: Settings, model: str | None) -> dict[str, dict[str, Path]]:
    if model is not None:
        known_model(model, settings.models)
    chosen = settings.models if model is None else {model: settings.models[model]}
    files = {name: found for name, of in chosen.items() if (found := reference_files(of))}
    if not files:
        raise ConfigurationError(
            "nothing to build: no reference is a file", where=", ".join(chosen), remedy="set reference: {path: FILE}"
        )
    return files


def _build(settings: Settings, files: Mapping[str, Mapping[str, Path]], *, quiet: bool) -> Built:
    built: Built = {name: {} for name in files}
    with Progress(console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("reading", total=sum(map(len, files.values())))
        for name, versions in files.items():
            for version, path in versions.items():
                bar.update(task, description=f"{name}: {path.name}")
                built[name][version] = path, profile_from_file(path, settings.models[name], settings.limits)
                bar.advance(task)
    return built


def _write(output: Path, built: Built) -> None:
    profiles = {
        name: {version: json.loads(profile.to_json()) for version, (_, profile) in versions.items()}
        for name, versions in built.items()
    }
    try:
        output.write_text(json.dumps(profiles) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", where=str(output)) from None


def _as_text(built: Built, output: Path | None) -> Iterator[str]:
    for name, versions in built.items():
        for version, (path, profile) in versions.items():
            yield f"{name}, {EVERY_VERSION_SHOWN.get(version, version)}: {profile.n} usable rows of {_from_here(path)}"
            yield f"digest {profile.digest}"
            yield from _table([HEADING, *map(_facts, profile.features)])
            if segments := _segments(profile):
                yield f"  rows of {', '.join(f'{name}: {n}' for name, n in segments.items())}"
            yield ""
    yield f"Wrote {output}." if output is not None else "Nothing written; --output FILE.json keeps the profiles."


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _facts(feature: FeatureProfile) -> tuple[str, ...]:
    missing, other = _share(feature, feature.missing_index), _share(feature, feature.other_index)
    warning = "no usable value: is its type right?" if missing + other == 1 else ""
    return feature.name, feature.kind, str(feature.n_bins - 2), f"{missing:.2%}", f"{other:.2%}", warning


def _segments(profile: Profile) -> dict[str, int]:
    """Count the rows of each segment: each of them is in one bin of the last feature, the model's own output."""
    n_bins = profile.features[-1].n_bins
    return {segment.name: sum(segment.counts[-n_bins:]) for segment in profile.segments}


def _share(feature: FeatureProfile, at: int) -> float:
    return feature.counts[at] / max(1, sum(feature.counts))


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Align names to the left and numbers to the right.

    Examples
    --------
    >>> list(_table([("age", "numeric", "10", "0.00%", "0.00%", "")]))
    ['  age  numeric  10  0.00%  0.00%']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, *numbers, warning in rows:
        left = [name.ljust(widths[0]), kind.ljust(widths[1])]
        right = [number.rjust(width) for number, width in zip(numbers, widths[2:-1], strict=True)]
        yield f"  {'  '.join([*left, *right, warning])}".rstrip()


def _as_json(built: Built, output: Path | None) -> dict[str, object]:
    return {
        "output": None if output is None else str(output),
        "models": {
            name: {version: _profile_facts(path, profile) for version, (path, profile) in versions.items()}
            for name, versions in built.items()
        },
    }


def _profile_facts(path: Path, profile: Profile) -> dict[str, object]:
    return {
        "path": str(path),
        "rows": profile.n,
        "digest": profile.digest,
        "features": [
            {
                "name": feature.name,
                "type": feature.kind,
                "bins": feature.n_bins - 2,
                "missing_share": _share(feature, feature.missing_index),
                "other_share": _share(feature, feature.other_index),
            }
            for feature in profile.features
        ],
        "segments": _segments(profile),
    }
