"""alibi-detect's offline tests with their defaults: p < .05, of several features corrected by Bonferroni."""

import warnings
from importlib.metadata import version

import numpy as np
from alibi_detect.cd import KSDrift, TabularDrift
from protocol import Stage, is_numeric

warnings.filterwarnings("ignore")


def ks(reference, windows):
    """Test the numeric features together; a feature alarms where its p-value is below the corrected threshold."""
    names = [name for name in reference if is_numeric(reference[name])]
    if not names:
        return []
    return _alarms(KSDrift(_matrix(reference, names, {})), names, windows, {})


def tabular(reference, windows):
    """Test numeric features by KS and the others by chi-square."""
    names = list(reference)
    codes = {
        name: {text: code for code, text in enumerate(np.unique(reference[name]))}
        for name in names
        if not is_numeric(reference[name])
    }
    places = {names.index(name): None for name in codes}
    detector = TabularDrift(_matrix(reference, names, codes), categories_per_feature=places)
    return _alarms(detector, names, windows, codes)


def _matrix(columns, names, codes):
    # A category that the reference does not know is the last code; a missing text is a category.
    return np.stack(
        [
            np.array([codes[name].get(text, len(codes[name])) for text in columns[name]], float)
            if name in codes
            else columns[name]
            for name in names
        ],
        axis=1,
    )


def _alarms(detector, names, windows, codes):
    alarms = []
    for number, window in enumerate(windows):
        data = detector.predict(_matrix(window, names, codes), drift_type="batch", return_p_val=True)["data"]
        alarms += [(number, name) for name, p in zip(names, data["p_val"], strict=True) if p < data["threshold"]]
    return alarms


stage = Stage("alibi-detect", version("alibi-detect"))
stage.windows("KSDrift", "numeric features", ks)
stage.windows("TabularDrift", "all features", tabular)
stage.write()
