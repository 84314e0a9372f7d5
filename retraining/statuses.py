"""How is told what became of a request: the status events between whoever retrains and whoever watches.

Invariants: an event's id is a function of request, state and attempt, so a repeat has the same one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

STATUS_TYPE = "driftline.retraining.status"
SOURCE = "/driftline/retraining"
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"

State = Literal["started", "succeeded", "failed"]
STATES: tuple[State, ...] = get_args(State)
FINISHED: tuple[State, ...] = ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a request at one moment.

    Parameters
    ----------
    attempt
        Which start of the run it is about, from 1.
    at_ms
        When it was so, milliseconds since 1970 UTC.
    outcome
        One line for people.
    new_version
        The version that was trained, if the run told it.
    """

    request_id: str
    episode_id: str | None
    model: str
    version: str
    state: State
    attempt: int
    at_ms: int
    outcome: str = ""
    new_version: str | None = None


def status_id(status: Status) -> str:
    """Return the event's id.

    Examples
    --------
    >>> first, again, next_ = (Status("r", None, "m", "1", "started", n, ms) for n, ms in ((1, 0), (1, 9), (2, 9)))
    >>> status_id(first) == status_id(again), status_id(first) == status_id(next_)
    (True, False)
    """
    what = json.dumps([status.request_id, status.state, status.attempt]).encode()
    return hashlib.blake2b(what, digest_size=16).hexdigest()


def status_event(status: Status) -> dict[str, Any]:
    """Write a status as a CloudEvent."""
    at = datetime.fromtimestamp(status.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"at" if name == "at_ms" else name: value for name, value in asdict(status).items()}
    return {
        "specversion": "1.0",
        "id": status_id(status),
        "source": SOURCE,
        "type": STATUS_TYPE,
        "subject": f"{status.model}/{status.version}",
        "time": at,
        "datacontenttype": "application/json",
        "data": {name: at if name == "at" else value for name, value in told.items() if value is not None},
    }
