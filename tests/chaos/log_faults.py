"""What goes wrong with the log itself: it grows in width, loses its beginning, or is another one of the same name."""

from __future__ import annotations

import signal
import time
from collections import Counter

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.chaos.traffic import INPUTS
from tests.chaos.world import PARTITIONS, PATIENCE_S, World
from tests.support.live import wait_for
from tests.support.monitors import create_topics

MORE = PARTITIONS + 2
LEARNT_S = 6
"""Producers learn of new partitions after a while, by default after minutes."""

BACKLOG_S = 5
LOST_SHARE = 0.6
STATE_WRONG = 3


def _admin(world: World) -> AdminClient:
    return AdminClient({"bootstrap.servers": world.monitor.address, "log_level": 0})


def add_partitions(world: World) -> None:
    """Add partitions to both topics, and send to all of them."""
    topics, admin = [world.monitor.topic(role) for role in INPUTS], _admin(world)
    for done in admin.create_partitions([NewPartitions(topic, MORE) for topic in topics]).values():
        done.result(30)
    time.sleep(LEARNT_S)
    world.traffic.use_partitions(MORE)


def overrun_by_retention(world: World) -> None:
    """Stop one worker and end the other, delete records that neither has read, and let both go on."""
    before = _counted_lost(world)
    world.workers[0].signal(signal.SIGSTOP)
    world.workers[1].end()
    time.sleep(BACKLOG_S)
    admin = _admin(world)
    with world.traffic.paused():
        at, ends = world.positions(), world.ends()
        cuts = {place: at[place] + int((end - at[place]) * LOST_SHARE) for place, end in ends.items() if place[1] < 2}
        asked = admin.delete_records([TopicPartition(*place, cut) for place, cut in cuts.items()])
        for done in asked.values():
            done.result(30)
    world.workers[0].signal(signal.SIGCONT)
    world.start_worker(1)
    wait_for(lambda: _all_beyond(world, cuts), "workers to be behind what is lost", PATIENCE_S)
    counted = _counted_lost(world) - before
    roles = {world.monitor.topic(role): role for role in INPUTS}
    for (topic, partition), n in counted.items():
        # What a worker had fetched before it was stopped is not lost: that the rest is, comparison shows.
        cut = cuts[topic, partition]
        world.traffic.lose(roles[topic], partition, cut - n, cut)
    assert _told_lost(world) == _counted_lost(world), "what is counted is not what is told"
    world.notes.append(f"{sum(counted.values())} records counted as lost in {len(counted)} partitions")


def _counted_lost(world: World) -> Counter[tuple[str, int]]:
    told = world.monitor.rows("select topic, partition, n::int from driftline.v_counts where reason = 'lost_record'")
    return Counter({(topic, partition): n for topic, partition, n in told})


def _told_lost(world: World) -> Counter[tuple[str, int]]:
    told = world.monitor.rows("select payload->'data' from driftline.v_events where type = 'driftline.records.lost'")
    found: Counter[tuple[str, int]] = Counter()
    for (data,) in told:
        found[data["topic"], data["partition"]] += data["n"]
    return found


def _all_beyond(world: World, cuts: dict[tuple[str, int], int]) -> bool:
    at = world.positions()
    return all(at.get(place, 0) > cut for place, cut in cuts.items())


def make_topic_anew(world: World) -> None:
    """Delete the topic of predictions, make it anew, and do what `docs/operations.md` says."""
    topic, admin = world.monitor.topic("predictions"), _admin(world)
    with world.traffic.paused():
        admin.delete_topics([topic])[topic].result(30)
        wait_for(lambda: topic not in admin.list_topics(timeout=10).topics, f"{topic} to be gone")
        create_topics(world.monitor.address, [topic], PARTITIONS)
        codes = [worker.process.wait(PATIENCE_S) for worker in world.workers]
        assert codes == [STATE_WRONG] * len(codes), f"workers went on with another topic, or ended otherwise: {codes}"
        read = {partition: at for (of, partition), at in world.positions().items() if of == topic}
        world.traffic.begin_log_anew("predictions", read)
        with psycopg.connect(world.monitor.url, autocommit=True) as connection:
            connection.execute("delete from driftline.stream_offset where topic = %s", [topic])
        for at in range(len(world.workers)):
            world.start_worker(at)
    world.notes.append("all workers ended with 3")
