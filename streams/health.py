"""Is a worker fit for work, and if not, why; and does its consumer have to be started anew?

A worker is ready when both services answer, its group has given it its share, and each of its partitions is read to its
end or moves. Pure: time comes in as seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Place = tuple[str, int]
Service = Literal["kafka", "postgres"]

ANSWER_S_MAX = 15.0
"""Both services are asked every few seconds; after so long without an answer one is away."""

TURNS_MAX = 20
"""While a worker catches up, its partitions take turns: so many times longer may one stand still than all of them."""


class Sight(NamedTuple):
    """How far a partition is read, and where it ends."""

    read_to: int
    end: int


@dataclass(slots=True)
class _Course:
    """Since when a partition with records to read has not moved, and where its log ended then."""

    since_s: float
    end: int
    commits: int


@dataclass
class Health:
    """What a worker knows of itself.

    Parameters
    ----------
    stuck_after_s
        How long a partition with records to read may stand still.
    """

    stuck_after_s: float
    trouble: str = ""
    """What went wrong last, as long as nothing went well since."""
    restarts: int = 0
    """How often the consumer was started anew."""
    _answered: dict[Service, float] = field(default_factory=dict)
    _under_way: Counter[Place] = field(default_factory=Counter)
    _commits: Counter[Place] = field(default_factory=Counter)
    _courses: dict[Place, _Course] = field(default_factory=dict)
    _committed_s: float | None = None
    _sights: Mapping[Place, Sight] | None = None

    def answered(self, service: Service, now_s: float) -> None:
        """Note that a service answers."""
        self._answered[service] = now_s

    def begun(self, place: Place) -> None:
        """Note that a fetch is being committed."""
        self._under_way[place] += 1

    def ended(self, place: Place, now_s: float, *, committed: bool) -> None:
        """Note that a fetch is committed, or that another one takes its place."""
        self._under_way[place] -= 1
        if committed:
            self._commits[place] += 1
            self._committed_s = now_s
            self.trouble = ""

    def look(self, sights: Mapping[Place, Sight], now_s: float) -> None:
        """Compare how far this worker's partitions are read with where they end.

        Parameters
        ----------
        sights
            Of the partitions that are assigned and not paused.
        """
        self._sights = dict(sights)
        courses = {}
        for place, sight in sights.items():
            before, commits = self._courses.get(place), self._commits[place]
            is_behind = self._under_way[place] > 0 or sight.read_to < sight.end
            if is_behind and before is not None and before.commits == commits:
                courses[place] = before
            elif is_behind:
                courses[place] = _Course(now_s, sight.end, commits)
        self._courses = courses

    def reasons(self, now_s: float) -> list[str]:
        """Say why the worker is not ready; nothing if it is.

        Examples
        --------
        >>> health = Health(30)
        >>> health.reasons(0)
        ['kafka has not answered yet', 'postgres has not answered yet', 'no share of the partitions yet']
        >>> health.answered("kafka", 1); health.answered("postgres", 1); health.look({("t", 0): Sight(5, 9)}, 1)
        >>> health.reasons(5), health.reasons(21.5)
        ([], ['kafka has not answered for 20s', 'postgres has not answered for 20s'])
        """
        found = []
        for service in ("kafka", "postgres"):
            at = self._answered.get(service)
            if at is None:
                found.append(f"{service} has not answered yet")
            elif now_s - at > ANSWER_S_MAX:
                found.append(f"{service} has not answered for {int(now_s - at)}s")
        if self._sights is None:
            found.append("no share of the partitions yet")
        why = f": {self.trouble}" if self.trouble else ""
        for (topic, partition), standing_s in self._standing(now_s, self.stuck_after_s).items():
            found.append(f"{topic}, partition {partition}: stands still for {int(standing_s)}s{why}")
        return found

    def _standing(self, now_s: float, after_s: float) -> dict[Place, float]:
        """Return for how long partitions stand still; while others move, one may have to wait for its turn."""
        moves = self._committed_s is not None and now_s - self._committed_s <= after_s
        least_s = after_s * (TURNS_MAX if moves else 1)
        standing = {place: now_s - course.since_s for place, course in self._courses.items()}
        return {place: seconds for place, seconds in standing.items() if seconds > least_s}

    def must_restart(self, now_s: float) -> list[Place]:
        """Return partitions that stand still for twice the time while their logs grow and both services answer."""
        if any(now_s - self._answered.get(service, 0.0) > ANSWER_S_MAX for service in ("kafka", "postgres")):
            return []
        sights = self._sights or {}
        return [
            place
            for place in self._standing(now_s, 2 * self.stuck_after_s)
            if sights[place].end > self._courses[place].end
        ]

    def restarted(self) -> None:
        """Forget what was known of the consumer that is gone."""
        self.restarts += 1
        self._under_way.clear()
        self._courses.clear()
        self._sights = None

    def partitions(self) -> dict[str, int]:
        """Return by partition how many records are not read yet."""
        sights = self._sights or {}
        return {f"{topic}/{partition}": max(of.end - of.read_to, 0) for (topic, partition), of in sights.items()}
