"""What do the store and the webhook say at one moment? What people are told is read from here, as a dashboard would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from driftline.demo.findings import Episode, cause_of
from driftline.demo.receiver import Received
from driftline.store.connection import Connection, rows, the_row, timestamp

FEATURES_MAX = 8
WINDOWS_MAX = 60


@dataclass(frozen=True, slots=True)
class Feature:
    """What the clearest detector says of a feature in one window.

    Parameters
    ----------
    level
        `ok`, `warning` or `drift`.
    """

    name: str
    detector: str
    score: float
    threshold: float
    level: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall over the predictions of one window; the values are None where nothing can be said yet.

    Parameters
    ----------
    coverage
        Share of the window's predictions whose label is in.
    """

    start_ms: int
    end_ms: int
    value: float | None
    low: float | None
    high: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class Retraining:
    """A request to retrain, and what came of it.

    Parameters
    ----------
    finished_ms
        None until it has succeeded or failed.
    outcome
        The last line that the training said.
    """

    request_id: str
    episode_id: str
    state: str
    requested_ms: int
    finished_ms: int | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything there is to be told.

    Parameters
    ----------
    windows
        How many are closed.
    closed_through_ms
        End of the last closed window; None before the first.
    features
        Those of the last closed window, the most striking first.
    recalls
        By the windows' predictions, the latest first.
    events
        How many outgoing messages there are, by type.
    unpublished
        How many of them are not in their topic yet.
    """

    predictions: int
    labels_joined: int
    windows: int
    closed_through_ms: int | None
    features: tuple[Feature, ...]
    recalls: tuple[Recall, ...]
    episodes: tuple[Episode, ...]
    retrainings: tuple[Retraining, ...]
    events: Mapping[str, int]
    unpublished: int
    received: tuple[Received, ...]

    def judged_ms(self, start_ms: int) -> int:
        """Return until when windows are closed, counted from the beginning."""
        return 0 if self.closed_through_ms is None else self.closed_through_ms - start_ms

    @property
    def verified(self) -> int:
        """How many messages the webhook got with the right signature."""
        return sum(message.is_signed for message in self.received)

    def counts(self) -> dict[str, int]:
        """Return what the last line of the demo counts."""
        return {
            "predictions": self.predictions,
            "labels_joined": self.labels_joined,
            "windows": self.windows,
            "drift_events": self.events.get("driftline.drift.detected", 0),
            "performance_events": self.events.get("driftline.performance.degraded", 0),
            "quality_events": self.events.get("driftline.quality.detected", 0),
            "retraining_requests": self.events.get("driftline.retraining.requested", 0),
            "retrainings_finished": sum(of.finished_ms is not None for of in self.retrainings),
            "webhooks_verified": self.verified,
        }


async def look(connection: Connection, model: str, received: tuple[Received, ...]) -> Seen:
    """Read from the store what there is to be told."""
    counts = {of.reason: of.n for of in await rows(connection, "demo_counts", model=model)}
    closed = await the_row(connection, "demo_windows", model=model)
    features = []
    if closed.closed_through is not None:
        until = timestamp(closed.closed_through)
        features = await rows(connection, "demo_features", model=model, window_end=until, features_max=FEATURES_MAX)
    recalls = await rows(connection, "demo_recall", model=model, windows_max=WINDOWS_MAX)
    episodes = await rows(connection, "demo_episodes", model=model)
    retrainings = await rows(connection, "demo_retraining", model=model)
    events = await rows(connection, "demo_events", model=model)
    return Seen(
        predictions=counts.get("prediction", 0) - counts.get("repeated_prediction", 0),
        labels_joined=counts.get("pair", 0),
        windows=closed.n,
        closed_through_ms=closed.closed_through,
        features=tuple(Feature(*of) for of in features),
        recalls=tuple(Recall(*of) for of in recalls),
        episodes=tuple(
            Episode(
                str(of.episode_id),
                of.kind,
                of.opened_at,
                of.closed_at,
                causes=tuple(cause_of(cause) for cause in of.causes),
                opened_by=tuple(cause_of(cause) for cause in of.opened_by),
            )
            for of in episodes
        ),
        retrainings=tuple(
            Retraining(of.request_id, str(of.episode_id), of.state, of.requested_at, of.finished_at, of.outcome)
            for of in retrainings
        ),
        events={of.type: of.n for of in events},
        unpublished=sum(of.n - of.n_published for of in events),
        received=received,
    )
