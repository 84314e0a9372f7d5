"""What was Driftline asked to do? One YAML file plus environment overrides, checked before anything runs.

`load_settings` gives a frozen `Settings` or one `ConfigurationError` that lists everything that is wrong, with file and
line. `docs/configuration.md` describes every key.
"""

from driftline.settings.detectors import SEQUENTIAL_DETECTORS, WINDOW_DETECTORS, Detector
from driftline.settings.load import load_settings
from driftline.settings.metrics import DEFAULT_METRICS, METRICS, Metric, Task
from driftline.settings.models import (
    AdwinSettings,
    AlarmSettings,
    ColumnSettings,
    DriftSettings,
    EffectSettings,
    FeatureSettings,
    LabelSettings,
    ModelSettings,
    ModelTopics,
    PerformanceSettings,
    ReferenceSettings,
    RetrainingSettings,
    Trigger,
    VersionSettings,
)
from driftline.settings.root import Settings
from driftline.settings.services import (
    EVENT_TYPES,
    AlertSettings,
    EventType,
    Input,
    KafkaSecurity,
    KafkaSettings,
    KafkaTopics,
    LimitSettings,
    OutboxSettings,
    PostgresSettings,
    PrivacySettings,
    WebhookSettings,
    WebSettings,
)
from driftline.settings.values import canonical_class, format_duration, parse_duration_ms
from driftline.settings.windows import WindowSettings, choose_pane_ms

__all__ = [
    "DEFAULT_METRICS",
    "EVENT_TYPES",
    "METRICS",
    "SEQUENTIAL_DETECTORS",
    "WINDOW_DETECTORS",
    "AdwinSettings",
    "AlarmSettings",
    "AlertSettings",
    "ColumnSettings",
    "Detector",
    "DriftSettings",
    "EffectSettings",
    "EventType",
    "FeatureSettings",
    "Input",
    "KafkaSecurity",
    "KafkaSettings",
    "KafkaTopics",
    "LabelSettings",
    "LimitSettings",
    "Metric",
    "ModelSettings",
    "ModelTopics",
    "OutboxSettings",
    "PerformanceSettings",
    "PostgresSettings",
    "PrivacySettings",
    "ReferenceSettings",
    "RetrainingSettings",
    "Settings",
    "Task",
    "Trigger",
    "VersionSettings",
    "WebSettings",
    "WebhookSettings",
    "WindowSettings",
    "canonical_class",
    "choose_pane_ms",
    "format_duration",
    "load_settings",
    "parse_duration_ms",
]
