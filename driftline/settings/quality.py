"""Which faults of the data and of the traffic are looked for, and how large must they be to matter?"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from driftline.settings.values import DurationMs, Section, Unique

QualityCheck = Literal["missing", "unseen", "range", "type"]
QUALITY_CHECKS: tuple[QualityCheck, ...] = get_args(QualityCheck)
"""What may be wrong with a feature's values."""

TrafficCheck = Literal["volume", "labels", "duplicates", "new_features", "model"]
TRAFFIC_CHECKS: tuple[TrafficCheck, ...] = get_args(TrafficCheck)
"""What may be wrong with what comes: how many predictions and labels, how often twice, with what, of which age."""


class ShareSettings(Section):
    """By how much the share of odd values must grow to matter."""

    effect: float = Field(gt=0, le=1)


class QualitySettings(Section):
    """Which odd values are counted against the reference."""

    checks: Annotated[tuple[QualityCheck, ...], Unique] = QUALITY_CHECKS
    missing: ShareSettings = ShareSettings(effect=0.05)
    unseen: ShareSettings = ShareSettings(effect=0.02)
    range: ShareSettings = ShareSettings(effect=0.02)
    type: ShareSettings = ShareSettings(effect=0.01)

    @property
    def effects(self) -> dict[QualityCheck, float]:
        """The checks that are asked for, in order, with the smallest growth of each one's share that matters."""
        return {name: getattr(self, name).effect for name in QUALITY_CHECKS if name in self.checks}


class TrafficSettings(Section):
    """How much must come, compared with what came before; `model_age_max_ms` is None for versions of any age."""

    checks: Annotated[tuple[TrafficCheck, ...], Unique] = TRAFFIC_CHECKS
    factor: float = Field(default=4.0, gt=1, le=1_000)
    duplicates: float = Field(default=0.05, gt=0, le=1)
    new_features: float = Field(default=0.05, gt=0, le=1)
    history_ms: DurationMs = Field(default=604_800_000, gt=0, alias="history")
    model_age_max_ms: DurationMs | None = Field(default=None, gt=0, alias="model_age_max")
