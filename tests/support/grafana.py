"""What Grafana does with a panel's SQL before Postgres sees it, and a small Grafana that takes what is pushed.

The rules are those of Grafana 11.6: variables are put in by the browser (`sqlstring` quotes and doubles quotes, the
value that stands for "all" goes in as it is), then the PostgreSQL data source replaces its macros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

Value = str | Sequence[str]

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$(\w+)\(([^)]*)\)")


class Raw(str):
    """A custom "all" value: no format applies to it."""


@dataclass(frozen=True)
class Sight:
    """What somebody looks at: a time range, and what is chosen."""

    start: datetime
    end: datetime
    chosen: Mapping[str, Value]
    interval_s: int = 300

    def expand(self, sql: str) -> str:
        """Turn a panel's SQL into what Postgres gets."""
        with_variables = _VARIABLE.sub(self._variable, sql).replace("$__interval", f"{self.interval_s}s")
        expanded = _MACRO.sub(self._macro, with_variables)
        assert "$" not in expanded, f"Grafana would leave a $ in: {expanded}"
        return expanded

    def _variable(self, match: re.Match[str]) -> str:
        value, form = self.chosen[match[1]], match[2]
        if isinstance(value, Raw):
            return value
        assert form == "sqlstring", f"{match[0]} is put into SQL as it is"
        values = [value] if isinstance(value, str) else value
        return ",".join("'" + one.replace("'", "''") + "'" for one in values)

    def _macro(self, match: re.Match[str]) -> str:
        arguments = [argument.strip() for argument in match[2].split(",")]
        start, end = (time.isoformat().replace("+00:00", "Z") for time in (self.start, self.end))
        if match[1] == "__timeFilter":
            return f"{arguments[0]} BETWEEN '{start}' AND '{end}'"
        if match[1] == "__timeFrom":
            return f"'{start}'"
        if match[1] == "__timeTo":
            return f"'{end}'"
        if match[1] == "__timeGroup":
            seconds = int(arguments[1].strip("'").removesuffix("s"))
            return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
        raise AssertionError(f"Grafana's PostgreSQL data source has no macro ${match[1]}")
