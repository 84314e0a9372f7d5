"""What tests of the store share."""

from collections.abc import AsyncIterator

import pytest

from driftline.store.connection import Connection, connect
from driftline.store.migrate import migrate


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    """A connection to a migrated database of this test's own."""
    connection = await connect(postgres_url)
    try:
        await migrate(connection)
        yield connection
    finally:
        await connection.close()
