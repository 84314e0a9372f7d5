"""What tests of configurations share."""

from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return where a configuration may be written."""
    return tmp_path / "monitor.yaml"
