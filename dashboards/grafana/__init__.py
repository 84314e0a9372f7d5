"""What does Grafana show of Driftline, and how does it get there?

`parts` makes single panels, variables and annotations, `overview` puts them together, `files` writes what a Grafana
provisions itself from, `push` sends the same to one that runs. Panels read nothing but the views of docs/contracts.md;
their SQL is in `queries/`, for Grafana's PostgreSQL data source, with its macros and variables.

Invariants: the same code gives the same bytes; nothing here holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

from driftline.store import statements_in


@cache
def panel_statements() -> Mapping[str, str]:
    """Return the SQL of panels, variables and annotations, by name.

    Examples
    --------
    >>> "driftline.v_workers" in panel_statements()["workers"]
    True
    """
    return statements_in(resources.files(__package__).joinpath("queries"))
