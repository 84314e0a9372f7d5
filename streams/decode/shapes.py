"""What does decoding know of a model: where do its fields stand, and which topics carry it?

Invariants: a field is looked up along candidate paths, and the first value that is not null counts; the path mapped in
the configuration comes before the contract's own name, so a model mapped to a foreign payload takes contract events
too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import methodcaller
from typing import Any, Literal

from driftline.events import FeatureType
from driftline.settings.metrics import Task
from driftline.settings.models import ModelSettings
from driftline.settings.root import Settings

Kind = Literal["prediction", "label", "feature"]
Path = tuple[str, ...]
Paths = tuple[Path, ...]
Event = dict[str, Any]

CONTRACT_NAMES: Mapping[str, str] = {
    "id": "prediction_id",
    "time": "timestamp",
    "prediction": "prediction",
    "score": "score",
    "label": "label",
    "version": "version",
    "model": "model",
    "variant": "variant",
    "features": "features",
    "segment": "segment",
    "probabilities": "probabilities",
    "reward": "reward",
    "prediction_time": "prediction_timestamp",
    "source": "source",
}
"""What each role of a field is called in the contract."""

KNOWN_FIELDS = frozenset(CONTRACT_NAMES.values()) | {"request_id", "latency_ms", "error", "sample_rate"}
"""Top-level names that are no surprise in an event."""

_KINDS: Mapping[str, Kind] = {"predictions": "prediction", "labels": "label", "features": "feature"}


def lookup(event: object, paths: Paths) -> Any:
    """Return the first value that is not null along the candidate paths, else None."""
    for path in paths:
        value = event
        for name in path:
            if type(value) is not dict:
                value = None
                break
            value = value.get(name)
        if value is not None:
            return value
    return None


def _looker(paths: Paths) -> Callable[[Event], Any]:
    # Most fields stand at the top level, under one name; this is three times as fast.
    return methodcaller("get", paths[0][0]) if len(paths) == len(paths[0]) == 1 else partial(lookup, paths=paths)


@dataclass(frozen=True)
class EventShape:
    """Where the fields of one model's events stand.

    Parameters
    ----------
    columns
        Dotted path by role (a key of `CONTRACT_NAMES`), for the roles that the configuration maps.
    segments
        Names of the monitored segments.
    features
        Monitored features; None while they are not known yet (`features: auto` with `first_events`).
    feature_paths
        Dotted path by feature name, for features that do not stand under their own name.
    keeps_ids
        Whether anything is kept under an event's id: until its label comes, or its reference is complete.

    Examples
    --------
    >>> shape = EventShape("m", "binary", {"id": "request.id"}, (), None)
    >>> shape.paths["id"]
    (('request.id',), ('request', 'id'), ('prediction_id',))
    """

    model: str
    task: Task
    columns: Mapping[str, str]
    segments: tuple[str, ...]
    features: tuple[FeatureType, ...] | None
    feature_paths: Mapping[str, str] = field(default_factory=dict)
    keeps_ids: bool = True

    @cached_property
    def paths(self) -> Mapping[str, Paths]:
        """Candidate paths by role."""
        return {role: self._role_paths(role) for role in CONTRACT_NAMES}

    @cached_property
    def look(self) -> Mapping[str, Callable[[Event], Any]]:
        """How to find a role's value in an event; None if it is absent or null."""
        return {role: _looker(paths) for role, paths in self.paths.items()}

    def _role_paths(self, role: str) -> Paths:
        own = CONTRACT_NAMES[role]
        if role not in self.columns:
            return ((own,),)
        mapped = paths_of(self.columns[role])
        # A monitored feature that happens to be called like a field of the contract is not that field.
        taken = {feature.name for feature in self.features or ()}
        return mapped if own in taken or (own,) in mapped else (*mapped, (own,))

    @cached_property
    def inner_features(self) -> tuple[Paths, ...]:
        """For each feature, its candidate paths in an event that has a features object."""
        return tuple(self._explicit(feature.name) + self._below("features", feature.name) for feature in self._types)

    @cached_property
    def outer_features(self) -> tuple[Paths, ...]:
        """For each feature, its candidate paths in an event without a features object: the top level."""
        return tuple(self._explicit(feature.name) + paths_of(feature.name) for feature in self._types)

    @cached_property
    def plain_names(self) -> tuple[str, ...] | None:
        """The features' names if each is read from the features object by just its name, else None."""
        names = tuple(feature.name for feature in self._types)
        plain = all(
            paths == ((*self.paths["features"][0], name),)
            for paths, name in zip(self.inner_features, names, strict=True)
        )
        return names if plain else None

    @cached_property
    def segment_paths(self) -> tuple[Paths, ...]:
        """For each segment, its candidate paths: the segment object, then the features, then the top level."""
        return tuple(
            self._below("segment", name) + self._explicit(name) + self._below("features", name) + paths_of(name)
            for name in self.segments
        )

    @cached_property
    def known_fields(self) -> frozenset[str]:
        """Top-level names that this model's events may have."""
        features = {path[0] for paths in self.outer_features for path in paths}
        mapped = {path[0] for dotted in self.columns.values() for path in paths_of(dotted)}
        return KNOWN_FIELDS | features | mapped | set(self.segments)

    @cached_property
    def known_features(self) -> frozenset[str]:
        """Names that this model's features object may have."""
        base = self.paths["features"]
        inner = {
            path[len(root)]
            for paths in self.inner_features
            for path in paths
            for root in base
            if path[: len(root)] == root and len(path) > len(root)
        }
        return frozenset(inner) | set(self.segments)

    @property
    def _types(self) -> tuple[FeatureType, ...]:
        return self.features or ()

    def _explicit(self, name: str) -> Paths:
        return paths_of(self.feature_paths[name]) if name in self.feature_paths else ()

    def _below(self, role: str, name: str) -> Paths:
        return tuple(root + path for root in self.paths[role] for path in paths_of(name))


@dataclass(frozen=True)
class TopicRoute:
    """Which kinds of events of which models one topic carries.

    Parameters
    ----------
    kinds
        Names of the models, by kind; no kind without a model.
    """

    topic: str
    kinds: Mapping[Kind, tuple[str, ...]]

    @cached_property
    def models(self) -> tuple[str, ...]:
        """All models of the topic, each once."""
        return tuple(dict.fromkeys(model for models in self.kinds.values() for model in models))


def paths_of(dotted: str) -> Paths:
    """List the ways to read a dotted path: as one name with dots in it, then as names within names.

    Examples
    --------
    >>> paths_of("petal.length"), paths_of("age")
    ((('petal.length',), ('petal', 'length')), (('age',),))
    """
    names = tuple(dotted.split("."))
    return ((dotted,),) if len(names) == 1 else ((dotted,), names)


def event_shape(model: str, settings: ModelSettings, features: Sequence[FeatureType] | None) -> EventShape:
    """Make a model's shape from its settings.

    Parameters
    ----------
    features
        The types found in a reference, for `features: auto`; a list in the settings comes first.
    """
    if settings.features is not None:
        features = [FeatureType(feature.name, feature.type) for feature in settings.features]
    return EventShape(
        model,
        settings.task,
        {role: path for role, path in settings.columns.model_dump().items() if path is not None},
        settings.segments,
        None if features is None else tuple(features),
        {feature.name: feature.path for feature in settings.features or () if feature.path is not None},
        settings.keeps_ids,
    )


def topic_routes(settings: Settings) -> dict[str, TopicRoute]:
    """List the topics to read, each with what it carries.

    Raises
    ------
    ValueError
        Without a `kafka` section.
    """
    carried: dict[str, dict[Kind, list[str]]] = {}
    for model in settings.models:
        for name, topic in settings.input_topics(model).items():
            carried.setdefault(topic, {}).setdefault(_KINDS[name], []).append(model)
    return {
        topic: TopicRoute(topic, {kind: tuple(models) for kind, models in kinds.items()})
        for topic, kinds in carried.items()
    }
