"""What did a replay find, at one glance? The rows of its files as two pictures.

Invariants: a picture is a function of its rows alone; it is bounded in size however many rows there are, and says what
it leaves out; what is absent is said in words, never shown as an empty axis; whatever a colour says, a mark, a line
style or a number says too.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dashboards.drift_picture import drift_figure
from dashboards.performance_picture import performance_figure
from driftline.errors import InputError

DPI = 110


def write_pictures(folder: Path, floors: Mapping[str, float]) -> list[Path]:
    """Draw `drift.csv` and `performance.csv` of a folder as `drift.png` and `performance.png` beside them.

    Parameters
    ----------
    floors
        By metric, the value from which a model is called degraded.

    Raises
    ------
    InputError
        If a file can't be read or written.
    """
    written = []
    for name, draw in (("drift", drift_figure), ("performance", partial(performance_figure, floors=floors))):
        path = folder / f"{name}.png"
        try:
            with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
                figure = draw(csv.DictReader(file))
            with warnings.catch_warnings():
                # A name in a script that the font lacks shows as boxes; that is no reason to speak up.
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                figure.savefig(path, dpi=DPI)
        except OSError as error:
            raise InputError.in_file(path, f"can't be drawn: {error.strerror}") from None
        written.append(path)
    return written
