"""How right were the predictions whose labels are in, and how sure can one be of that?

Every metric comes from integer counts and sums that add in any order, with an interval of 95 % coverage. A metric that
is not defined (no positives, nothing predicted) is None with a reason, never NaN and never a made-up 0 or 1.
"""

from detectors.metrics.classes import NO_LABELS, ClassMetrics, binary_metrics, class_metrics, multiclass_metrics
from detectors.metrics.errors import bias, r_squared, regression_metrics
from detectors.metrics.estimates import Z95, Estimate, mean, proportion, rows_as_unsure, times, undefined, wilson
from detectors.metrics.scores import (
    Binned,
    area_interval,
    average_precision,
    calibration_error,
    calibration_groups,
    logit_interval,
    roc_auc,
)
from detectors.metrics.slopes import (
    DENOMINATORS,
    WEIGHTED,
    Sloped,
    area_slopes,
    average_precision_slopes,
    class_weights,
    mean_slopes,
    share_slopes,
)
from detectors.metrics.sums import (
    LIMBS,
    STEPS_MAX,
    STEPS_PER_SCALE,
    error_limbs,
    limbs_value,
    moment_limbs,
    to_steps,
)

__all__ = [
    "DENOMINATORS",
    "LIMBS",
    "NO_LABELS",
    "STEPS_MAX",
    "STEPS_PER_SCALE",
    "WEIGHTED",
    "Z95",
    "Binned",
    "ClassMetrics",
    "Estimate",
    "Sloped",
    "area_interval",
    "area_slopes",
    "average_precision",
    "average_precision_slopes",
    "bias",
    "binary_metrics",
    "calibration_error",
    "calibration_groups",
    "class_metrics",
    "class_weights",
    "error_limbs",
    "limbs_value",
    "logit_interval",
    "mean",
    "mean_slopes",
    "moment_limbs",
    "multiclass_metrics",
    "proportion",
    "r_squared",
    "regression_metrics",
    "roc_auc",
    "rows_as_unsure",
    "share_slopes",
    "times",
    "to_steps",
    "undefined",
    "wilson",
]
