"""Does docs/configuration.md describe exactly the settings there are, with the defaults they have?"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from driftline.errors import ConfigurationError
from driftline.settings import METRICS, Settings, format_duration, load_settings
from driftline.settings.schema import keys_of, kinds
from driftline.settings.values import AUTO, Section

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")

DERIVED = {
    ("alerts.webhooks.<name>", "events"): "all",
    ("models.<name>", "positive_class"): "`1`",
    ("models.<name>", "reference"): "**required**",
    ("models.<name>", "features"): "`auto`",
    ("models.<name>.windows", "slide"): "the length",
    ("models.<name>.windows", "lookback_max"): "7 times the length",
    ("models.<name>.drift", "significance"): "`auto`",
    ("models.<name>.drift.adwin", "delta"): "`auto`",
    ("models.<name>.performance", "metrics"): "the first five, four or two",
    ("models.<name>.performance", "judge_after"): "`auto`",
}
"""Defaults that depend on other settings; tests/unit/settings/test_settings_models.py shows that they are these."""


def sections(section: type[Section] = Settings, path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Every section there is, with the heading under which it stands."""
    if path == "models.<name>.versions.<version>.reference":
        return  # described once, as the model's own
    yield path or "The file", section
    for key, field in keys_of(section).items():
        below = f"{path}.{key}" if path else key
        for kind in kinds(field.annotation):
            if get_origin(kind) is dict:
                below, kind = f"{below}.<{'version' if key == 'versions' else 'name'}>", get_args(kind)[1]
            elif get_origin(kind) is tuple:
                below, kind = f"{below}[]", get_args(kind)[0]
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from sections(kind, below)


def documented() -> dict[str, dict[str, tuple[str, str, str]]]:
    """The rows of the tables: by heading and key, the value, the default and the meaning."""
    tables: dict[str, dict[str, tuple[str, str, str]]] = {}
    for heading, body in re.findall(r"^### `?([^`\n]+)`?\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", body, re.MULTILINE)
        if rows:
            tables[heading] = {key: (value, default, meaning) for key, value, default, meaning in rows}
    return tables


FIELDS = [(path, key, field) for path, section in sections() for key, field in keys_of(section).items()]


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default: Any = field.get_default(call_default_factory=True, validated_data={})
    if default is None:
        return "—"
    if isinstance(default, Section):
        return "its defaults"
    if default in ({}, ()):
        return "none"
    if field.alias and default != AUTO:
        return f"`{format_duration(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`[{', '.join(default)}]`" if isinstance(default, tuple) else f"`{default}`"


def test_every_section_and_every_key_is_documented_and_none_that_is_not() -> None:
    assert {path: set(rows) for path, rows in documented().items()} == {
        path: set(keys_of(section)) for path, section in sections()
    }


@pytest.mark.parametrize(("path", "key", "field"), FIELDS, ids=[f"{path}.{key}" for path, key, _ in FIELDS])
def test_the_documented_default_is_the_real_one(path: str, key: str, field: FieldInfo) -> None:
    _, default, _ = documented()[path][key]

    assert default == (DERIVED[path, key] if (path, key) in DERIVED else default_of(field))


@pytest.mark.parametrize(("path", "key", "field"), FIELDS, ids=[f"{path}.{key}" for path, key, _ in FIELDS])
def test_the_documented_value_is_what_may_be_written(path: str, key: str, field: FieldInfo) -> None:
    value, _, _ = documented()[path][key]
    kind = next(kinds(field.annotation))
    options = get_args(kind) if get_origin(kind) is Literal else ()
    if get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
        options = get_args(get_args(kind)[0])

    assert [option for option in options if f"`{option}`" not in value] == []
    assert value.startswith("duration") == bool(field.alias)
    assert (value == "secret") == (kind is SecretStr)
    assert (value == "path") == (kind is Path)
    assert (value in ("count", "bytes")) == (kind is int and not field.alias)
    assert (value == "bytes") == ("bytes" in key)
    assert (value == "boolean") == (kind is bool)
    assert (value == "section") == (isinstance(kind, type) and issubclass(kind, Section))


def test_the_documented_metrics_are_those_of_each_task() -> None:
    value, _, _ = documented()["models.<name>.performance"]["metrics"]

    by_task = re.findall(r"((?:`\w+`,? ?)+)\((\w+)\)", value)
    assert {task: tuple(re.findall(r"`(\w+)`", names)) for names, task in by_task} == METRICS


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_the_examples_load(tmp_path: Path, example: str) -> None:
    config = tmp_path / "monitor.yaml"
    config.write_text(example)

    variables = dict(re.findall(r"^(DRIFTLINE__\w+)='?(.*?)'?$", TEXT, re.MULTILINE))
    assert len(variables) == 3
    assert load_settings(config, variables).models["employment"].windows.length_ms == 1_800_000


def test_the_example_of_what_is_wrong_is_told_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^  ```(?:yaml|text)\n(.*?)^  ```", TEXT, re.MULTILINE | re.DOTALL)
    wrong, told = map(dedent, blocks)
    monkeypatch.chdir(tmp_path)
    Path("monitor.yaml").write_text(wrong)

    with pytest.raises(ConfigurationError) as caught:
        load_settings(Path("monitor.yaml"), {})

    assert str(caught.value) == told.rstrip()
