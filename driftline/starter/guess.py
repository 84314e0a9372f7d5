"""Which column is which, what does the model do, and how sure is that?

Everything is decided on the values of a sample, by pure functions. Invariants: no column has two roles; a role that
nothing supports stays empty; every guess carries its reason in words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from driftline.settings import LimitSettings, Task, WindowSettings, parse_duration_ms
from driftline.starter.columns import Column, class_texts, classes, numbers, times_ms

Role = Literal["id", "time", "prediction", "score", "label", "version"]

ROLES: tuple[Role, ...] = ("prediction", "score", "label", "id", "time", "version")
"""In the order in which they choose."""

NAMES: dict[Role, tuple[str, ...]] = {
    "prediction": (
        "prediction",
        "predicted label",
        "predicted class",
        "predicted",
        "y pred",
        "pred",
        "y hat",
        "yhat",
        "predicted target",
        "pred target",
        "pred label",
    ),
    "score": ("score", "predicted probability", "y pred proba", "probability", "proba", "y score", "prob"),
    "label": ("label", "ground truth", "target", "y true", "actual", "true label", "truth", "outcome", "class", "y"),
    "id": ("prediction id", "id", "event id", "request id", "uuid", "key"),
    "time": ("timestamp", "prediction timestamp", "event time", "time", "ts", "datetime", "date", "created at"),
    "version": ("version", "model version"),
}
"""Whole names, best first; words in small letters."""

WORDS: dict[Role, frozenset[str]] = {
    "prediction": frozenset({"prediction", "predicted", "predictions", "pred", "preds", "yhat"}),
    "score": frozenset({"probability", "proba", "prob", "score", "confidence"}),
    "label": frozenset({"label", "target", "truth", "actual"}),
    "id": frozenset({"id", "uuid", "guid", "key"}),
    "time": frozenset({"timestamp", "time", "datetime", "date", "at"}),
    "version": frozenset({"version"}),
}
"""Single words that suggest a role when no whole name fits."""

TRUTH_WORDS = WORDS["label"] | {"true", "real", "observed"}
"""Words that may stand beside the name of what is predicted: `true_price` beside `predicted_price`."""

CALENDAR = frozenset({"year", "quarter", "month", "week", "day", "weekday", "hour"})
"""Features that move by themselves, whatever the model does."""

EVENT_FIELDS = frozenset(
    {
        "prediction_id",
        "timestamp",
        "prediction",
        "score",
        "label",
        "version",
        "variant",
        "reward",
        "prediction_timestamp",
    }
)
"""Names under which events and files are read without any mapping, so a feature cannot have them."""

DIFFERENT = "different in each row"
NESTED = "features."
"""How the columns of an event's own features begin."""

CLASSES_OF_NUMBERS_MAX = 20  # whole numbers with more distinct values are measured, not named
AGREEMENT_MIN = 0.2  # Cohen's kappa from which a column of the same classes is taken for the truth
SEGMENT_VALUES_MAX = 10
SEGMENTS_MAX = 5
SHOWN_MAX = 10
WINDOW_LENGTHS = ("1m", "5m", "15m", "1h", "6h", "1d", "7d", "30d")

POSITIVE = ("1", "true", "yes", "y", "positive", "pos", "t")
NEGATIVE = ("0", "-1", "false", "no", "n", "negative", "neg", "f")


@dataclass(frozen=True, slots=True)
class Found:
    """A column in its role, and why."""

    column: Column
    reason: str


@dataclass(frozen=True, slots=True)
class Guess:
    """Everything a configuration needs to know about a data file.

    Parameters
    ----------
    task, task_reason
        What the model does.
    positive_class, positive_reason
        None unless the task is binary.
    found
        The columns by role; a role without a column is absent.
    features
        The columns that can be watched.
    left_out
        Columns that cannot, with the reason.
    segments
        Features of few values, worth judging apart.
    window_length
        The shortest usual length that holds enough events; None without times.
    """

    task: Task
    task_reason: str
    positive_class: str | None
    positive_reason: str
    found: dict[Role, Found]
    features: tuple[Column, ...]
    left_out: tuple[tuple[Column, str], ...]
    segments: tuple[str, ...]
    window_length: str | None


def guess(columns: list[Column], labels: list[Column] | None = None) -> Guess | str:
    """Guess the roles of columns.

    Parameters
    ----------
    columns : list[Column]
        Of a file with predictions.
    labels : list[Column], optional
        Of a file with labels, if they come apart.

    Returns
    -------
    Guess or str
        The reason, if no column holds predictions.
    """
    found = _roles(columns, labels)
    if "prediction" not in found:
        return f"no prediction column among {', '.join(column.name for column in columns[:SHOWN_MAX])}"
    prediction, label = found["prediction"].column, found.get("label")
    if (
        label is None
        and _is_probability(prediction)
        and any(_is_binary(one) for one, _ in _suggested("label", labels or columns, found))
    ):
        return f"no prediction column: {prediction.name} holds probabilities, not classes"
    task, task_reason = _task(prediction, label.column if label else None)
    if task == "regression":
        found.pop("score", None)  # a regression has none; the column stays a feature
    positive, positive_reason = _positive_class(found) if task == "binary" else (None, "")
    features, left_out = _features(columns, {other.column.name for other in found.values()})
    return Guess(
        task=task,
        task_reason=task_reason,
        positive_class=positive,
        positive_reason=positive_reason,
        found=found,
        features=features,
        left_out=left_out,
        segments=_segments(features),
        window_length=_window_length(found["time"].column) if "time" in found else None,
    )


def _roles(columns: list[Column], labels: list[Column] | None) -> dict[Role, Found]:
    """Let each role in turn choose among the columns that are left; labels that come apart are looked for there."""
    found: dict[Role, Found] = {}
    for role in ROLES:
        taken = {other.column.name for other in found.values()}
        free = [
            column
            for column in (labels if role == "label" and labels is not None else columns)
            if column.name not in taken and column.nameable and not column.name.startswith(NESTED)
        ]
        if choice := _choose(role, free, found, apart=labels is not None):
            found[role] = choice
    return found


def _choose(role: Role, columns: list[Column], found: dict[Role, Found], *, apart: bool) -> Found | None:
    """Take the first column whose name suggests the role and whose values allow it, else look at the values alone."""
    for column, reason in _suggested(role, columns, found):
        if _allows(role, column, found):
            return Found(column, reason)
    if role == "time":
        return next((Found(column, "the first that holds times") for column in columns if column.kind == "time"), None)
    if role == "id":
        return next((Found(column, DIFFERENT) for column in columns if _tells_rows_apart(column)), None)
    if role == "label" and "prediction" in found:
        return _only_label(columns, found) if apart else _like_the_prediction(columns, found["prediction"].column)
    return None


def _suggested(role: Role, columns: list[Column], found: dict[Role, Found]) -> Iterator[tuple[Column, str]]:
    """Give the columns whose names suggest a role, best first: a name that another one contains says most."""
    if role == "label" and "prediction" in found:
        yield from _named_like(found["prediction"].column, columns)
    yield from _by_name(role, columns)


def _named_like(prediction: Column, columns: list[Column]) -> Iterator[tuple[Column, str]]:
    """Give what `predicted_price` predicts: `true_price` first, then `price`."""
    predicted = [word for word in prediction.words if word not in WORDS["prediction"]]
    if not predicted or len(predicted) == len(prediction.words):
        return
    for marks in (1, 0):
        for column in columns:
            rest = [word for word in column.words if word not in TRUTH_WORDS or word in predicted]
            if rest == predicted and len(column.words) - len(rest) == marks:
                yield column, f"what {prediction.name} predicts, by its name"


def _by_name(role: Role, columns: list[Column]) -> Iterator[tuple[Column, str]]:
    for name in NAMES[role]:
        yield from ((column, "by its name") for column in columns if " ".join(column.words) == name)
    for column in columns:
        # `predicted_score_time` suggests all three: the last word says what a thing is.
        last = next((word for word in reversed(column.words) if any(word in words for words in WORDS.values())), None)
        if last in WORDS[role]:
            yield column, f"its name says {last}"


def _allows(role: Role, column: Column, found: dict[Role, Found]) -> bool:
    if role == "id":
        return column.complete and column.kind in ("integer", "text") and column.distinct == column.rows
    if role == "time":
        return column.kind == "time"
    if role == "score":
        return _is_probability(column)
    if role == "version":
        return column.kind in ("integer", "text", "number") and column.distinct <= SEGMENT_VALUES_MAX
    if role == "label" and "prediction" in found:
        return _same_kind(column, found["prediction"].column)
    return column.kind in ("boolean", "integer", "number", "text")


def _is_probability(column: Column) -> bool:
    return column.kind in ("integer", "number") and bool(np.all(np.abs(numbers(column) - 0.5) <= 0.5))


def _is_binary(column: Column) -> bool:
    return len(_known_classes(column) or ()) == 2


def _same_kind(label: Column, prediction: Column) -> bool:
    """Whether both are classes with some in common, or both are measured."""
    predicted, true = _known_classes(prediction), _known_classes(label)
    if predicted is None and true is not None and not _is_probability(prediction):
        return prediction.kind == "number" and label.kind in ("integer", "number")  # counts, say: few but measured
    if predicted is None or true is None:
        return predicted is true
    return bool(set(predicted) & set(true))


def _known_classes(column: Column) -> list[str] | None:
    """Give the classes of a column that names things; None where it measures."""
    return classes(column, LimitSettings().classes_max if column.kind == "text" else CLASSES_OF_NUMBERS_MAX)


def _only_label(columns: list[Column], found: dict[Role, Found]) -> Found | None:
    """Find the label in a file of labels: what is neither an id nor a time."""
    rest = [column for column in columns if column.kind != "time" and not _allows("id", column, found)]
    rest = [column for column in rest if _same_kind(column, found["prediction"].column)]
    return Found(rest[0], "the only such column of the labels") if len(rest) == 1 else None


def _like_the_prediction(columns: list[Column], prediction: Column) -> Found | None:
    """Find the column of the same classes that agrees best with the prediction, beyond chance."""
    predicted = _known_classes(prediction)
    if predicted is None or not prediction.complete:
        return None
    texts = class_texts(prediction)
    best: tuple[float, Found] | None = None
    for column in columns:
        if column.complete and (true := _known_classes(column)) and len(true) > 1 and set(true) <= set(predicted):
            others = class_texts(column)
            agreement = float(np.mean(texts == others))
            by_chance = sum(float(np.mean(texts == one)) * float(np.mean(others == one)) for one in predicted)
            kappa = (agreement - by_chance) / (1 - by_chance)
            if kappa >= AGREEMENT_MIN and (best is None or kappa > best[0]):
                best = kappa, Found(column, f"agrees with the prediction in {agreement:.0%} of the rows")
    return best[1] if best else None


def _task(prediction: Column, label: Column | None) -> tuple[Task, str]:
    predicted = _known_classes(prediction)
    if predicted is None and prediction.kind == "text":
        return "multiclass", f"the prediction has {prediction.distinct} different texts, more than can be judged"
    if predicted is None:
        return "regression", f"the prediction has {prediction.distinct} different numbers"
    known = sorted({*predicted, *((_known_classes(label) if label else None) or ())})
    shown = ", ".join(known[:SHOWN_MAX]) + (", ..." if len(known) > SHOWN_MAX else "")
    if len(known) <= 2:
        return "binary", f"the prediction is one of {shown}"
    return "multiclass", f"the prediction is one of {len(known)} classes: {shown}"


def _positive_class(found: dict[Role, Found]) -> tuple[str, str]:
    """Choose the class that the score is the probability of, and that precision and recall are about."""
    prediction = found["prediction"].column
    label = found["label"].column if "label" in found else None
    known = sorted({*(_known_classes(prediction) or ()), *((_known_classes(label) if label else None) or ())})
    for one in known:
        others = [other.lower() for other in known if other != one]
        if one.lower() in POSITIVE and all(other in NEGATIVE for other in others):
            return one, f"of {', '.join(known)}"
    texts = class_texts(prediction)
    score = found["score"].column if "score" in found else None
    if score and score.complete and prediction.complete and len(set(texts)) > 1:
        scores = numbers(score)
        return max(set(texts), key=lambda one: float(scores[texts == one].mean())), "the class with the higher score"
    return min(known, key=lambda one: int(np.sum(texts == one))), "the rarer class"


def _features(columns: list[Column], taken: set[str]) -> tuple[tuple[Column, ...], tuple[tuple[Column, str], ...]]:
    """Part what can be watched from what cannot; events that hold their features in an object hold none outside it."""
    nested = [column for column in columns if column.name.startswith(NESTED)]
    inside = [replace(column, name=column.name.removeprefix(NESTED)) for column in nested]
    candidates = inside or [column for column in columns if column.name not in taken]
    judged = [(column, _unsuitable(column)) for column in candidates]
    return (
        tuple(column for column, reason in judged if not reason),
        tuple((column, reason) for column, reason in judged if reason),
    )


def _tells_rows_apart(column: Column) -> bool:
    """Whether a column is a row number or text that is different in each row; other numbers may differ by chance."""
    if column.kind == "integer":
        return column.rows > 1 and column.complete and bool(np.all(np.diff(numbers(column)) == 1))
    return column.kind == "text" and 1 < column.rows == column.distinct


def _unsuitable(column: Column) -> str:
    """Say why a column cannot be watched; empty if it can."""
    if not column.nameable:
        return "its name is empty or too long"
    if column.name in EVENT_FIELDS:
        return "called like a field of an event, and not one by its values"
    if column.kind == "time":
        return "a time"
    if column.kind == "other":
        return "neither number nor text"
    if column.words and column.words[-1] in CALENDAR and column.kind == "integer":
        return "a calendar value moves by itself"
    if _tells_rows_apart(column) or (WORDS["id"] & set(column.words) and _allows("id", column, {})):
        return DIFFERENT
    return ""


def _segments(features: tuple[Column, ...]) -> tuple[str, ...]:
    few = [column for column in features if column.kind == "text" and 2 <= column.distinct <= SEGMENT_VALUES_MAX]
    return tuple(column.name for column in sorted(few, key=lambda column: column.distinct)[:SEGMENTS_MAX])


def _window_length(time: Column) -> str | None:
    """Choose the shortest usual window that holds `min_events` events on average."""
    times = times_ms(time)
    span_ms = int(times.max() - times.min())
    if span_ms == 0:
        return None
    wanted_ms = WindowSettings.model_fields["min_events"].default * span_ms / len(times)
    return next((length for length in WINDOW_LENGTHS if parse_duration_ms(length) >= wanted_ms), WINDOW_LENGTHS[-1])
