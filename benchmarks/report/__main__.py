"""Write the pages anew that follow from the committed results, without measuring: after a change of how they look.

`results.md`, `results.svg`, the constants of `driftline capacity` and what `docs/capacity.md` shows of them.
"""

from __future__ import annotations

import json

from benchmarks.report.constants import COMMITTED, write_constants
from benchmarks.report.table import write_results

if __name__ == "__main__":
    write_results(COMMITTED, json.loads((COMMITTED / "results.json").read_text()), keep=False)
    write_constants(COMMITTED)
