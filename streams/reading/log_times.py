"""How far is the log in event time, for each of many models? One look at all partitions answers for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Self

from driftline.settings.services import Input
from driftline.store.connection import Connection, rows
from streams.watermarks import PartitionTime, ahead_of_predictions, model_watermark

TopicPartition = tuple[str, int]

LABEL_LEAD_MS_MAX = 300_000
"""How far label partitions may be ahead of the predictions in event time before they are paused."""


class LogTimes:
    """The times of some topics' partitions at one moment.

    Models that share their topics share the work, so a thousand of them in one topic cost what one does.

    Examples
    --------
    >>> times = LogTimes({("a", 0): PartitionTime(500, None), ("a", 1): PartitionTime(400, None)})
    >>> times.watermark(("a",), 10), times.newest(("a",)), times.watermark(("b",), 10)
    (390, 500, None)
    """

    def __init__(self, times: Mapping[TopicPartition, PartitionTime]) -> None:
        self._of_topic: dict[str, dict[TopicPartition, PartitionTime]] = defaultdict(dict)
        for at, time in times.items():
            self._of_topic[at[0]][at] = time
        self._reached: dict[tuple[str, ...], int | None] = {}

    @classmethod
    async def read(cls, connection: Connection, topics: Iterable[str]) -> Self:
        """Look at the partitions of some topics."""
        found = await rows(connection, "partitions_of_topics", topics=sorted(set(topics)))
        return cls({(of.topic, of.partition): PartitionTime(of.newest_event, of.idle_through) for of in found})

    def partitions(self, topic: str) -> Mapping[TopicPartition, PartitionTime]:
        """Return the times of one topic's partitions."""
        return self._of_topic.get(topic, {})

    def watermark(self, topics: tuple[str, ...], out_of_orderness_ms: int) -> int | None:
        """Return the watermark of a model that reads these topics."""
        if topics not in self._reached:
            times = [time for topic in topics for time in self.partitions(topic).values()]
            self._reached[topics] = model_watermark(times, 0)
        reached_ms = self._reached[topics]
        return None if reached_ms is None else reached_ms - out_of_orderness_ms

    def newest(self, topics: Iterable[str]) -> int | None:
        """Return the newest event time in some topics."""
        known = (time.newest_ms for topic in topics for time in self.partitions(topic).values())
        return max((ms for ms in known if ms is not None), default=None)

    def labels_ahead(self, pairs: Iterable[tuple[str, str]]) -> set[TopicPartition]:
        """Return the partitions of labels that are to wait for their predictions.

        Parameters
        ----------
        pairs
            (topic of predictions, topic of their labels), as `labels_apart` gives them.
        """
        waiting: set[TopicPartition] = set()
        for predictions, labels in pairs:
            reached = self.partitions(predictions).values()
            waiting |= ahead_of_predictions(self.partitions(labels), reached, LABEL_LEAD_MS_MAX)
        return waiting


def labels_apart(inputs: Iterable[Mapping[Input, str]]) -> set[tuple[str, str]]:
    """Return (topic of predictions, topic of labels) of each model whose labels come alone, so that they can wait.

    Parameters
    ----------
    inputs
        Of each model, its topics by kind.
    """
    return {
        (topics["predictions"], topics["labels"])
        for topics in inputs
        if topics["labels"] not in (topics["predictions"], topics["features"])
    }
