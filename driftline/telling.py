"""How does a program of ours tell what went wrong, and with which exit code does it end?

Invariants: every `DriftlineError`, and every argument that click refuses, becomes one line on standard error for each
of its problems, and its own exit code; an exception that nobody foresaw keeps its traceback; Ctrl-C ends with 130.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import IO, Any

import click
from click.core import ParameterSource

from driftline.errors import ConfigurationError, DriftlineError

INTERRUPTED = 130

_NO_COMMAND = re.compile("no such command '(.+)'$")
"""How click says it; it has no error of its own for that."""


def tell(error: DriftlineError) -> int:
    """Write an error's problems to standard error, and return the exit code that goes with it."""
    for problem in error.problems:
        click.echo(f"driftline: error: {problem}", err=True)
    return error.exit_code


class TellingCommand(click.Command):
    """A command whose errors, also those of its arguments, are told the way this house tells them."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments."""
        with _told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and end with what the error says."""
        with _told():
            return super().invoke(ctx)


class _Told(click.ClickException):
    """What click ends a program with: it shows the error, and exits with its code."""

    def __init__(self, error: DriftlineError) -> None:
        super().__init__(str(error))
        self._error = error
        self.exit_code = error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        tell(self._error)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # it is the help, not a complaint
    except click.UsageError as error:
        raise _Told(_refusal(error)) from error
    except DriftlineError as error:
        raise _Told(error) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None


def _refusal(error: click.UsageError) -> ConfigurationError:
    """Say of an argument that click refuses what is wrong, where, and what to do."""
    ctx = error.ctx  # there is none where an option's value is left out
    where, what, near = "" if ctx is None else ctx.command_path, _sentence(error.message), ""
    if isinstance(error, click.NoSuchOption):
        what, near = f"there is no option {error.option_name}", next(iter(error.possibilities or ()), "")
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        what = f"{_name(error.param)}{f' or {error.param.envvar}' if error.param.envvar else ''} is missing"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        where = _place(error.param, ctx)
    elif ctx is not None and isinstance(ctx.command, click.Group) and (unknown := _NO_COMMAND.match(what)):
        what = f"there is no command {unknown[1]}"
        near = next(iter(get_close_matches(unknown[1], ctx.command.list_commands(ctx), 1)), "")
    meant = f"did you mean {near}? " if near else ""
    helps = "see --help" if ctx is None else f"see `{ctx.command_path} --help`"
    return ConfigurationError(what, where=where, remedy=meant + helps)


def _name(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _place(param: click.Parameter, ctx: click.Context | None) -> str:
    """Name a parameter, or the variable of the environment that its value comes from."""
    source = ctx.get_parameter_source(param.name) if ctx is not None and param.name is not None else None
    return str(param.envvar) if source is ParameterSource.ENVIRONMENT and param.envvar else _name(param)


def _sentence(text: str) -> str:
    """Write what click says as one line of ours: without a capital letter at the front or a full stop.

    Examples
    --------
    >>> _sentence("Got unexpected extra argument (x).")
    'got unexpected extra argument (x)'
    """
    line = " ".join(text.split()).removesuffix(".")
    return line[:1].lower() + line[1:]
