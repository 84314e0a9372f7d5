"""The reference of the fraud model: a day of the same traffic in which nothing went wrong, as a file."""

import sys
from pathlib import Path

from pyarrow import parquet

from driftline.demo.traffic import reference_table

file = Path(sys.argv[1])
unfinished = file.with_suffix(".new")
parquet.write_table(reference_table(seed=1), unfinished)
unfinished.replace(file)
