"""Do real workers, killed with what they need, leave exactly what a replay leaves?

Two of the faults of `make chaos`, one after the other on one store, so that it is short. That the comparison would
notice is tested in `tests/unit/programs/test_chaos_compare.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.compare import COMPARED, compare
from tests.chaos.faults import FAULTS
from tests.chaos.world import recovery_of, running_services, running_world
from tests.conftest import service_missing
from tests.support.services import MissingServiceError

RATE = 100
"""Predictions a second: the rest of the last cycle is sent at once in any case."""


def test_a_killed_worker_and_a_killed_postgres_lose_and_double_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    try:
        with running_services() as services, running_world(services, quick=True, rate=RATE, logs=tmp_path) as world:
            for name in ("worker-killed", "postgres-killed"):
                FAULTS[name].make(world)
                assert None not in recovery_of(world), f"{name}: nobody went on"
            found = compare(world)
    except MissingServiceError as missing:
        service_missing(request, missing)

    assert found.problems == []
    assert (found.lost, found.doubled, found.by_nature) == (0, 0, 0)
    assert [kind for kind in (*COMPARED, "requests") if not found.compared[kind]] == []
