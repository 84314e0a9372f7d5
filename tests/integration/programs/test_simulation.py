"""Do histories end as the careful reader's, and would the simulation notice if they did not?

Few seeds here; `make simulate SEEDS=1000` plays many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation.crashes import never
from tests.simulation.history import careful, migrated_template, play, shrink
from tests.simulation.stage import Crash

pytestmark = pytest.mark.postgres

SEEDS = 6
TRIED = range(1, 20)
DIRECTED = (0, 2, 10)
"""References of first events and of a file, features that come apart, corrections, and late events that restate."""


@pytest.fixture(scope="module")
def template(postgres_server_url: str) -> Iterator[str]:
    """A migrated database to copy."""
    with migrated_template(postgres_server_url) as name:
        yield name


async def no_lock(*_: object) -> None:
    """Lock nothing."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_history_ends_as_the_careful_readers(seed: int, postgres_server_url: str, template: str) -> None:
    outcome = play(postgres_server_url, template, seed)

    assert outcome.problems == (), outcome.told()


def test_the_same_seed_is_the_same_history(postgres_server_url: str, template: str) -> None:
    one, other = (play(postgres_server_url, template, 3) for _ in range(2))

    assert one == other
    assert one.turns > 100


def test_every_effect_is_interrupted_before_and_after_it_and_nothing_is_lost(
    postgres_server_url: str, template: str
) -> None:
    """Not by chance: wherever a process stands for the first time in all these histories, it is killed, or cut off."""
    deeds, crashes = Counter[tuple[str, str]](), Counter[Crash]()
    for seed in DIRECTED:
        outcome = play(postgres_server_url, template, seed, spared=crashes)
        assert outcome.problems == (), outcome.told()
        deeds.update(outcome.deeds)
        crashes.update(outcome.crashes)

    assert never(deeds, crashes) == []
    assert {part for part, _ in deeds} == {"reads", "closes", "relays"}
    rare = {"end_warm_up", "add_served_features", "add_dead_letters", "verdict_spans", "postpone_message"}
    assert rare <= {effect for _, effect in deeds}


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("streams.committing.commit._goes_on", lambda at, position: True),  # whoever was fenced writes all the same
        ("streams.committing.commit._lock_joins", no_lock),  # a prediction and its label pass by one another
    ],
)
def test_a_broken_promise_is_found_and_its_history_shrunk(
    broken: str, by: object, postgres_server_url: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broken, by)

    outcomes = (play(postgres_server_url, template, seed) for seed in TRIED)
    found = next((outcome for outcome in outcomes if outcome.problems), None)

    assert found is not None, "nothing was noticed"
    shrunk = shrink(postgres_server_url, template, found)
    assert shrunk.problems
    expected = careful(postgres_server_url, template, shrunk.seed)
    for fault in shrunk.faults:
        fewer = [other for other in shrunk.faults if other != fault]
        assert play(postgres_server_url, template, shrunk.seed, fewer, expected).problems == (), "one too many is left"
