"""What tests without a service share."""

import pytest

from tests.support.events import ROW_BY_ROW


@pytest.fixture(params=[1, ROW_BY_ROW], ids=["as a table", "row by row"])
def fast_rows_min(request: pytest.FixtureRequest) -> int:
    """How many events a message needs to be decoded as a table: each has enough, or none has."""
    return int(request.param)
