"""What is a whole configuration?

Invariants: at least one model, and no more than the limit; what is written is never also read; every declared list of
features fits its limit; a webhook names models that are there.
"""

from collections.abc import Iterator

from pydantic import Field, ValidationInfo, field_validator

from driftline.settings.models import ModelSettings
from driftline.settings.services import (
    INPUTS,
    AlertSettings,
    Input,
    KafkaSettings,
    LimitSettings,
    OutboxSettings,
    PostgresSettings,
    PrivacySettings,
    RetentionSettings,
    WebSettings,
)
from driftline.settings.values import Keys, Name, Section, refuse, refuse_value


class Settings(Section):
    """The whole configuration file. Replay needs neither `kafka` nor `postgres`."""

    kafka: KafkaSettings | None = None
    postgres: PostgresSettings | None = None
    web: WebSettings = WebSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitSettings = LimitSettings()
    models: dict[Name, ModelSettings] = Field(min_length=1)
    outbox: OutboxSettings = OutboxSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()  # below the models, which it names

    def input_topics(self, model: str) -> dict[Input, str]:
        """Say where a model's events are read: its own topics, else those of `kafka.topics`.

        Raises
        ------
        ValueError
            Without a `kafka` section.
        """
        if self.kafka is None:
            raise ValueError("there are no topics without a kafka section")
        own, shared = self.models[model].topics, self.kafka.topics
        return {kind: getattr(own, kind) or getattr(shared, kind) for kind in INPUTS}

    @field_validator("models")
    @classmethod
    def _fit_the_rest(cls, models: dict[str, ModelSettings], info: ValidationInfo) -> dict[str, ModelSettings]:
        limits, kafka = info.data.get("limits"), info.data.get("kafka")
        if limits and len(models) > limits.models_max:
            refuse_value(f"there are {len(models)}, but limits.models_max is {limits.models_max}")
        refuse([*_too_many_features(models, limits), *_topics_written(models, kafka)])
        return models

    @field_validator("alerts")
    @classmethod
    def _name_models(cls, alerts: AlertSettings, info: ValidationInfo) -> AlertSettings:
        known = info.data.get("models")
        refuse(
            (("webhooks", name, "models"), f"there is no model {model}; known: {', '.join(known)}")
            for name, webhook in alerts.webhooks.items()
            for model in webhook.models or ()
            if known and model not in known
        )
        return alerts


def _too_many_features(models: dict[str, ModelSettings], limits: LimitSettings | None) -> Iterator[tuple[Keys, str]]:
    for name, model in models.items():
        if limits and model.features and len(model.features) > limits.features_max:
            yield (
                (name, "features"),
                f"lists {len(model.features)}, but limits.features_max is {limits.features_max}",
            )


def _topics_written(models: dict[str, ModelSettings], kafka: KafkaSettings | None) -> Iterator[tuple[Keys, str]]:
    for name, model in models.items():
        for kind in INPUTS:
            topic = getattr(model.topics, kind)
            if kafka and topic in kafka.topics.written():
                yield (name, "topics", kind), f"{topic} is also written by Driftline"
