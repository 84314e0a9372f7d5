"""Does an accepted reference stay in force through restarts until a reference file says something else?"""

from __future__ import annotations

import pytest

from detectors.reference.profile import Profile
from driftline.events import FeatureType
from driftline.store.connection import Connection
from driftline.wiring.references import put_references_in_force
from streams.monitored import EVERY_VERSION
from streams.references.reference import profile_from_batch
from tests.support.accepting import accept, in_force, stream
from tests.support.pipelines import MINUTE, Event, Lab, lab, put_reference_in_force, reference_events

pytestmark = pytest.mark.postgres


TYPES = (FeatureType("x", "numeric"), FeatureType("c", "categorical"))


def profile_of(made: Lab, events: list[Event]) -> Profile:
    batch = made.decode("predictions", events).predictions[made.model.name]
    return profile_from_batch(batch, TYPES, task="binary", bins=10, categories_max=50)


async def restart(made: Lab, **files: list[Event]) -> None:
    """Do what every worker does when it starts, with such reference files."""
    named = {EVERY_VERSION if name == "every" else name: profile_of(made, events) for name, events in files.items()}
    await put_references_in_force(made.connection, {made.model.name: made.model}, {made.model.name: named})


async def test_it_stays_through_restarts_until_the_file_says_something_else(connection: Connection) -> None:
    made = await lab(connection)
    await made.commit("predictions", *stream(1, 100, 0, 2 * MINUTE))
    await made.close(2 * MINUTE)
    accepted = [(await accept(made, 0, to_ms)).new_digest for to_ms in (MINUTE, 2 * MINUTE)]
    found = []

    for file in (reference_events(), reference_events(), reference_events(50), reference_events()):
        await restart(made, every=file)
        found.append(await in_force(made))

    files = [profile_of(made, reference_events(n)) for n in (50, 200)]
    assert accepted[0] != accepted[1]
    assert [profile.digest for profile in found if profile] == [accepted[1], accepted[1], *(of.digest for of in files)]


async def test_one_version_alone_gets_a_reference_of_its_own_and_keeps_it_as_long_as_the_file_stays(
    connection: Connection,
) -> None:
    made = await lab(connection)
    await made.commit("predictions", *stream(1, 100, 0, MINUTE, version="v1"), *stream(2, 80, 0, MINUTE, version="v2"))
    await made.close(MINUTE)

    alone = await accept(made, 0, MINUTE, "v2")

    assert (alone.reference, alone.versions, alone.events) == ("v2", ["v2"], 80)
    await made.commit("predictions", *stream(3, 50, MINUTE, 2 * MINUTE, version="v1"))
    await made.commit("predictions", *stream(4, 50, MINUTE, 2 * MINUTE, version="v2"))
    await restart(made, every=reference_events())
    await made.close(2 * MINUTE)
    found = await made.drift(detector="psi", feature="x", window_end=2 * MINUTE)
    assert [(row["version"], row["n_reference"], row["level"]) for row in found] == [
        ("v1", 200, "drift"),
        ("v2", 80, "ok"),
    ]
    # What is accepted for the others leaves it alone; another file does not.
    others = await accept(made, 0, MINUTE)
    assert (others.reference, others.versions) == (EVERY_VERSION, ["v1"])
    assert (await in_force(made, "v2")).digest == alone.new_digest
    await restart(made, every=reference_events(50))
    assert await in_force(made, "v2") is None


async def test_a_version_whose_own_reference_was_taken_from_the_configuration_shares_that_of_all_again(
    connection: Connection,
) -> None:
    made = await lab(connection)
    await put_reference_in_force(made, reference_events(60), "v1")

    await restart(made, every=reference_events())

    assert await in_force(made, "v1") is None
    assert (await in_force(made)).n == 200
