"""One value has one text, however a file or a producer spells it."""

import json
import math

import numpy as np
import pytest

from detectors.canonical import canonical


@pytest.mark.parametrize(
    ("spellings", "text"),
    [
        ((1, 1.0, "1", "1.0", "1.000", np.int32(1), np.float64(1.0)), "1"),
        ((0, 0.0, -0.0, "0", "-0", "-0.0"), "0"),
        ((True, "true", "True", "TRUE", np.bool_(True)), "true"),
        ((False, "false", "False", "FALSE"), "false"),
        ((1.5, "1.5"), "1.5"),
        ((-2, "-2", "-2.0"), "-2"),
        ((1000, 1e3, "1000"), "1000"),
        ((1e-7, "1e-07"), "1e-07"),
    ],
)
def test_spellings_of_one_value_have_one_text(spellings: tuple[str | float, ...], text: str) -> None:
    assert [canonical(value) for value in spellings] == [text] * len(spellings)


@pytest.mark.parametrize(
    "text",
    [
        "01234",
        "abc",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x10",
        "",
        "tRUE",
        "NaN",
        "inf",
        "-",
        "1_000",
        "\N{ARABIC-INDIC DIGIT ONE}",
        # Versions, and ids that are digests: to take them for numbers would make one of two.
        "1.10",
        "1.50",
        "10.01",
        "1e3",
        "12345e67",
        "1E+3",
        "1.0.0",
        "1.0e0",
        "-1.10",
        "1.0\n",
    ],
)
def test_text_that_is_no_whole_number_stands_for_itself(text: str) -> None:
    assert canonical(text) == text


def test_an_integer_of_any_size_keeps_its_digits() -> None:
    assert canonical(2**63 + 1) == canonical(str(2**63 + 1)) == "9223372036854775809"
    assert canonical("9" * 400) == canonical("9" * 400 + ".0") == "9" * 400


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_nan_and_infinity_are_never_a_category(value: float) -> None:
    with pytest.raises(ValueError, match="canonical text"):
        canonical(value)


@pytest.mark.parametrize("value", [123456789.125, 5e-324, -1e-5, 2.0**53, 1.1])
def test_a_float_and_its_json_text_agree(value: float) -> None:
    assert canonical(value) == canonical(json.dumps(value)) == canonical(canonical(value))


@pytest.mark.parametrize("value", [1e22, 1e300])
def test_a_whole_float_has_all_its_digits(value: float) -> None:
    assert canonical(value) == canonical(canonical(value)) == str(int(value))
