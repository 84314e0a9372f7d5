"""`make calibrate`: how often are window statistics significant where nothing has changed, against what they declare?

Reference and windows are drawn from one distribution, so every alarm is false. Each cell counts p-values at or below
the declared significance, before the effect gate, and apart from that verdicts of drift with the default gate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from detectors.windows.distances import DISTANCES, Histograms
from detectors.windows.drift import judge
from driftline.settings import WINDOW_DETECTORS, DriftSettings

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "calibration.md"
FEATURES = 100
SIZES = ((50, 50), (10_000, 50), (1_000, 1_000), (1_000_000, 1_000), (1_000_000, 1_000_000))
SIZES_OF_MANY_BINS = (SIZES[0], SIZES[2], SIZES[4])
"""With many bins these will do."""

BINS = {False: (2, 12, 500), True: (2, 12, 100)}
"""Categories, and bins of numeric features."""

SPREAD_SCALES = 3.0
"""How wide the inner bins of a numeric feature are together, as quantile bins of a normal feature about are."""

TESTED = ("psi", "linf", "ks", "wasserstein")
"""js, hellinger and chi2 have PSI's p-values."""


WITHIN = (0.5, 1.1)
"""Realised over declared rate, before the gate."""


class Cell(NamedTuple):
    """One combination that is counted."""

    detector: str
    bins: int
    n_reference: int
    n_current: int
    shape: str
    significance: float
    windows: int


class Counted(NamedTuple):
    """What came of it."""

    cell: Cell
    expected: float
    significant: int
    drift: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Realised rate over declared rate."""
        return self.significant / self.expected


def cells(windows: int) -> list[Cell]:
    """Return the grid: where bins are many, a larger significance asks for fewer simulated tables."""
    return [
        Cell(detector, bins, *sizes, shape, 0.01 if bins <= 12 else 0.05, windows)
        for detector in TESTED
        for bins, sizes, shape in product(BINS[DISTANCES[detector].is_ordered], SIZES, ("even", "uneven"))
        if bins <= 12 or (shape == "even" and sizes in SIZES_OF_MANY_BINS)
    ]


def count(cell: Cell) -> Counted:
    """Draw the cell's windows and count its alarms; seeded by the cell."""
    generator = np.random.default_rng(list(repr(cell).encode()))
    shares = np.ones(cell.bins) if cell.shape == "even" else np.arange(1, cell.bins + 1) ** -1.2
    shares /= shares.sum()
    effect = DriftSettings(detectors=WINDOW_DETECTORS).window_effects[cell.detector]  # type: ignore[index]
    starts = np.arange(0, FEATURES * cell.bins, cell.bins)
    widths = np.full(cell.bins, SPREAD_SCALES / max(cell.bins - 2, 1))
    widths[[0, -1]] = 0.0
    jumps = np.full(cell.bins, 1.0 if cell.bins == 2 else 0.0)
    significant, drift, began = 0, 0, time.process_time()
    for _ in range(cell.windows):
        reference, current = (
            generator.multinomial(n, shares, size=FEATURES).ravel() for n in (cell.n_reference, cell.n_current)
        )
        of = Histograms(reference, current, starts, np.tile(widths, FEATURES), np.tile(jumps, FEATURES))
        ungated = judge(cell.detector, of, effect=1e-12, significance=cell.significance, seed=1)
        alarms = [index for index, found in enumerate(ungated) if found.p_value <= cell.significance]
        significant += len(alarms)
        # A feature's verdict does not depend on the others, and the gate makes no p-value smaller.
        drift += sum(
            judge(cell.detector, of.feature(index), effect=effect, significance=cell.significance, seed=1)[0].level
            == "drift"
            for index in alarms
        )
    expected = cell.significance * FEATURES * cell.windows
    return Counted(cell, expected, significant, drift, time.process_time() - began)


def table(counted: Sequence[Counted], command: str, n_cells: int) -> str:
    """Write what was counted as a page, of how many cells."""
    rest = n_cells - len(counted)
    stopped = f"Counting was stopped before the other {rest} of {n_cells} cells: they are not known.\n" if rest else ""
    ratios = [of.ratio for of in counted]
    least = min(of.expected for of in counted)
    outside = [of for of in counted if not WITHIN[0] <= of.ratio <= WITHIN[1]]
    within = len(counted) - len(outside)
    told = "\nOutside are:\n\n" + "".join(f"* {_told(of)}\n" for of in outside) if outside else ""
    beyond = sum(of.drift > of.expected + 2.0 * of.expected**0.5 for of in counted)
    after = [round(of.drift / of.expected, 2) for of in counted]
    above = sum(ratio > 1.0 for ratio in after)
    head = (
        *("statistic", "bins", "reference rows", "window rows", "shape", "declared", "expected", "alarms"),
        *("realised / declared", "after the gate"),
    )
    rows = [
        (c.detector, c.bins, f"{c.n_reference:,}", f"{c.n_current:,}", c.shape, c.significance, f"{of.expected:,.0f}",
         f"{of.significant:,}", f"**{of.ratio:.2f}**", f"{of.drift / of.expected:.2f}")
        for of in counted for c in [of.cell]
    ]  # fmt: skip
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    return f"""# How often window statistics are wrong, against what they declare

Nothing changes in these data: {FEATURES} features, whose reference and window are drawn anew for each window of a cell
from one distribution (even: all bins alike; uneven: the i-th bin in proportion to 1 / i^1.2). Before the effect gate an
alarm is a p-value at or below the declared significance; after it, a level of `drift` with the default gate. `js`,
`hellinger` and `chi2` have the p-values of `psi`. Made by

    {command}

Of {len(counted)} cells with at least {least:,.0f} expected alarms each, {within} lie within {WITHIN[0]} to
{WITHIN[1]} times the declared rate; the least is {min(ratios):.2f}, the largest {max(ratios):.2f}. The standard error
of such a ratio is {least**-0.5:.2f} at most. Where bins and rows are few, tables of 50 rows in two bins say, a
statistic has few values, and no test of it can alarm exactly as often as declared. After the gate {beyond} cells alarm
more often than declared by more than two standard errors, and {above} lie above it at all; the largest is
{max(after):.2f}.
{stopped}{told}
{chr(10).join(lines)}
"""


def _told(of: Counted) -> str:
    """Say of a cell how far it is from what it declares."""
    c = of.cell
    away = (of.significant - of.expected) / (of.expected * (1 - c.significance)) ** 0.5
    where = f"`{c.detector}`, {c.bins} {c.shape} bins, {c.n_reference:,} and {c.n_current:,} rows"
    return f"{where}: {of.ratio:.3f}, {abs(away):.1f} standard errors {'above' if away > 0 else 'below'} 1"


@click.command()
@click.option("--windows", type=click.IntRange(800), default=1000, show_default=True, help="Windows of a cell.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), default=TABLE, help="The page; written anew with each cell.")
def main(windows: int, jobs: int, out: Path) -> None:
    """Count false alarms of all window statistics and write docs/benchmarks/calibration.md."""
    command = "make calibrate" + (f" ARGS='--windows {windows}'" if windows != 1000 else "")
    counted: list[Counted] = []
    wanted = cells(windows)
    with ProcessPoolExecutor(jobs) as pool:
        for of in pool.map(count, wanted):
            counted.append(of)
            click.echo(f"{of.cell} {of.ratio:.2f} in {of.seconds:.1f} s", err=True)
            out.write_text(table(counted, command, len(wanted)))


if __name__ == "__main__":
    main()
