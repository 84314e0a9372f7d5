"""Is a reference that a newer program made refused in words, and nothing written by it?"""

import pytest

from driftline.errors import StateError
from driftline.store.connection import Connection
from streams.monitored import Profiles
from tests.support.pipelines import lab, prediction

pytestmark = pytest.mark.postgres


async def test_a_reference_of_a_newer_program_is_refused_in_words_and_nothing_is_written(
    connection: Connection,
) -> None:
    made = await lab(connection)
    await connection.execute("update driftline.profile set content = content || '{\"later\": 1}'")
    made.pipeline = type(made.pipeline)(made.pipeline.models, Profiles(), made.pipeline.future_ms_max)

    with pytest.raises(StateError, match=r"can't be read by this program: .*later.*; a newer program made it: upgrade"):
        await made.commit("predictions", prediction("a", 0))

    assert (await made.count("prediction"), await made.count("pane")) == (0, 0)
    assert await made.counts() == {}
