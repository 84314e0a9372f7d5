"""Evidently's drift preset with its defaults: which columns of a window drifted, and whether half of them did."""

import warnings
from importlib.metadata import version

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from protocol import Stage, is_numeric

warnings.filterwarnings("ignore")
reports = []
"""What was found in each stream, as both rows are read off the same reports."""


def frame(columns):
    """Make a data frame; an empty text is missing."""
    return pd.DataFrame({name: column if is_numeric(column) else pd.Series(column).replace("", None)
                         for name, column in columns.items()})  # fmt: skip


def columns_that_drifted(reference, windows):
    """Return (window, column) of each drifted column."""
    numeric = [name for name in reference if is_numeric(reference[name])]
    categorical = [name for name in reference if name not in numeric]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    known = Dataset.from_pandas(frame(reference), data_definition=definition)
    columns, whole = [], []
    for number, window in enumerate(windows):
        current = Dataset.from_pandas(frame(window), data_definition=definition)
        for metric in Report([DataDriftPreset()]).run(current, known).dict()["metrics"]:
            config, value = metric["config"], metric["value"]
            if config["type"].endswith(":DriftedColumnsCount"):
                whole += [(number, "*")] * (value["share"] >= config["drift_share"])
            elif is_drift(value, config["method"], config["threshold"]):
                columns.append((number, config["column"]))
    reports.append(whole)
    return columns


def is_drift(value, method, threshold):
    """Tell whether a column drifted: a p-value below the threshold, or a distance that reaches it."""
    return value < threshold if "p_value" in method else value >= threshold


stage = Stage("evidently", version("evidently"))
stage.windows("DataDriftPreset, columns", "all features", columns_that_drifted, streams_max=1)
stage.windows("DataDriftPreset, half of the columns", "whole windows", lambda *_: reports.pop(0), streams_max=1)
stage.write()
