"""Which metrics does each task have, and which way does each get worse?"""

from typing import Annotated, Any, Literal

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from driftline.settings.values import canonical_class

Task = Literal["binary", "multiclass", "regression"]
Metric = str
"""A name of `METRICS`, or, for multiclass, one of `CLASS_METRICS`, a dot and the canonical text of a class."""

DEFAULT_METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "roc_auc"),
    "multiclass": ("accuracy", "macro_precision", "macro_recall", "macro_f1"),
    "regression": ("mae", "rmse"),
}
REWARDS: tuple[Metric, ...] = ("reward_sum", "reward_mean")
METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": (
        *DEFAULT_METRICS["binary"],
        *("specificity", "pr_auc", "log_loss", "brier", "ece", "tp", "fp", "fn", "tn"),
        *REWARDS,
    ),
    "multiclass": (
        *DEFAULT_METRICS["multiclass"],
        *("weighted_precision", "weighted_recall", "weighted_f1"),
        *REWARDS,
    ),
    "regression": (*DEFAULT_METRICS["regression"], "mape", "r2", "bias", *REWARDS),
}
CLASS_METRICS = ("precision", "recall", "f1")

ERROR_METRICS: frozenset[Metric] = frozenset({"mae", "rmse", "mape", "log_loss", "brier", "ece", "fp", "fn"})
"""Metrics that get worse as they rise: their floor is the largest value that is still good."""

TWO_SIDED_METRICS: frozenset[Metric] = frozenset({"bias"})
"""Metrics that get worse as they leave 0: their floor is the largest size that is still good."""

_UNBOUNDED: frozenset[Metric] = frozenset({"r2", *REWARDS})
_AT_LEAST_0: frozenset[Metric] = frozenset({"mae", "rmse", "mape", "log_loss", "bias", "tp", "fp", "fn", "tn"})


def canonical_metric(name: Metric) -> Metric:
    """Write a metric with its class, if it is of one, as the text by which classes are compared.

    Examples
    --------
    >>> canonical_metric("recall.1.0"), canonical_metric("recall")
    ('recall.1', 'recall')
    """
    kind, dot, of_class = name.partition(".")
    return f"{kind}.{canonical_class(of_class)}" if dot and of_class else name


def _or_of_class(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value.partition(".")[0] in CLASS_METRICS and value.partition(".")[2]:
        return canonical_metric(value)
    return known(value)


NamedMetric = Annotated[
    Literal[
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "specificity",
        "pr_auc",
        "log_loss",
        "brier",
        "ece",
        "tp",
        "fp",
        "fn",
        "tn",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "mae",
        "rmse",
        "mape",
        "r2",
        "bias",
        "reward_sum",
        "reward_mean",
    ],
    WrapValidator(_or_of_class),
]
"""A metric as it stands in the file; also one of a class, which is turned into the class's canonical text."""


def is_metric_of(task: Task, name: Metric) -> bool:
    """Tell whether a task has a metric.

    Examples
    --------
    >>> is_metric_of("multiclass", "recall.fraud"), is_metric_of("binary", "recall.fraud")
    (True, False)
    """
    kind, _, of_class = name.partition(".")
    return name in METRICS[task] or (task == "multiclass" and kind in CLASS_METRICS and bool(of_class))


def wrong_floor(name: Metric, floor: float) -> str | None:
    """Say what a floor has to be if it is none that the metric can have.

    Examples
    --------
    >>> wrong_floor("recall", 1.5), wrong_floor("mae", 1.5), wrong_floor("r2", -1.0), wrong_floor("fp", -1.0)
    ('must be between 0 and 1', None, None, 'must be 0 or more')
    """
    if name in _AT_LEAST_0:
        return None if floor >= 0 else "must be 0 or more"
    return None if name in _UNBOUNDED or 0 <= floor <= 1 else "must be between 0 and 1"
