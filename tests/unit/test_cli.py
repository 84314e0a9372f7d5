"""Does the command line tell errors and end the way this house promises?"""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result

import driftline
from driftline.cli import COMMANDS, main
from driftline.errors import ConfigurationError, ServiceUnavailableError, StateError

Body = Callable[[], None]


def raising(error: BaseException) -> Body:
    def body() -> None:
        raise error

    return body


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], Result]:
    """Run a body as if it were the command `doctor`."""

    def run_as_doctor(body: Body) -> Result:
        module = ModuleType("driftline.commands.doctor")
        module.__spec__ = ModuleSpec(module.__name__, None)
        module.command = click.command("doctor")(body)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return CliRunner().invoke(main, ["doctor"])

    return run_as_doctor


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigurationError("is wrong", where="m.yaml:1"), 2),
        (StateError("is old", where="postgres at db/ml", remedy="run `driftline migrate`"), 3),
        (ServiceUnavailableError("no answer within 10s", where="kafka at b:9092"), 4),
    ],
)
def test_an_error_is_one_line_on_standard_error_and_its_exit_code(
    run: Callable[[Body], Result], error: ConfigurationError, exit_code: int
) -> None:
    result = run(raising(error))

    assert result.stderr == f"driftline: error: {error}\n"
    assert result.stdout == ""
    assert result.exit_code == exit_code


def test_each_problem_has_a_line_of_its_own(run: Callable[[Body], Result]) -> None:
    result = run(raising(ConfigurationError.of(["m.yaml:1: a", "m.yaml:2: b"])))

    assert result.stderr.splitlines() == ["driftline: error: m.yaml:1: a", "driftline: error: m.yaml:2: b"]


def test_an_exception_that_nobody_foresaw_keeps_its_traceback(run: Callable[[Body], Result]) -> None:
    result = run(raising(ZeroDivisionError("who")))

    assert isinstance(result.exception, ZeroDivisionError)


def test_an_interrupt_ends_with_130(run: Callable[[Body], Result]) -> None:
    assert run(raising(KeyboardInterrupt())).exit_code == 130


def test_a_command_that_is_done_ends_with_0(run: Callable[[Body], Result]) -> None:
    assert run(lambda: None).exit_code == 0


def test_an_unknown_command_or_option_is_a_wrong_argument() -> None:
    assert CliRunner().invoke(main, ["innit"]).exit_code == 2
    assert CliRunner().invoke(main, ["init", "--froce", "x"]).exit_code == 2


def test_every_command_that_exists_is_listed_with_its_summary(project: Path) -> None:
    modules = {path.stem for path in (project / "driftline" / "commands").glob("[a-z]*.py")}

    result = CliRunner().invoke(main, ["--help"])

    assert modules <= COMMANDS.keys()
    assert all(f"  {module} " in result.stdout for module in modules)
    assert result.exit_code == 0


@pytest.mark.parametrize("group", ["alerts", "dashboards", "episodes", "reference"])
def test_no_summary_of_a_subcommand_is_cut(group: str) -> None:
    _, _, commands = CliRunner().invoke(main, [group, "--help"]).stdout.partition("Commands:\n")

    assert commands
    assert "..." not in commands


def test_asking_for_help_imports_nothing_heavy(project: Path) -> None:
    program = (
        "import sys; from driftline.cli import main; main(['--help'], standalone_mode=False);"
        "sys.exit(sum(name in sys.modules for name in ('numpy', 'pyarrow', 'pydantic', 'faust', 'psycopg')))"
    )

    assert subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True).returncode == 0


def test_the_version_is_the_one_that_is_packaged(project: Path) -> None:
    packaged = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]

    assert driftline.__version__ == packaged
    assert CliRunner().invoke(main, ["--version"]).stdout == f"driftline, version {packaged}\n"
