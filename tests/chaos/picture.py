"""Draws what a soak came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tests.chaos.usage import Sample

SIZE_INCHES = (10, 11)
TABLES_SHOWN = 12


def draw(path: Path, samples: Sequence[Sample], faults: Sequence[tuple[float, str]]) -> None:
    """Draw memory, lag, files and threads, and rows over time as SVG; each fault is a line."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "soak", "font.size": 8}):
        figure = Figure(SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        memory, lag, files, rows = figure.subplots(4, 1, sharex=True)
        names = list(dict.fromkeys(name for sample in samples for name in sample))
        _lines(memory, samples, [name for name in names if name.endswith("_mib")], lambda n: n.removesuffix("_mib"))
        memory.set_ylabel("memory, MiB")
        _lines(lag, samples, ["lag"], str)
        lag.set_ylabel("records not read yet")
        lag.set_yscale("symlog")
        held = [f"{of}_{what}" for of in ("worker", "relay") for what in ("files", "threads")]
        _lines(files, samples, held, lambda n: n.replace("_", ", "))
        files.set_ylabel("open files, threads")
        tables = [name for name in names if name.startswith("rows_")]
        largest = sorted(tables, key=lambda name: -max(sample.get(name, 0) for sample in samples))[:TABLES_SHOWN]
        _lines(rows, samples, largest, lambda n: n.removeprefix("rows_"))
        rows.set_ylabel("rows")
        rows.set_yscale("symlog")
        rows.set_xlabel("minutes")
        for axes in (memory, lag, files, rows):
            axes.set_ylim(bottom=0)
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
            for at, _ in faults:
                axes.axvline(at / 60, color="#bbbbbb", linewidth=0.5, zorder=0)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _lines(axes: Axes, samples: Sequence[Sample], names: Sequence[str], told: Callable[[str], str]) -> None:
    for name in names:
        own = [(sample["seconds"] / 60, sample[name]) for sample in samples if name in sample]
        axes.plot([at for at, _ in own], [value for _, value in own], label=told(name), linewidth=1)
