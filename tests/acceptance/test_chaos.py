"""Do real workers on real services leave what a replay leaves, after faults that no test of a single outage makes?

The most telling faults of `make chaos`, one after the other in one world; `docs/reliability.md` has all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.compare import compare
from tests.chaos.faults import FAULTS
from tests.chaos.world import Services, recovery_of, running_services, running_world
from tests.support.services import MissingServiceError

pytestmark = [pytest.mark.real_kafka, pytest.mark.postgres]

TELLING = ("worker-stopped-with-locks", "worker-cut-off", "partitions-added", "retention-overrun")


@pytest.fixture
def services() -> Iterator[Services]:
    """A broker and a Postgres of our own, behind networks that can be cut."""
    try:
        with running_services() as running:
            yield running
    except MissingServiceError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


def test_after_stops_cuts_and_losses_everything_is_as_in_a_replay_of_what_was_left(
    services: Services, tmp_path: Path
) -> None:
    with running_world(services, quick=True, logs=tmp_path) as world:
        for name in TELLING:
            FAULTS[name].make(world)
            again_s, level_s = recovery_of(world)
            assert again_s is not None, f"{name}: nothing moves any more"
            assert level_s is not None, f"{name}: never read to the end"
        found = compare(world)

    assert found.problems == []
    assert (found.lost, found.doubled) == (0, 0)
    assert found.by_nature > 0
    assert min(found.compared.values()) > 0, found.compared
