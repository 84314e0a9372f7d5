"""Frouros's streaming detectors with their default configurations, reset after each drift, and its KS test."""

from importlib.metadata import version

import numpy as np
from frouros.detectors import concept_drift
from frouros.detectors.data_drift import KSTest
from protocol import Stage, is_numeric, restarting

SLOW = {"KSWIN", "BOCD", "STEPD"}
ALPHA = 0.01
"""Its test has no default; this is the one of its tutorials."""


def update(detector, value):
    """Take a value and tell whether it is drift."""
    detector.update(value=value)
    return detector.status["drift"]


def ks(reference, windows):
    """Test each numeric feature of each window."""
    alarms = []
    for feature in filter(lambda name: is_numeric(reference[name]), reference):
        detector = KSTest()
        detector.fit(X=reference[feature])
        for number, window in enumerate(windows):
            if detector.compare(X=window[feature])[0].p_value < ALPHA:
                alarms.append((number, feature))
    return sorted(alarms)


np.seterr(all="ignore")
stage = Stage("frouros", version("frouros"))
for name, sees in {
    "ADWIN": "values",
    "CUSUM": "values",
    "PageHinkley": "values",
    "GeometricMovingAverage": "values",
    "DDM": "errors",
    "EDDM": "errors",
    "ECDDWT": "errors",
    "RDDM": "errors",
    "HDDMA": "errors",
    "HDDMW": "errors",
}.items():
    make = getattr(concept_drift, name)
    stage.items(name, sees, restarting(make, update), streams_max=1)
stage.windows(f"KSTest, p < {ALPHA}", "numeric features", ks)
stage.write()
