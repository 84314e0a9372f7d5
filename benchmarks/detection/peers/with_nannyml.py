"""NannyML's drift calculators and its CBPE with their defaults, in chunks of the windows' size."""

import warnings

import nannyml
import pandas as pd
from protocol import Stage, is_numeric

warnings.filterwarnings("ignore")


def frame(columns):
    """Make a data frame; an empty text is missing."""
    return pd.DataFrame({name: column if is_numeric(column) else pd.Series(column).replace("", None)
                         for name, column in columns.items()})  # fmt: skip


def joined(windows):
    """Put windows into one frame, as chunks are cut from one."""
    return pd.concat([frame(window) for window in windows], ignore_index=True)


def univariate(method_numeric, method_categorical):
    """Return an `alarms_of` by one method for numbers and one for categories."""

    def alarms_of(reference, windows):
        size = len(next(iter(windows[0].values())))
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=list(reference),
            treat_as_categorical=[name for name in reference if not is_numeric(reference[name])],
            continuous_methods=[method_numeric],
            categorical_methods=[method_categorical],
            chunk_size=size,
        )
        calculator.fit(frame(reference))
        found = calculator.calculate(joined(windows)).filter(period="analysis").to_df()
        return sorted(
            (number, name)
            for name in reference
            for method in (method_numeric, method_categorical)
            if (name, method, "alert") in found
            for number, alert in enumerate(found[name, method, "alert"])
            if alert
        )

    return alarms_of


def reconstruction(reference, windows):
    """Tell the windows whose reconstruction error leaves its band."""
    size = len(next(iter(windows[0].values())))
    calculator = nannyml.DataReconstructionDriftCalculator(column_names=list(reference), chunk_size=size)
    calculator.fit(frame(reference))
    found = calculator.calculate(joined(windows)).filter(period="analysis").to_df()
    return [(number, "*") for number, alert in enumerate(found["reconstruction_error", "alert"]) if alert]


def cbpe(reference, later, size):
    """Estimate accuracy and ROC AUC of each whole window."""
    estimator = nannyml.CBPE(
        y_pred_proba="score",
        y_pred="predicted",
        y_true="label",
        problem_type="classification_binary",
        metrics=["accuracy", "roc_auc"],
        chunk_size=size,
    )
    estimator.fit(pd.DataFrame(reference))
    whole = len(later["score"]) // size * size
    found = estimator.estimate(pd.DataFrame(later).iloc[:whole]).filter(period="analysis").to_df()
    return {metric: found[metric, "value"].tolist() for metric in ("accuracy", "roc_auc")}


stage = Stage("nannyml", nannyml.__version__)
stage.windows("Jensen-Shannon (default)", "all features", univariate("jensen_shannon", "jensen_shannon"), streams_max=1)
stage.windows("KS and chi-square", "all features", univariate("kolmogorov_smirnov", "chi2"), streams_max=1)
stage.windows("reconstruction error", "whole windows", reconstruction, streams_max=1)
stage.estimates("CBPE", cbpe)
stage.write()
