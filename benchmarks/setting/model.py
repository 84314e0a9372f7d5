"""Which model do benchmarks watch?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.setting.traffic import CATEGORIES, NUMERIC

WINDOWS = {"length": "2m", "slide": "2m", "pane": "5s", "out_of_orderness": "5s", "allowed_lateness": "10s"}


def model_settings(reference: Path, *, labels: bool) -> dict[str, Any]:
    """Configure the model of the traffic: PSI and ADWIN on every feature, for all traffic and for each segment."""
    features = [{"name": name, "type": "numeric"} for name in NUMERIC]
    features += [{"name": name, "type": "categorical"} for name in CATEGORIES]
    return {
        "task": "binary",
        "reference": {"path": str(reference)},
        "features": features,
        "segments": ["region"],
        "windows": WINDOWS,
        "drift": {"detectors": ["psi", "adwin"]},
        **({"labels": {"horizon": "30d"}} if labels else {}),
    }
