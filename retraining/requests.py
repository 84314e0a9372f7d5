"""What does an episode's request to retrain say: why, from which model and data, and on which data to train anew?"""

from __future__ import annotations

from typing import Any

from retraining.episodes import cause_shown, episode_id
from retraining.messages import Message, Subject, event_id_of, message, moment
from retraining.policy import Requested
from retraining.state import Episode

REQUESTED = "driftline.retraining.requested"


def requested_message(subject: Subject, decision: Requested) -> Message:
    """Ask for a retraining; the message's id is the request's."""
    episode, at_ms = decision.episode, decision.window[1]
    of = episode_id(subject, episode)
    data = {
        "request_id": event_id_of(subject, episode.segment, of, REQUESTED),
        "episode_id": str(of),
        "model": subject.model,
        "version": subject.version,
        "kind": episode.kind,
        "severity": episode.severity,
        "requested_at": moment(at_ms),
        "causes": [cause_shown(cause) for cause in episode.causes],
        "lineage": lineage(subject, episode),
    }
    return message(subject, REQUESTED, subject.retraining_topic, episode.segment, of, at_ms, data)


def lineage(subject: Subject, episode: Episode) -> dict[str, Any]:
    """Return where the model comes from, what moved since when, and the data that show how things are now.

    The recommended window reaches from the estimated change to the end of the newest window that was judged.
    """
    known = {"registry_uri": subject.registry_uri, "data_version": subject.data_version}
    return {
        "model": subject.model,
        "version": subject.version,
        **{name: value for name, value in known.items() if value is not None},
        "reference_digest": episode.digest,
        "features": list(episode.features),
        "segments": list(episode.segments),
        "estimated_change_at": moment(episode.changed_ms),
        "recommended_window": {"from": moment(episode.changed_ms), "to": moment(episode.judged_ms)},
    }
