"""Is a configuration that lacks what a command needs called by its file's name?"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from driftline.cli import main


@pytest.mark.parametrize("command", ["run", "relay", "topics"])
def test_a_configuration_without_kafka_is_named_where_kafka_is_needed(command: str, tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    config.write_text("models: {m: {task: binary, reference: {first_events: 100}}}\n")

    result = CliRunner().invoke(main, [command, "--config", str(config)])

    assert result.exit_code == 2
    assert f"{config}: has no kafka section" in result.output
