"""Make a file like electricity.csv in which the relation of the inputs to the label changes at a known row, only once.

Run it with the file to write. Half hours follow one another as in the real data: price and demand have a daily course
and remember their last values. Until `CHANGE_ROW` the price goes up if it lies above `LIMIT_BEFORE`, give or take some
chance; from then on, if it lies above `LIMIT_AFTER`. No input changes, so no look at the inputs can show it.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

SEED = 1996
ROWS = 25_000
ROWS_A_DAY = 48
CHANGE_ROW = 15_000
LIMIT_BEFORE, LIMIT_AFTER = 0.060, 0.080
CHANCE = 0.008


def course(random: np.random.Generator, centre: float, daily: float, chance: float, memory: float) -> np.ndarray:
    """Draw a series around a daily course, in which a deviation keeps the share `memory` of the last one."""
    step = random.normal(0, chance * np.sqrt(1 - memory**2), ROWS)
    deviation = np.zeros(ROWS)
    for row in range(1, ROWS):
        deviation[row] = memory * deviation[row - 1] + step[row]
    time_of_day = np.arange(ROWS) % ROWS_A_DAY / ROWS_A_DAY
    return np.clip(centre - daily * np.cos(2 * np.pi * time_of_day) + deviation, 0, 1)


def main(target: Path) -> None:
    """Write the file."""
    random = np.random.default_rng(SEED)
    row = np.arange(ROWS)
    price = course(random, centre=0.060, daily=0.010, chance=0.015, memory=0.7)
    limit = np.where(row < CHANGE_ROW, LIMIT_BEFORE, LIMIT_AFTER)
    columns = {
        "period": (row % ROWS_A_DAY / (ROWS_A_DAY - 1)).round(6),
        "nswprice": price.round(6),
        "nswdemand": course(random, centre=0.45, daily=0.15, chance=0.08, memory=0.7).round(6),
        "vicprice": course(random, centre=0.040, daily=0.005, chance=0.010, memory=0.7).round(6),
        "vicdemand": course(random, centre=0.42, daily=0.10, chance=0.08, memory=0.7).round(6),
        "transfer": course(random, centre=0.50, daily=0.05, chance=0.10, memory=0.7).round(6),
        "class": (price + random.normal(0, CHANCE, ROWS) > limit).astype(int),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    pa.csv.write_csv(pa.table(columns), target)
    print(f"{target}: {ROWS} rows, the relation changes at row {CHANGE_ROW}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python generate.py ELECTRICITY_CSV")
    main(Path(sys.argv[1]))
