"""How is told what became of a request: the status events between whoever retrains and whoever watches.

Invariants: an event's id is a function of request, state and attempt, so a repeat has the same one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from retraining.messages import digest_of, moment

STATUS_TYPE = "driftline.retraining.status"
SOURCE = "/driftline/retraining"

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
    return digest_of(status.request_id, status.state, status.attempt).hex()


def says_more(status: Status) -> tuple[bool, int, int, State]:
    """Order the statuses of one request by how much they say: finished, then the later attempt, then the later time."""
    return status.state in FINISHED, status.attempt, status.at_ms, status.state


def status_event(status: Status) -> dict[str, Any]:
    """Write a status as a CloudEvent."""
    at = moment(status.at_ms)
    told = {name: value for name, value in asdict(status).items() if name != "at_ms" and value is not None}
    return {
        "specversion": "1.0",
        "id": status_id(status),
        "source": SOURCE,
        "type": STATUS_TYPE,
        "subject": f"{status.model}/{status.version}",
        "time": at,
        "datacontenttype": "application/json",
        "data": {**told, "at": at},
    }
