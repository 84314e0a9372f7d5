"""Why does Postgres not let us in, or not do what we ask: is it away, was it configured wrongly, or is a right missing?

Before it knows who asks, the server says so in words only, so the words are what there is to go by; what is not known
here, or is told in another language, counts as a service that is away. No line holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from driftline.errors import ConfigurationError, DriftlineError, ServiceUnavailableError

_REMEDIES = {
    r"connection is bad: (?!connection to server)|invalid integer value|could not match|bad value for": (
        "correct it in postgres.url, or in the PG… variable that it comes from"
    ),
    r"invalid value for parameter|(unrecognized configuration|unsupported startup) parameter|command-line argument": (
        "correct what stands after `?` in postgres.url"
    ),
    r"password authentication failed|SASL authentication failed|no password supplied": "correct the user and the "
    "password in postgres.url",
    r"(certificate|Peer|Ident) authentication failed|role \".*\" does not exist|no such user|not permitted to log in": (
        "correct the user in postgres.url, or have it admitted"
    ),
    r"database \".*\" does not exist|no such database": "correct the database in postgres.url, or create it",
    r"pg_hba\.conf": "have this user admitted from this host (pg_hba.conf), or correct postgres.url",
    r"does not support SSL|certificate verify failed|server certificate for|certificate file|private key file": (
        "correct sslmode and the certificates in postgres.url"
    ),
}
"""What the server, PgBouncer, libpq or psycopg says when it is of no use to try again, and what to do about it.

The first is what libpq refuses before it asks any server: else it says first to which one it was connecting."""

GRANT = "grant what docs/operations.md lists"
GRANTS_SHOWN_MAX = 5

_BEFORE = re.compile(r"(connection (failed|is bad): )?(connection to server at .*?, port \d+ failed: )?(FATAL: +)?")
"""What libpq puts before the server's words, which `place` says already."""


def refusal(text: str, place: str) -> DriftlineError:
    r"""Write why no connection could be made as an error of ours.

    Parameters
    ----------
    text
        What libpq says: a line for each attempt, and lines of advice, which begin with a tab.
    place
        Where it was tried.

    Examples
    --------
    >>> error = refusal('FATAL:  database "ml" does not exist', "postgres at db:5432/ml")
    >>> error.exit_code, str(error).partition(";")[0]
    (2, 'postgres at db:5432/ml: can\'t connect: database "ml" does not exist')
    >>> refusal("FATAL:  the database system is starting up", "postgres at db:5432/ml").exit_code
    4
    """
    told = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    for words, remedy in _REMEDIES.items():
        for line in told:
            if re.search(words, line):
                return ConfigurationError(f"can't connect: {_BEFORE.sub('', line)}", where=place, remedy=remedy)
    reason = _BEFORE.sub("", told[-1]) if told else "it says nothing"
    return ServiceUnavailableError(f"can't connect: {reason}", where=place, remedy="check the server and postgres.url")


def lacking(user: str, missing: Sequence[str]) -> str:
    """Say which rights a role lacks, the first of them by name.

    Parameters
    ----------
    missing
        Rights as they would be granted.

    Examples
    --------
    >>> lacking("ann", ["insert on driftline.label", "select on driftline.name"])
    'ann lacks insert on driftline.label, select on driftline.name'
    """
    more = f" and {len(missing) - GRANTS_SHOWN_MAX} more" if len(missing) > GRANTS_SHOWN_MAX else ""
    return f"{user} lacks {', '.join(missing[:GRANTS_SHOWN_MAX])}{more}"
