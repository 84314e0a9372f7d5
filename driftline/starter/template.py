"""How is a guess written down, so that a person can check and finish it?

Invariants: the text is a configuration that loads, whatever the columns are called; what could not be guessed stands
there as a comment.
"""

import re
from collections.abc import Iterator

import yaml

from driftline.settings import DEFAULT_METRICS, LimitSettings
from driftline.starter.guess import Guess, Role

COMMENT_COLUMN = 48

ORDER: tuple[Role, ...] = ("id", "time", "prediction", "score", "label", "version")
ABSENT: dict[Role, str] = {
    "id": "no column tells the rows apart; labels find their predictions by it",
    "time": "no column holds times; replay can give each row one",
    "prediction": "",
    "score": "no column holds the probability of the positive class",
    "label": "no column holds the truth",
    "version": "no column holds a version; all rows are `unversioned`",
}


def render(guess: Guess, *, source: str, rows: int, model: str, reference: str) -> str:
    """Write a configuration.

    Parameters
    ----------
    guess : Guess
        What is known about the file.
    source : str
        How people call the file.
    rows : int
        How many of its rows were looked at.
    model : str
        The model's name.
    reference : str
        The path of the reference, as the configuration is to name it.

    Returns
    -------
    str
        YAML.
    """
    lines = [
        _comment(f"Written by `driftline init` from {rows} rows of {source}; check what it guessed."),
        _comment("Every setting is described in docs/configuration.md."),
        "models:",
        f"  {scalar(model)}:",
        *(f"    {line}" for line in _model(guess, reference)),
        _comment("What `driftline run` needs and `driftline replay` does not:"),
        _comment('kafka: {bootstrap_servers: "127.0.0.1:9092"}'),
        _comment('postgres: {url: "postgresql://user:password@127.0.0.1:5432/database"}'),
    ]
    return "\n".join(lines) + "\n"


def _model(guess: Guess, reference: str) -> Iterator[str]:
    yield _line(f"task: {guess.task}", guess.task_reason)
    if guess.positive_class is not None:
        yield _line(f"positive_class: {scalar(guess.positive_class)}", guess.positive_reason)
    yield _line(f"reference: {{path: {scalar(reference)}}}", "what no drift looks like")
    yield from _columns(guess)
    yield from _features(guess)
    if guess.segments:
        yield _line(f"# segments: [{', '.join(map(scalar, guess.segments))}]", "judged apart as well, if you like")
    if guess.window_length:
        yield _line(f"windows: {{length: {guess.window_length}}}", "long enough for 500 events at this file's rate")
    else:
        yield _line("# windows: {length: 1h}", "how much event time is judged at once")
    if "label" in guess.found:
        yield _line("labels: {horizon: 30d}", "how long the truth may take")
        yield "performance:"
        yield _line(f"  metrics: [{', '.join(DEFAULT_METRICS[guess.task])}]", "the usual ones of this task")
        yield _line(f"  # floor: {{{DEFAULT_METRICS[guess.task][0]}: 0.75}}", "where degraded begins")
    else:
        yield _line("# labels: {horizon: 30d}", "with it, labels that come late are joined and judged")


def _columns(guess: Guess) -> Iterator[str]:
    yield "columns:"
    for role in ORDER:
        if role in guess.found:
            yield _line(f"  {role}: {scalar(guess.found[role].column.name)}", guess.found[role].reason)
        elif not (role == "score" and guess.task == "regression"):
            yield _line(f"  # {role}:", ABSENT[role])


def _features(guess: Guess) -> Iterator[str]:
    if not guess.left_out or not 0 < len(guess.features) <= LimitSettings().features_max:
        yield _line("features: auto", f"every other column: {len(guess.features)}")
        return
    yield "features:"
    for column in guess.features:
        kind = "numeric" if column.kind in ("integer", "number") else "categorical"
        yield f"  - {{name: {scalar(column.name)}, type: {kind}}}"
    for column, reason in guess.left_out:
        yield _line(f"  # {_printable(column.name)}", f"left out: {reason}")


def scalar(text: str) -> str:
    """Write text so that YAML reads it as that text.

    Examples
    --------
    >>> print(scalar("age"), scalar("1"), scalar("no"), scalar("a: b"))
    age "1" "no" "a: b"
    """
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text)
    if plain and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n"):
        return text
    quoted: str = yaml.dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.rstrip("\n")


def _line(text: str, comment: str) -> str:
    return f"{text:<{COMMENT_COLUMN}}  {_comment(comment)}"


def _comment(text: str) -> str:
    return f"# {_printable(text)}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
