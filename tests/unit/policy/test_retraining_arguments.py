"""Are wrong arguments of the retraining consumer told in one line, before anything is run?"""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from retraining.consumer import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected either --run COMMAND or --post URL"),
        (["--run", "true", "--post", "http://h/"], "expected either --run COMMAND or --post URL"),
        (["--run", "no-such-command --really"], "--run: there is no command no-such-command"),
        (["--run", "echo 'open"], "--run can't be split into words"),
        (["--run", " "], "--run is empty"),
        (["--post", "ftp://host/"], "--post must be a URL"),
        (["--post", "http://[host"], "--post must be a URL"),
        (["--run", "true", "--timeout", "5"], "--timeout must be a number with a unit"),
        (["--run", "true", "--timeout", "0s"], "--timeout must be more than 0s"),
        (["--rnu", "true"], "there is no option --rnu; did you mean --run? see `python -m retraining.consumer --help`"),
        (["now"], "got unexpected extra argument (now)"),
        (["--run", "true"], "monitor.yaml: there is no such file"),
        (["--run", "true", "--bootstrap-servers", "h:1", "--state", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_a_wrong_argument_ends_with_2_and_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "retraining.consumer", *arguments]

    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    [line] = result.stderr.splitlines()
    assert (result.returncode, line[:18]) == (2, "driftline: error: "), result.stderr
    assert told in line


def test_the_help_says_that_a_timeout_is_a_duration() -> None:
    assert "--timeout DURATION" in CliRunner().invoke(main, ["--help"]).output
