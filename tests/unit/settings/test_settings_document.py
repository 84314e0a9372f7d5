"""Is a YAML text read as people mean it, with the line of everything?"""

from textwrap import dedent

import pytest

from driftline.settings.document import NODES_MAX, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("-12", -12),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("127.0.0.1", "127.0.0.1"),
        ("[a, 1]", ["a", 1]),
    ],
)
def test_only_what_looks_like_a_number_or_true_or_false_is_not_text(text: str, value: object) -> None:
    document = read_document(text)

    assert document.problems == []
    assert document.value == value
    assert type(document.value) is type(value)


def test_a_key_is_the_text_as_written() -> None:
    assert read_document("{1.10: a, yes: b, 007: c}").value == {"1.10": "a", "yes": "b", "007": "c"}


def test_every_key_and_item_has_its_line() -> None:
    document = read_document(
        dedent("""\
        a:
          b: 1
          c:
            - x
            - y
        """)
    )

    assert document.lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5}


def test_a_key_that_stands_twice_is_a_problem_that_names_both_lines() -> None:
    document = read_document("a:\n  b: 1\n  c: 2\n  b: 3\n")

    assert document.problems == [(4, "a.b stands twice, first on line 2; delete one")]
    assert document.value == {"a": {"b": 1, "c": 2}}


def test_merged_keys_give_way_to_own_keys_wherever_the_merge_stands() -> None:
    document = read_document("a: &a {x: 1, y: 1}\nb:\n  x: 2\n  <<: *a\nc: {<<: [*a, {z: 3}], y: 4}\n")

    assert document.problems == []
    assert document.value["b"] == {"x": 2, "y": 1}
    assert document.value["c"] == {"x": 1, "y": 4, "z": 3}
    assert document.lines["b", "x"] == 3


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: \x07\n", 1, "not allowed"),
        ("a: 1\nb: !vault x\n", 2, "tag"),
        ("a: 1\nb: !!python/object/apply:os.getpid []\n", 2, "tag"),
        ("a: !!python/name:os.getpid ''\n", 1, "tag"),
        ("a: !!set {b}\n", 1, "tag"),
        ("a: !!int [1]\n", 1, "tag"),
        ("? [a, b]\n: 1\n", 1, "a key must be plain text"),
        ("a: {<<: 3}\n", 1, "<< takes a mapping"),
        ("a: &a\n  b: *a\n", 1, "nested too deeply"),
        ("[" * 5000, 1, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(text: str, line: int, word: str) -> None:
    [(found_line, problem)] = read_document(text).problems

    assert found_line == line
    assert word in problem


def test_aliases_of_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    [(_, problem)] = read_document("\n".join(lines)).problems

    assert f"more than {NODES_MAX} values" in problem


@pytest.mark.parametrize(
    "text",
    ["url: *hunter2", "url: !hunter2 x", "url: !hunter2!x y", "url: %hunter2", "url: 'hunter2", 'url: "\\hunter2"',
     "url: @hunter2", "&hunter2 &b a", "url: `hunter2", "a: {url:hunter2: 3", "url: - hunter2"],
)  # fmt: skip
def test_a_problem_never_quotes_a_value(text: str) -> None:
    document = read_document(text)

    assert document.problems
    assert "hunter2" not in str(document.problems)
