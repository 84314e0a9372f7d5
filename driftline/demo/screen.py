"""What does a terminal show while the demo plays? Lines of text that fit its width and height; pure.

Invariants: no line is wider and no screen higher than the terminal; nothing is told by colour alone; without Unicode
the bars are ASCII. What matters less goes first when there is little room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from driftline.demo.findings import Episode, incident_of
from driftline.demo.seen import Feature, Recall, Seen
from driftline.demo.story import FLOOR, JUDGE_AFTER_MS, Line, day_and_time, going_on, is_mature, outcome_of, percent
from driftline.demo.traffic import HOUR_MS, HOURS

RATIO_MAX = 2.0
"""A score's bar ends at so many times its threshold."""

ROWS = ((32, 6, 5, 5), (22, 3, 2, 3), (0, 2, 1, 1))
"""From so many rows of a terminal on, how many there are for features, recall and episodes."""

BAR_MAX, BAR_MIN = 40, 8
LABEL = 10
STYLES = {"script": "magenta", "FOUND": "bold red", "over": "green", "retrain": "cyan", "webhook": "dim"}


@dataclass(frozen=True, slots=True)
class Moment:
    """What is to be shown.

    Parameters
    ----------
    offset_ms
        Event time of the newest event that was sent, counted from the beginning.
    rate
        Predictions read in a second of ours.
    lines
        What has happened, in the order in which it was told.
    """

    seen: Seen
    start_ms: int
    offset_ms: int
    rate: float
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Paper:
    """What it is shown on.

    Parameters
    ----------
    width, height
        In characters.
    is_ascii
        Whether it can show nothing else.
    """

    width: int
    height: int
    is_ascii: bool = False

    @property
    def bar(self) -> int:
        """How wide a bar may be."""
        return min(max(self.width - 60, BAR_MIN), BAR_MAX)

    def ink(self, unicode: str, ascii_: str) -> str:
        """Choose what this paper can show."""
        return ascii_ if self.is_ascii else unicode


def screen(of: Moment, paper: Paper) -> Text:
    """Write the whole screen.

    The rows are shared out: each part gets what it needs at least, and what happened gets the rest.
    """
    features, recalls, episodes = next(rows for height_min, *rows in ROWS if paper.height >= height_min)
    parts = [
        _head(of, paper),
        _features(of, paper, features),
        _recall(of, paper, recalls),
        _episodes(of, paper, episodes),
    ]
    rows = [row for part in parts for row in part]
    left = paper.height - len(rows) - 1
    if left > 0:
        happened = [_row(line) for line in of.lines if line.kind != "webhook"]
        rows += [
            _title("what happened, by its own time; it is told when the clock has gone on", paper),
            *happened[-left:],
        ]
    for row in rows[: paper.height]:
        row.truncate(paper.width, overflow="crop" if paper.is_ascii else "ellipsis")
    return Text("\n").join(rows[: paper.height])


def _head(of: Moment, paper: Paper) -> list[Text]:
    seen, incident = of.seen, going_on(of.offset_ms)
    done = min(of.offset_ms / (HOURS * HOUR_MS), 1.0)
    name = f"Driftline demo: a fraud model, {day_and_time(of.offset_ms)} "
    width = max(min(paper.width - len(name) - 6, BAR_MAX), 0)
    full = round(done * width)
    bar = paper.ink("━", "=") * full + paper.ink("─", "-") * (width - full)
    told = "nothing, all is as it should be"
    if incident is not None:
        told = f"{incident.told}, until {day_and_time(incident.end_hour * HOUR_MS)}"
    traffic = (
        f"{seen.predictions:,} predictions ({of.rate:,.0f}/s), {seen.labels_joined:,} labels joined, "
        f"{seen.windows} hours judged"
    )
    return [
        Text.assemble((name, "bold"), (bar, "cyan"), f" {done:4.0%}"),
        _labelled("script", Text(told, "bold magenta" if incident else "dim")),
        _labelled("traffic", Text(traffic)),
    ]


def _features(of: Moment, paper: Paper, rows: int) -> list[Text]:
    until = of.seen.closed_through_ms
    when = "no window is closed yet" if until is None else f"hour until {day_and_time(until - of.start_ms)}"
    shown = [_feature(one, paper) for one in of.seen.features[:rows]]
    title = _title(f"features nearest to drift, {when}; {paper.ink('│', '|')} is the threshold", paper)
    return [title, *_filled(shown, rows)]


def _feature(of: Feature, paper: Paper) -> Text:
    half = paper.bar // 2
    is_drift = of.level == "drift"
    full = round(min(of.score / of.threshold, RATIO_MAX) / RATIO_MAX * 2 * half)
    cells = [paper.ink("█", "#") if place < full else paper.ink("░", ".") for place in range(2 * half)]
    cells.insert(half, paper.ink("│", "|"))
    style = "bold red" if is_drift else "yellow" if of.level == "warning" else "green"
    return Text.assemble(
        f" {of.name[:22]:<22} ",
        ("".join(cells), style),
        f" {of.score:5.2f} of {of.threshold:.2f} {of.detector:<5} ",
        (of.level.upper() if of.level != "ok" else "ok", style),
    )


def _recall(of: Moment, paper: Paper, rows: int) -> list[Text]:
    known = [one for one in of.seen.recalls if one.value is not None]
    mature = next((place for place, one in enumerate(known) if is_mature(one, of.seen)), len(known))
    early = known[: min(mature, rows // 2)]
    shown = [*early, *known[mature : mature + rows - len(early)]]
    judged = f"judged {JUDGE_AFTER_MS // HOUR_MS} h after its end"
    title = _title(f"recall by hour of payment, {judged}; {paper.ink('│', '|')} is its floor {FLOOR:.2f}", paper)
    return [title, *_filled([_recall_row(one, of, paper) for one in shown], rows)]


def _recall_row(one: Recall, of: Moment, paper: Paper) -> Text:
    hour = f" {day_and_time(one.start_ms - of.start_ms)}"
    if one.value is None or one.low is None or one.high is None:
        return Text(f"{hour}  unknown")
    width = paper.bar // 2 * 2

    def place(value: float) -> int:
        return min(round(value * width), width - 1)

    cells = [paper.ink("·", ".")] * width
    cells[place(one.low) : place(one.high) + 1] = [paper.ink("─", "-")] * (place(one.high) - place(one.low) + 1)
    cells[place(one.value)] = paper.ink("●", "o")
    cells.insert(place(FLOOR), paper.ink("│", "|"))
    is_low = one.value < FLOOR
    style = "dim" if not is_mature(one, of.seen) else "bold red" if is_low else "green"
    until_ms = of.seen.closed_through_ms or of.start_ms
    wait = f"{(one.end_ms + JUDGE_AFTER_MS - until_ms) / HOUR_MS:.0f} h to wait"
    verdict = ("BELOW" if is_low else "above") + " floor" if is_mature(one, of.seen) else wait
    return Text.assemble(
        f"{hour} ",
        ("".join(cells), style),
        f" {one.value:.2f} [{one.low:.2f}, {one.high:.2f}] {percent(one.coverage):>4} of labels, ",
        (verdict, style),
    )


def _episodes(of: Moment, paper: Paper, rows: int) -> list[Text]:
    seen = of.seen
    shown = [_episode(one, of) for one in seen.episodes[-rows:]] or [Text(" none so far", "dim")]
    finished = sum(one.finished_ms is not None for one in seen.retrainings)
    latest = f", the last: {outcome_of(seen.retrainings[-1])}" if seen.retrainings else ""
    retraining = f"{len(seen.retrainings)} requested, {finished} finished{latest}"
    message = f", the last: {seen.received[-1].type.removeprefix('driftline.')}" if seen.received else ""
    webhook = f"{len(seen.received)} received, {seen.verified} signatures verified{message}"
    still_open = next((one for one in reversed(seen.episodes) if one.closed_ms is None), None)
    incident = incident_of(still_open, of.start_ms) if still_open else None
    to_do = incident.advice if incident else "nothing, no episode is open" if not still_open else "look at its features"
    return [
        _title("episodes: alarms that lasted, each told once", paper),
        *_filled(shown, rows),
        _labelled("to do", Text(to_do, "bold" if still_open else "dim")),
        _labelled("retraining", Text(retraining)),
        _labelled("webhook", Text(webhook)),
    ]


def _episode(one: Episode, of: Moment) -> Text:
    opened = day_and_time(one.opened_ms - of.start_ms)
    closed = "OPEN" if one.closed_ms is None else f"to {day_and_time(one.closed_ms - of.start_ms)}"
    style = "bold red" if one.closed_ms is None else "green"
    return Text.assemble(f" {opened} ", (f"{closed:<15} ", style), one.told)


def _row(line: Line) -> Text:
    return Text.assemble(f" {day_and_time(line.at_ms)} ", (f"{line.kind:<8} ", STYLES[line.kind]), line.text)


def _title(told: str, paper: Paper) -> Text:
    line = paper.ink("─", "-")
    rest = line * max(paper.width - len(told) - 4, 0)
    return Text.assemble((f"{line * 2} ", "dim"), (told, "bold"), (f" {rest}", "dim"))


def _labelled(label: str, told: Text) -> Text:
    return Text.assemble((f" {label:<{LABEL}} ", "dim"), told)


def _filled(shown: list[Text], rows: int) -> list[Text]:
    """Keep the parts where they are while they fill, so that nothing jumps."""
    return shown + [Text() for _ in range(rows - len(shown))]
