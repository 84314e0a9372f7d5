"""Does every error say what, where and what to do, and end with the exit code its group promises?"""

import pickle
import re
from pathlib import Path

import pytest

from driftline import errors
from driftline.errors import (
    ConfigurationError,
    DriftlineError,
    InputError,
    ServiceUnavailableError,
    StateError,
)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(ConfigurationError, 2), (InputError, 2), (StateError, 3), (ServiceUnavailableError, 4)],
)
def test_the_exit_code_says_what_the_caller_must_do(error: type[DriftlineError], exit_code: int) -> None:
    assert error("it failed").exit_code == exit_code


def test_an_error_is_one_line_of_where_what_and_what_to_do() -> None:
    error = ServiceUnavailableError("no answer within 10s", where="kafka at db:9092", remedy="is it running?")

    assert str(error) == "kafka at db:9092: no answer within 10s; is it running?"
    assert error.problems == (str(error),)


def test_several_problems_are_one_error_with_a_line_each() -> None:
    error = ConfigurationError.of(["a: wrong", "b: wrong too"])

    assert error.problems == ("a: wrong", "b: wrong too")
    assert str(error) == "a: wrong\nb: wrong too"


def test_a_data_file_is_named_with_its_line_where_that_is_known() -> None:
    assert str(InputError.in_file(Path("p.csv"), "is empty")) == "p.csv: is empty"
    assert str(InputError.in_file(Path("p.csv"), "no time", line=3, remedy="name one")) == "p.csv:3: no time; name one"


def test_an_error_survives_the_way_between_processes() -> None:
    error = StateError("the topic was recreated", where="topic labels", remedy="run `driftline doctor`")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is StateError
    assert copy.problems == error.problems


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d)", errors.__doc__ or ""))

    assert drawn == {error.__name__: str(error.exit_code) for error in DriftlineError.__subclasses__()}
