"""Which failures stop Driftline, and what must the caller do about each?

The classes are grouped by what the caller must do, not by where the failure happened::

    DriftlineError                 something stopped the work
    ├── ConfigurationError    2    correct the configuration file, the environment or the arguments
    ├── InputError            2    correct the named data file
    ├── StateError            3    our own state is wrong: look before anything is run again
    └── ServiceUnavailableError 4  wait or repair the service, then run the same command again

Invariants: every error is a list of lines, each of which says what is wrong, where, and what to do; `exit_code` is what
the command line returns; no line ever holds a secret. What is merely a property of the data (not enough samples, a late
event, a duplicate) is a value or a counter, never an exception.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self


class DriftlineError(Exception):
    """What every error of ours is: catch it to report its `problems` and to end with its `exit_code`.

    Parameters
    ----------
    what : str
        What is wrong, without a full stop.
    where : str
        The place: a file and its line, a topic, a host and port. Leads the line.
    remedy : str
        What to do about it. Ends the line.

    Attributes
    ----------
    exit_code : int
        The exit code of the command line, 1 to 4.
    problems : tuple[str, ...]
        One line for each thing that is wrong; at least one.

    Examples
    --------
    >>> error = StateError("its schema is version 3, this program needs 5", where="postgres at db:5432/ml",
    ...                    remedy="run `driftline migrate`")
    >>> str(error)
    'postgres at db:5432/ml: its schema is version 3, this program needs 5; run `driftline migrate`'
    >>> error.exit_code
    3
    """

    exit_code: ClassVar[int] = 1
    problems: tuple[str, ...]

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.problems = (problem_line(what, where=where, remedy=remedy),)
        super().__init__(self.problems[0])

    def __str__(self) -> str:
        return "\n".join(self.problems)

    @classmethod
    def of(cls, problems: Sequence[str]) -> Self:
        """Make one error of several lines, so that all that is wrong is reported at once.

        Parameters
        ----------
        problems : Sequence[str]
            Finished lines, at least one.
        """
        error = cls(problems[0])
        error.problems = tuple(problems)
        return error


class ConfigurationError(DriftlineError):
    """The configuration file, an environment override or an argument is wrong: correct it and run again."""

    exit_code = 2


class InputError(DriftlineError):
    """A data file is missing, unreadable or holds what cannot be used: correct the file and run again."""

    exit_code = 2

    @classmethod
    def in_file(cls, path: Path, what: str, *, line: int | None = None, remedy: str = "") -> Self:
        """Name the data file and, where it is known, the line.

        Parameters
        ----------
        path : Path
            The file, as the user named it.
        what : str
            What is wrong with it.
        line : int, optional
            Counted from 1.
        remedy : str
            What to do about it.

        Examples
        --------
        >>> str(InputError.in_file(Path("labels.csv"), "the time is empty", line=7))
        'labels.csv:7: the time is empty'
        """
        return cls(what, where=str(path) if line is None else f"{path}:{line}", remedy=remedy)


class StateError(DriftlineError):
    """What we stored does not fit the task: another schema version, a recreated topic, another digest."""

    exit_code = 3


class ServiceUnavailableError(DriftlineError):
    """A service could not be reached in time: the same command may work later."""

    exit_code = 4


def problem_line(what: str, *, where: str = "", remedy: str = "") -> str:
    """Write one line: where, what, and what to do.

    Examples
    --------
    >>> problem_line("unknown key `lenght`", where="monitor.yaml:7", remedy="did you mean `length`?")
    'monitor.yaml:7: unknown key `lenght`; did you mean `length`?'
    """
    place = f"{where}: " if where else ""
    advice = f"; {remedy}" if remedy else ""
    return f"{place}{what}{advice}"
