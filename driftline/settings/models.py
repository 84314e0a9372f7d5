"""What is a watched model, and when is it to be called drifted, degraded or due for retraining?

Invariants of a loaded model: it has a reference, or every listed version has one; `metrics` is filled in and fits the
task; `labels` and `performance` are both given or both None; its name, and every name in it, is bounded.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from driftline.settings.detectors import WINDOW_DETECTORS, Detector, WindowDetector
from driftline.settings.metrics import (
    DEFAULT_METRICS,
    METRICS,
    Metric,
    NamedMetric,
    Task,
    is_metric_of,
    wrong_floor,
)
from driftline.settings.quality import QualitySettings, TrafficSettings
from driftline.settings.schema import nearest
from driftline.settings.values import (
    AUTO,
    DurationMs,
    FilePath,
    Keys,
    Name,
    Section,
    TopicName,
    Unique,
    canonical_class,
    refuse,
    refuse_value,
)
from driftline.settings.windows import WindowSettings

Trigger = Literal["drift", "performance"]


class ReferenceSettings(Section):
    """What "no drift" looks like: a file, or the first events that come."""

    path: FilePath | None = None
    first_events: int | None = Field(default=None, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.path is None) == (self.first_events is None):
            refuse([((), "needs either path: FILE or first_events: N, not both")])
        return self


class VersionSettings(Section):
    """What one version of a model has of its own."""

    reference: ReferenceSettings


class ColumnSettings(Section):
    """Where things stand in a foreign event or file, as dotted paths; None is the event's own field."""

    id: Name | None = None
    time: Name | None = None
    prediction: Name | None = None
    score: Name | None = None
    label: Name | None = None
    version: Name | None = None
    model: Name | None = None
    variant: Name | None = None
    features: Name | None = None
    segment: Name | None = None
    probabilities: Name | None = None
    reward: Name | None = None
    prediction_time: Name | None = None


class FeatureSettings(Section):
    """One watched feature; `path` says where it stands if not under its own name."""

    name: Name
    type: Literal["numeric", "categorical"]
    path: Name | None = None


_A_FEATURE = "{name: age, type: numeric}"


class ModelTopics(Section):
    """Topics of one model where they are not those of `kafka.topics`."""

    predictions: TopicName | None = None
    labels: TopicName | None = None
    features: TopicName | None = None


class EffectSettings(Section):
    """The smallest distance of a window from the reference that matters."""

    effect: float = Field(gt=0)


class BoundedEffectSettings(Section):
    """The smallest distance that matters, of a statistic that is 1 at most, where nothing is as it was."""

    effect: float = Field(gt=0, lt=1)


class AdwinSettings(Section):
    """How sure ADWIN must be, and the smallest change that matters; `delta` is None for `auto`."""

    delta: float | None = Field(default=None, gt=0, lt=1)
    effect_mean: float = Field(default=0.25, ge=0)
    effect_share: float = Field(default=0.05, ge=0, le=1)

    @field_validator("delta", mode="before")
    @classmethod
    def _auto(cls, delta: object) -> object:
        return None if delta == AUTO else delta


class DriftSettings(Section):
    """Which detectors look at each closed window, and when they say drift; `significance` is None for `auto`."""

    detectors: Annotated[tuple[Detector, ...], Unique] = ("psi", "adwin")
    bins: int = Field(default=10, ge=2, le=100)
    reconstruction: bool = False
    significance: float | None = Field(default=None, gt=0, lt=1)
    psi: EffectSettings = EffectSettings(effect=0.1)
    js: BoundedEffectSettings = BoundedEffectSettings(effect=0.13)
    hellinger: BoundedEffectSettings = BoundedEffectSettings(effect=0.11)
    chi2: BoundedEffectSettings = BoundedEffectSettings(effect=0.16)
    linf: BoundedEffectSettings = BoundedEffectSettings(effect=0.07)
    ks: BoundedEffectSettings = BoundedEffectSettings(effect=0.12)
    wasserstein: EffectSettings = EffectSettings(effect=0.1)
    adwin: AdwinSettings = AdwinSettings()

    @field_validator("significance", mode="before")
    @classmethod
    def _auto(cls, significance: object) -> object:
        return None if significance == AUTO else significance

    @property
    def window_effects(self) -> dict[WindowDetector, float]:
        """The window statistics that are asked for, in order, with the smallest distance that matters of each."""
        return {name: getattr(self, name).effect for name in WINDOW_DETECTORS if name in self.detectors}

    @property
    def sequential(self) -> tuple[str, ...]:
        """The sequential detectors that are asked for, in order."""
        return tuple(name for name in self.detectors if name not in WINDOW_DETECTORS)


HORIZON_MS_MAX = 10 * 366 * 86_400_000
"""Ten years: nobody waits longer for the truth."""


class LabelSettings(Section):
    """How long the truth may take, and what a second truth for one prediction means."""

    horizon_ms: DurationMs = Field(default=2_592_000_000, gt=0, le=HORIZON_MS_MAX, alias="horizon")
    dedupe_window_ms: DurationMs = Field(default=3_600_000, alias="dedupe_window")
    on_correction: Literal["ignore", "restate"] = "ignore"
    keep_share: float = Field(default=1.0, gt=0, le=1)

    @field_validator("dedupe_window_ms")
    @classmethod
    def _within_the_horizon(cls, dedupe_window_ms: int, info: ValidationInfo) -> int:
        if dedupe_window_ms > info.data.get("horizon_ms", dedupe_window_ms):
            refuse_value("must not be longer than horizon: what is forgotten cannot be compared")
        return dedupe_window_ms


class PerformanceSettings(Section):
    """Which metrics are computed from late labels, and below which floor a model is degraded.

    `metrics` is empty only until the model's task fills it in; `judge_after_ms` is None for `auto`.
    """

    metrics: Annotated[tuple[NamedMetric, ...], Unique] = ()
    min_labelled: int = Field(default=200, ge=1)
    floor: dict[NamedMetric, float] = Field(default_factory=dict)
    judge_after_ms: DurationMs | None = Field(default=None, alias="judge_after")

    @field_validator("judge_after_ms", mode="before")
    @classmethod
    def _auto(cls, judge_after: object) -> object:
        return None if judge_after == AUTO else judge_after


class AlarmSettings(Section):
    """How many false episodes of drift a model may raise in which time, in expectation."""

    budget: float = Field(default=1.0, gt=0, le=1_000)
    per_ms: DurationMs = Field(default=2_592_000_000, gt=0, alias="per")


class RetrainingSettings(Section):
    """When a drifted or degraded model asks to be retrained."""

    when: Annotated[tuple[Trigger, ...], Unique] = ("drift", "performance")
    consecutive: int = Field(default=2, ge=1, le=1_000)
    cooldown_ms: DurationMs = Field(default=21_600_000, alias="cooldown")
    registry_uri: str | None = Field(default=None, min_length=1, max_length=1_000)
    data_version: str | None = Field(default=None, min_length=1, max_length=1_000)


class ModelSettings(Section):
    """One watched model.

    `features` is None for `auto`. `positive_class` is canonical text, and None unless the task is binary. Order matters
    here: a field is checked against the fields before it.
    """

    task: Task
    positive_class: str | None = Field(
        default_factory=lambda before: "1" if before["task"] == "binary" else None, min_length=1, max_length=200
    )
    versions: dict[Name, VersionSettings] = Field(default_factory=dict)
    reference: ReferenceSettings | None = Field(default=None, validate_default=True)
    columns: ColumnSettings = ColumnSettings()
    features: tuple[FeatureSettings, ...] | None = None
    segments: Annotated[tuple[Name, ...], Unique] = ()
    topics: ModelTopics = ModelTopics()
    windows: WindowSettings = WindowSettings()
    drift: DriftSettings = DriftSettings()
    quality: QualitySettings = QualitySettings()
    traffic: TrafficSettings = TrafficSettings()
    labels: LabelSettings | None = None
    performance: PerformanceSettings | None = None
    alarms: AlarmSettings = AlarmSettings()
    retraining: RetrainingSettings = RetrainingSettings()

    @property
    def has_labels(self) -> bool:
        """Whether labels are joined: any of `labels`, `performance` or `columns.label` was given."""
        return self.labels is not None

    @property
    def keeps_ids(self) -> bool:
        """Whether anything is kept under an event's id: until its label comes, or a reference is complete."""
        references = [self.reference, *(of.reference for of in self.versions.values())]
        return self.has_labels or any(of is not None and of.first_events is not None for of in references)

    @model_validator(mode="before")
    @classmethod
    def _labels_imply_performance(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        columns = given.get("columns")
        labelled = isinstance(columns, dict) and columns.get("label") is not None
        absent = [key for key in ("labels", "performance") if given.get(key) is None]
        return given | {key: {} for key in absent} if labelled or len(absent) < 2 else given

    @field_validator("positive_class", mode="before")
    @classmethod
    def _canonical(cls, value: object, info: ValidationInfo) -> str | None:
        if info.data.get("task", "binary") != "binary":
            refuse_value(f"only a binary task has a positive class, this one is {info.data['task']}")
        return canonical_class(value)

    @field_validator("versions")
    @classmethod
    def _as_events_name_them(cls, versions: dict[str, VersionSettings]) -> dict[str, VersionSettings]:
        named = {canonical_class(version): settings for version, settings in versions.items()}
        if len(named) < len(versions):
            refuse_value("names one version twice: versions are compared by canonical text, so 2 and 2.0 are one")
        return named

    @field_validator("reference")
    @classmethod
    def _is_given(cls, reference: ReferenceSettings | None, info: ValidationInfo) -> ReferenceSettings | None:
        if reference is None and info.data.get("versions") == {}:
            refuse_value("is required: path: FILE or first_events: N (or one for each of versions)")
        return reference

    @field_validator("features", mode="before")
    @classmethod
    def _auto(cls, features: object) -> object:
        """Refuse what is no list of features whole: told of one half, whoever mends that would be told of the other."""
        if features is None or features == AUTO:
            return None
        if not isinstance(features, list | tuple):
            refuse_value(f"must be auto, or a list such as [{_A_FEATURE}]")
        named = (index for index, feature in enumerate(features) if not isinstance(feature, dict | FeatureSettings))
        refuse(((index,), f"must be a feature such as {_A_FEATURE}, or features: auto for all") for index in named)
        return features

    @field_validator("features")
    @classmethod
    def _named_once(cls, features: tuple[FeatureSettings, ...] | None) -> tuple[FeatureSettings, ...] | None:
        seen: set[str] = set()
        problems: list[tuple[Keys, str]] = []
        for index, feature in enumerate(features or ()):
            if feature.name in seen:
                problems.append(((index, "name"), f"{feature.name} is named more than once"))
            seen.add(feature.name)
        refuse(problems)
        return features

    @field_validator("performance")
    @classmethod
    def _fits_the_task(
        cls, performance: PerformanceSettings | None, info: ValidationInfo
    ) -> PerformanceSettings | None:
        if performance is None or "task" not in info.data:
            return performance
        task: Task = info.data["task"]
        metrics: tuple[Metric, ...] = performance.metrics or DEFAULT_METRICS[task]
        problems: list[tuple[Keys, str]] = [
            (("metrics", index), f"{metric} is not a metric of a {task} task; {_known(metric, task)}")
            for index, metric in enumerate(metrics)
            if not is_metric_of(task, metric)
        ]
        problems += [
            (("floor", metric), f"{metric} is not one of the metrics that are computed: {', '.join(metrics)}")
            for metric in performance.floor
            if metric not in metrics
        ]
        problems += [
            (("floor", metric), wrong)
            for metric, floor in performance.floor.items()
            if (wrong := wrong_floor(metric, floor)) is not None
        ]
        refuse(problems)
        return performance.model_copy(update={"metrics": metrics})


def _known(metric: Metric, task: Task) -> str:
    """Name the metric that was probably meant, else all."""
    near = nearest(metric, list(METRICS[task]))
    of_class = ", precision.CLASS, recall.CLASS, f1.CLASS" if task == "multiclass" else ""
    return f"did you mean {near}?" if near else f"known: {', '.join(METRICS[task])}{of_class}"
