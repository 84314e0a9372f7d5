"""What does `docs/capacity.md` show of the constants, and of what `driftline capacity` makes of them?

Invariant: what stands between the marks follows from `driftline/capacity/measured.json` and the command that the page
prints; the rest of the page is written by hand and stays.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKED = re.compile(r"(<!-- (answer|constants): written by benchmarks\.report -->\n).*?(<!-- end -->)", re.DOTALL)
EXAMPLE = re.compile(r"^driftline (capacity .*)$", re.MULTILINE)


def write_capacity(page: Path, constants: Mapping[str, Any]) -> None:
    """Write anew what the page shows of the constants, which the command reads already."""
    page.write_text(with_measured(page.read_text("utf-8"), constants, answer(page)))


def answer(page: Path) -> list[str]:
    """Run the command that the page prints; return what it says but for its last line, the source of the constants."""
    [example] = EXAMPLE.findall(page.read_text("utf-8"))
    command = [sys.executable, "-m", "driftline.cli", *shlex.split(example)]
    done = subprocess.run(command, cwd=page.parents[1], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[:-1]


def with_measured(page: str, constants: Mapping[str, Any], answered: list[str]) -> str:
    """Return the page with other constants and another answer."""
    told = {"answer": "\n".join(["```text", *answered, "```"]), "constants": constants_text(constants)}
    return MARKED.sub(lambda found: f"{found[1]}{told[found[2]]}\n{found[3]}", page)


def constants_text(constants: Mapping[str, Any]) -> str:
    """Write the constants as tables."""
    core_us = [constants[f"{part}_core_us"] for part in ("worker", "postgres", "broker")]
    closing, models = constants["closing_us"], constants["fetch_of_models"]
    of_row, share = constants["bytes_a_row"], constants["label_share"]
    sides = [closing[part] for part in ("worker", "postgres")]
    lines = ["| what | worker | Postgres | broker |", "|---|---:|---:|---:|"]
    for kind, name in (("drift", "drift only"), ("labels", f"labels of {share:.0%}")):
        lines.append(_row(f"CPU µs a prediction, {name}", *(f"{us[kind]:.2f}" for us in core_us)))
        lines.append(_row(f"predictions a second and core, {name}", *(f"{1e6 / us[kind]:,.0f}" for us in core_us)))
    lines += [
        _row("CPU ms of closing a slide's window, each model", *(f"{of['model'] / 1000:.1f}" for of in sides), ""),
        _row("CPU µs of closing a slide's window, each series", *(f"{of['series']:.0f}" for of in sides), ""),
        _row(
            f"CPU µs of each model beyond the first in a fetch of {models['events']:,} predictions",
            *(f"{models[part]:,.0f}" for part in ("worker_us", "postgres_us")),
            "",
        ),
        _row("peak memory, MiB", f"{constants['worker_mib']:.0f}", "", ""),
        "",
        "| rows | bytes of one, with its indexes |",
        "|---|---:|",
        *(f"| `{table}` | {n:,.0f} |" for table, n in of_row.items()),
        f"| a prediction and {share:.0%} of its label | {of_row['prediction'] + share * of_row['label']:,.0f} |",
    ]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
