"""Are estimates before labels as near to what labels say as NannyML's, on the same windows of the same data?

The bounds are the mean absolute errors of NannyML 0.13.1's CBPE, as measured by ``make bench-detection``
(docs/benchmarks/detection.md), which are told with five digits.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.detection.estimates import estimated, off, realised
from benchmarks.detection.real import employment, housing

ROUNDING = 5e-6
CBPE = {
    (employment, 500): (0.01375, 0.01114),
    (employment, 2_000): (0.00708, 0.00612),
    (employment, 5_000): (0.00512, 0.00403),
    (housing, 200): (0.18661, 0.07104),
    (housing, 500): (0.16204, 0.05410),
    (housing, 1_000): (0.14845, 0.03151),
}
"""By data set and rows of a window: of accuracy, of the ROC area."""


@pytest.mark.parametrize(("read", "size"), CBPE, ids=lambda value: getattr(value, "__name__", value))
def test_estimated_accuracy_and_roc_area_are_as_near_to_the_truth_as_nannymls(
    shared_data: Path, read: object, size: int
) -> None:
    data = read(shared_data)  # type: ignore[operator]
    found = off(estimated(data, size), realised(data, size))
    for metric, theirs in zip(("accuracy", "roc_auc"), CBPE[read, size], strict=True):  # type: ignore[index]
        assert found[metric].mean_absolute <= theirs + ROUNDING
