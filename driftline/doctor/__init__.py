"""What is installed, reachable and wrong? The checks behind `driftline doctor`, in the order in which they build up.

`machine` needs nothing but the standard library; `files` reads what the configuration names; `store` asks Postgres;
`log` compares what the broker and Postgres say of the same log; `bounds` and `names` tell what grows. Invariants: a
check never raises for what it looks for, it returns findings; no finding holds a secret; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from driftline.errors import DriftlineError

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    subject
        What was looked at, in a word or two.
    exit_code
        What the command line would end with for this reason alone: 0 unless the level is `fail`.
    """

    level: Level
    subject: str
    what: str
    exit_code: int = 0


def ok(subject: str, what: str) -> Finding:
    """Say that something is as it should be."""
    return Finding("ok", subject, what)


def warn(subject: str, what: str) -> Finding:
    """Say that something deserves a look, though nothing is broken."""
    return Finding("warn", subject, what)


def fail(subject: str, error: DriftlineError) -> list[Finding]:
    """Say what an error says, one finding for each of its lines."""
    return [Finding("fail", subject, problem, error.exit_code) for problem in error.problems]


ALIKE_SHOWN_MAX = 20


def in_brief(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out what is well beyond the first of many, as with a thousand models; what is not well is always told.

    Parameters
    ----------
    findings
        All on one subject.

    Examples
    --------
    >>> many = [*(ok("watermark", f"m{n}") for n in range(1_000)), warn("watermark", "held up")]
    >>> [finding.what for finding in in_brief(many)][-3:]
    ['m19', 'held up', '980 more are well']
    """
    well = 0
    for finding in findings:
        well += finding.level == "ok"
        if finding.level != "ok" or well <= ALIKE_SHOWN_MAX:
            yield finding
            subject = finding.subject
    if well > ALIKE_SHOWN_MAX:
        yield ok(subject, f"{well - ALIKE_SHOWN_MAX} more are well")


def worst(findings: Iterable[Finding]) -> int:
    """Return the exit code of all findings together: the largest.

    Examples
    --------
    >>> worst([ok("python", "3.11"), Finding("fail", "kafka", "does not answer", 4), warn("workers", "none")])
    4
    """
    return max((finding.exit_code for finding in findings), default=0)
