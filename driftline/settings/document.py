"""What does a YAML text say, and on which line does it say it?

Scalars follow YAML 1.2: only `true` and `false` are booleans, so a class `no`, a country `NO` and a time `12:30` stay
text; a key is always the text as written, so a version `1.10` is not 1.1. Invariants: a key that stands twice is a
problem, never a silent choice; a problem never quotes a value, because a value may be a secret.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from driftline.settings.values import Keys, dotted

NODES_MAX = 100_000
"""Nodes after aliases are followed: aliases of aliases would otherwise grow without bound."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain values.

    Parameters
    ----------
    value
        Dicts, lists and scalars; None for an empty text.
    lines
        For the keys down to every node its line, counted from 1.
    problems
        Line and text of everything that could not be read.
    """

    value: Any
    lines: dict[Keys, int]
    problems: list[tuple[int, str]]


def read_document(text: str) -> Document:
    r"""Read one YAML document.

    Parameters
    ----------
    text : str
        The whole text.

    Examples
    --------
    >>> document = read_document("models:\n  m: {task: binary}\n")
    >>> document.value, document.lines["models", "m", "task"]
    ({'models': {'m': {'task': 'binary'}}}, 2)
    """
    reader = _Reader()
    value = None
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = None if root is None else reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reader.problems.append((line, f"is not valid YAML: {_without_values(error.problem or 'cannot be read')}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.problems.append((line, "is not valid YAML: holds a character that is not allowed"))
    except RecursionError:
        reader.problems.append((1, "is nested too deeply"))
    return Document(value, reader.lines, reader.problems)


def _without_values(problem: str) -> str:
    """Take out what the parser quotes, except single characters and its own words such as '<block end>'."""
    return re.sub(r"""(['"])(?!<)[^'"]{2,}\1""", "(hidden)", problem)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?=[eE])))(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))

_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "str": str,
}


@dataclass(slots=True)
class _Reader:
    lines: dict[Keys, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    nodes: int = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise yaml.MarkedYAMLError(problem=f"more than {NODES_MAX} values", problem_mark=node.start_mark)
        self.lines.setdefault(keys, _line(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self.mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        return self.foreign(node, "leave it out")

    def scalar(self, node: yaml.Node) -> Any:
        try:
            return _SCALARS[node.tag.removeprefix("tag:yaml.org,2002:")](node.value)
        except (KeyError, ValueError):
            return self.foreign(node, "quote the value")

    def foreign(self, node: yaml.Node, remedy: str) -> None:
        self.problems.append((_line(node), f"has a YAML tag (!) that is not understood; {remedy}"))

    def mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        merges = [(key, value) for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        merged: dict[str, Any] = {}
        for key_node, value_node in merges:
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if isinstance(source, yaml.MappingNode):
                    merged = self.mapping(source, keys) | merged
                else:
                    self.problems.append((_line(key_node), "<< takes a mapping or a list of mappings"))
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, path = key_node.value, (*keys, key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((_line(key_node), "a key must be plain text"))
            elif key in own:
                text = f"{dotted(path)} stands twice, first on line {self.lines[path]}; delete one"
                self.problems.append((_line(key_node), text))
            elif key_node.tag != "tag:yaml.org,2002:merge":
                self.lines[path] = _line(key_node)
                own[key] = self.value(value_node, path)
        return merged | own


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
