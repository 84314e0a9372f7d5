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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("innit", "driftline: there is no command innit; did you mean init? see `driftline --help`"),
        ("foo", "driftline: there is no command foo; see `driftline --help`"),
        (
            "episodes lst",
            "driftline episodes: there is no command lst; did you mean list? see `driftline episodes --help`",
        ),
        (
            "init --froce x",
            "driftline init: there is no option --froce; did you mean --force? see `driftline init --help`",
        ),
        ("--foo", "driftline: there is no option --foo; see `driftline --help`"),
        ("episodes ack", "driftline episodes ack: ID is missing; see `driftline episodes ack --help`"),
        ("episodes snooze a", "driftline episodes snooze: --for is missing; see `driftline episodes snooze --help`"),
        ("demo --seconds 5", "--seconds: 5.0 is not in the range x>=10; see `driftline demo --help`"),
        ("demo now", "driftline demo: got unexpected extra argument (now); see `driftline demo --help`"),
        ("topics --partitions", "option '--partitions' requires an argument; see --help"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_is_wrong_where_and_what_to_do(arguments: str, told: str) -> None:
    result = CliRunner().invoke(main, arguments.split(), prog_name="driftline")

    assert result.stderr == f"driftline: error: {told}\n"
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_wrong_value_in_the_environment_is_told_with_its_variable() -> None:
    result = CliRunner().invoke(main, ["demo"], prog_name="driftline", env={"DEMO_SECONDS": "abc"})

    assert result.stderr == (
        "driftline: error: DEMO_SECONDS: 'abc' is not a valid float range; see `driftline demo --help`\n"
    )
    assert result.exit_code == 2


def test_a_program_without_arguments_shows_its_help_and_no_error() -> None:
    result = CliRunner().invoke(main, [])

    assert "Commands:" in result.output
    assert "error" not in result.stderr


def test_every_command_that_exists_is_listed_with_its_summary(project: Path) -> None:
    modules = {path.stem.replace("_", "-") for path in (project / "driftline" / "commands").glob("[a-z]*.py")}

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
