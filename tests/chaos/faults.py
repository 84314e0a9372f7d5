"""What goes wrong, by name. A fault is a function that makes it, lets it be over, and returns."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import psycopg

from tests.chaos.log_faults import add_partitions, make_topic_anew, overrun_by_retention
from tests.chaos.world import PATIENCE_S, World
from tests.support.live import wait_for
from tests.support.proxy import Proxy

OUTAGE_S, OUTAGE_QUICK_S = 120, 15
CUT_S, CUT_QUICK_S = 30, 12
CATCHES_MAX, WAITS_MAX = 400, 20
"""How often it is tried to stop a worker inside a transaction: by chance, and when it was just waited for."""

SETTLED_S = 0.05
"""So long after a stop the server has done what it can without the one who was stopped."""


class NotMadeError(Exception):
    """What was to go wrong did not come about, however often it was tried: nothing is shown by such a run."""


def kill_worker(world: World) -> None:
    """End a worker by SIGKILL, and start another one at once."""
    world.workers[1].signal(signal.SIGKILL)
    world.start_worker(1)


def stop_worker(world: World) -> None:
    """Stop a worker by SIGSTOP until the other one has all partitions, and let it go on."""
    _stop_until_fenced(world, lambda: world.workers[0].signal(signal.SIGSTOP))


def stop_worker_holding_locks(world: World) -> None:
    """Stop a worker in the middle of its transaction, when it holds the lock of a partition."""

    def stop() -> None:
        with psycopg.connect(world.monitor.url) as blocker:
            blocker.execute("lock table driftline.stream_offset in share mode")
            wait_for(lambda: _backends(world, "wait_event_type = 'Lock'"), "a worker to wait for its fence", PATIENCE_S)
            world.workers[0].signal(signal.SIGSTOP)

    _stop_until_fenced(world, lambda: _stop_inside(world, stop, WAITS_MAX))


def stop_worker_sending(world: World) -> None:
    """Stop a worker at a chance moment of its transaction, between two statements or when half of one has come."""
    _stop_until_fenced(world, lambda: _stop_inside(world, lambda: world.workers[0].signal(signal.SIGSTOP), CATCHES_MAX))


def _stop_inside(world: World, stop: Callable[[], None], tries_max: int) -> None:
    """Stop the first worker, again and again, until a transaction stays open.

    Raises
    ------
    NotMadeError
        If none did; the worker goes on.
    """
    for tries in range(1, tries_max + 1):
        stop()
        time.sleep(SETTLED_S)
        if held := _backends(world, "state = 'idle in transaction'"):
            world.notes.append(f"stopped {tries} times until {len(held)} transactions were open")
            return
        world.workers[0].signal(signal.SIGCONT)
        time.sleep(random.uniform(0.01, 0.1))
    raise NotMadeError(f"stopped {tries_max} times, and never inside a transaction")


def _backends(world: World, state: str) -> list[tuple[object, ...]]:
    """Return the sessions of workers that are in some state, and were before we began to look."""
    return world.monitor.rows(
        f"select pid from pg_stat_activity where application_name = 'driftline' and datname = current_database()"
        f" and {state} and state_change < now() - interval '{SETTLED_S / 2} s'"
    )


def _stop_until_fenced(world: World, stop: Callable[[], None]) -> None:
    stop()
    try:
        wait_for(lambda: len(world.share(1)) == len(world.ends()), "the other to have all partitions", PATIENCE_S)
        time.sleep(2)  # so that it reads on, and the one that comes back is behind
    finally:
        world.workers[0].signal(signal.SIGCONT)


def kill_broker(world: World) -> None:
    """End the broker by SIGKILL, and start it again a little later."""
    world.services.broker.kill()
    time.sleep(3)
    world.services.broker.start()


def restart_broker(world: World) -> None:
    """End the broker in order, and start it again."""
    world.services.broker.shut_down()
    world.services.broker.start()


def kill_postgres(world: World) -> None:
    """End Postgres by SIGKILL, and start it again at once."""
    world.services.postgres.kill()
    world.services.postgres.start()


def restart_postgres(world: World) -> None:
    """End Postgres in order, which sends everybody away, and start it again."""
    world.services.postgres.stop()
    world.services.postgres.start()


def outage_of_postgres(world: World) -> None:
    """Let Postgres be away for two minutes."""
    world.services.postgres.kill()
    time.sleep(OUTAGE_QUICK_S if world.quick else OUTAGE_S)
    world.services.postgres.start()


def _cut(world: World, *networks: Proxy) -> None:
    for network in networks:
        network.cut()
    time.sleep(CUT_QUICK_S if world.quick else CUT_S)
    for network in networks:
        network.mend()


def cut_worker_from_broker(world: World) -> None:
    """Let nothing pass between a worker and the broker for half a minute, without a word to either."""
    _cut(world, world.services.broker_network)


def cut_worker_from_postgres(world: World) -> None:
    """Let nothing pass between a worker and Postgres for half a minute, without a word to either."""
    _cut(world, world.services.postgres_network)


def cut_worker_off(world: World) -> None:
    """Let nothing pass between a worker and anybody for half a minute."""
    _cut(world, world.services.broker_network, world.services.postgres_network)


def stall_postgres(world: World) -> None:
    """Keep all that passes between a worker and Postgres for half a minute, then let it arrive."""
    world.services.postgres_network.stall()
    time.sleep(CUT_QUICK_S if world.quick else CUT_S)
    world.services.postgres_network.resume()


def stall_broker(world: World) -> None:
    """Keep all that passes between a worker and the broker for half a minute, then let it arrive."""
    world.services.broker_network.stall()
    time.sleep(CUT_QUICK_S if world.quick else CUT_S)
    world.services.broker_network.resume()


def reset_connections(world: World) -> None:
    """End all connections of a worker at once, as a firewall does that is restarted."""
    world.services.broker_network.reset()
    world.services.postgres_network.reset()


def kill_relay(world: World) -> None:
    """Let two relays and two workers publish at once, kill one relay and stop another one for a while."""
    if len(world.relays) == 1:
        world.start_relay(1)
    outbox = "select count(*) from driftline.outbox"
    [(before,)] = world.monitor.rows(outbox)
    wait_for(lambda: world.monitor.rows(outbox)[0][0] > before, "a message", PATIENCE_S)
    world.relays[0].signal(signal.SIGKILL)
    world.relays[1].signal(signal.SIGSTOP)
    world.start_relay(0)
    time.sleep(8)
    world.relays[1].signal(signal.SIGCONT)


def cut_relay_from_broker(world: World) -> None:
    """Let nothing pass between the broker and both the relay and a worker for half a minute, while messages wait."""
    _put_relay_behind(world)
    _cut(world, world.services.broker_network)


def cut_relay_from_postgres(world: World) -> None:
    """Let nothing pass between Postgres and both the relay and a worker for half a minute, while messages wait."""
    _put_relay_behind(world)
    _cut(world, world.services.postgres_network)


def _put_relay_behind(world: World) -> None:
    world.relays[0].end()
    world.start_relay(0, is_behind=True)
    sent = "select count(*) from driftline.outbox where published_at is not null"
    [(before,)] = world.monitor.rows(sent)
    wait_for(lambda: world.monitor.rows(sent)[0][0] > before, "a message to leave", PATIENCE_S)


def fill_disk(world: World) -> None:
    """Leave no room on the disk of the tables, and make room again."""
    assert world.disk is not None
    with world.disk.full():
        time.sleep(CUT_QUICK_S if world.quick else CUT_S)


def fill_broker_disk(world: World) -> None:
    """Leave no room on the disk of the broker's log until the broker ends itself, make room and start it again."""
    assert world.disk is not None
    with world.disk.full():
        world.services.broker.wait_for_end(PATIENCE_S)
    world.services.broker.start()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Parameters
    ----------
    make
        Makes it, and returns when it is over.
    small_disk
        What is to be on a small disk of its own.
    """

    make: Callable[[World], None]
    small_disk: Literal["tables", "log"] | None = None

    @property
    def told(self) -> str:
        """What it does."""
        return (self.make.__doc__ or "").splitlines()[0].rstrip(".")


FAULTS: dict[str, Fault] = {
    "worker-killed": Fault(kill_worker),
    "worker-stopped": Fault(stop_worker),
    "worker-stopped-with-locks": Fault(stop_worker_holding_locks),
    "worker-stopped-sending": Fault(stop_worker_sending),
    "broker-killed": Fault(kill_broker),
    "broker-restarted": Fault(restart_broker),
    "postgres-killed": Fault(kill_postgres),
    "postgres-restarted": Fault(restart_postgres),
    "postgres-away": Fault(outage_of_postgres),
    "worker-broker-cut": Fault(cut_worker_from_broker),
    "worker-postgres-cut": Fault(cut_worker_from_postgres),
    "worker-cut-off": Fault(cut_worker_off),
    "worker-broker-stalled": Fault(stall_broker),
    "worker-postgres-stalled": Fault(stall_postgres),
    "relay-broker-cut": Fault(cut_relay_from_broker),
    "relay-postgres-cut": Fault(cut_relay_from_postgres),
    "connections-reset": Fault(reset_connections),
    "partitions-added": Fault(add_partitions),
    "retention-overrun": Fault(overrun_by_retention),
    "topic-made-anew": Fault(make_topic_anew),
    "relays": Fault(kill_relay),
    "disk-full": Fault(fill_disk, "tables"),
    "broker-disk-full": Fault(fill_broker_disk, "log"),
}
