"""Does the policy open, close and ask exactly when its rules say? Windows are drawn as letters, one a slide.

`D` is drift, `w` a warning, `.` all is well, ` ` a window that was not ready.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from retraining.episodes import closed_message, episode_id, opened_message
from retraining.messages import Subject
from retraining.policy import (
    STREAKS_MAX,
    Changed,
    Closed,
    Decision,
    Findings,
    Opened,
    PolicySpec,
    Requested,
    Slide,
    decide,
)
from retraining.requests import requested_message
from retraining.state import CAUSES_KEPT_MAX, Cause, Evidence, Kind, Level, PolicyState, from_json, to_json
from retraining.words import decisions_in_words

MINUTE = 60_000
AGE = Cause("*", "age")
LEVELS: Mapping[str, Level] = {"D": "drift", "w": "warning", ".": "ok"}
SPEC = PolicySpec(consecutive=2, cooldown_ms=0, when=frozenset({"drift", "performance"}))


def evidence(cause: Cause, letter: str, start_ms: int, length_ms: int = MINUTE, **rest: Any) -> Evidence:
    clearness = rest.pop("clearness", {"D": 2.0, "w": 0.7, ".": 0.1}[letter])
    return Evidence(cause, start_ms, start_ms + length_ms, LEVELS[letter], clearness, **rest)


def findings(found: Iterable[Evidence]) -> Findings:
    told = tuple(found)
    return Findings(told, max((item.end_ms for item in told), default=None))


def slide(number: int, found: Iterable[Evidence], kind: Kind = "drift", slide_ms: int = MINUTE, **rest: Any) -> Slide:
    length_ms = rest.get("length_ms", MINUTE)
    end_ms = number * slide_ms + length_ms
    return Slide(end_ms - length_ms, end_ms, rest.get("digest", "d"), {kind: findings(found)})


def slides(letters: str, cause: Cause = AGE, slide_ms: int = MINUTE, length_ms: int = MINUTE) -> list[Slide]:
    """One slide a letter, all about one cause."""
    return [
        slide(
            number,
            [evidence(cause, letter, number * slide_ms, length_ms)] if letter != " " else [],
            slide_ms=slide_ms,
            length_ms=length_ms,
        )
        for number, letter in enumerate(letters)
    ]


def decided(spec: PolicySpec, given: Iterable[Slide]) -> list[tuple[int, Decision]]:
    """Return what is decided at each slide's end, in slides' minutes; the state goes through JSON between them."""
    state, found = PolicyState(), []
    for item in given:
        state, decisions = decide(spec, from_json(json.loads(json.dumps(to_json(state)))), item)
        found += [(item.end_ms, decision) for decision in decisions if not isinstance(decision, Changed)]
    return found


def names(spec: PolicySpec, given: Iterable[Slide]) -> list[tuple[str, float]]:
    return [(type(decision).__name__, end_ms / MINUTE) for end_ms, decision in decided(spec, given)]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("DD", [("Opened", 2), ("Requested", 2)]),
        ("D.D.D", []),
        ("DwD", []),
        ("D D", [("Opened", 3), ("Requested", 3)]),
        ("DDDDDD", [("Opened", 2), ("Requested", 2)]),
        ("DD..", [("Opened", 2), ("Requested", 2), ("Closed", 4)]),
        ("DD. .", [("Opened", 2), ("Requested", 2), ("Closed", 5)]),
        ("DD.w..", [("Opened", 2), ("Requested", 2), ("Closed", 6)]),
        ("DD.D.D.", [("Opened", 2), ("Requested", 2)]),
        ("DD  ", [("Opened", 2), ("Requested", 2)]),
        ("DD..DD..", [("Opened", 2), ("Requested", 2), ("Closed", 4), ("Opened", 6), ("Requested", 6), ("Closed", 8)]),
    ],
)
def test_windows_in_a_row_open_close_and_ask_once(letters: str, expected: list[tuple[str, float]]) -> None:
    assert names(SPEC, slides(letters)) == expected


def test_of_hopping_windows_only_disjoint_ones_count() -> None:
    # Windows of 4 min every minute: those that end at 4 and 8 are the first two that do not overlap.
    hopping = slides("D" * 9 + "." * 9, slide_ms=MINUTE, length_ms=4 * MINUTE)

    assert names(SPEC, hopping) == [("Opened", 8), ("Requested", 8), ("Closed", 17)]


def test_a_window_that_overlaps_the_last_counted_one_does_not_break_the_row_either() -> None:
    assert names(SPEC, slides("D...D", slide_ms=MINUTE, length_ms=4 * MINUTE)) == [("Opened", 8), ("Requested", 8)]
    assert names(SPEC, slides("D....D", slide_ms=MINUTE, length_ms=4 * MINUTE)) == []


def test_a_row_is_of_one_cause_but_an_episode_is_of_all() -> None:
    city = Cause("plan=pro", "city")
    alternating = [
        slide(0, [evidence(AGE, "D", 0)]),
        slide(1, [evidence(AGE, ".", MINUTE), evidence(city, "D", MINUTE)]),
    ]
    together = slide(2, [evidence(AGE, "D", 2 * MINUTE), evidence(city, "D", 2 * MINUTE, clearness=9.0)])

    [(_, opened), _] = decided(SPEC, [*alternating, together])
    assert isinstance(opened, Opened)
    assert [item.cause for item in opened.episode.causes] == [city, AGE]  # the clearest first
    assert (opened.episode.features, opened.episode.segments, opened.episode.n_causes) == (
        ("age", "city"), ("*", "plan=pro"), 2
    )  # fmt: skip
    assert opened.episode.segment == "*"


def test_an_episode_about_a_segment_only_is_that_segments() -> None:
    [(_, opened), _] = decided(SPEC, slides("DD", Cause("plan=pro", "city")))
    assert isinstance(opened, Opened)
    assert opened.episode.segment == "plan=pro"


def test_any_cause_keeps_an_episode_open_and_joins_its_evidence() -> None:
    other = Cause("*", "city")
    given = slides("DD")
    given += [slide(number, [evidence(other, "D", number * MINUTE)]) for number in (2, 3)]
    given += [slide(number, [evidence(other, ".", number * MINUTE)]) for number in (4, 5)]

    *_, (end_ms, closed) = decided(SPEC, given)
    assert isinstance(closed, Closed)
    assert (end_ms / MINUTE, closed.closed_as) == (6, "recovered")
    assert {item.cause for item in closed.episode.causes} == {AGE, other}


def test_a_detectors_cut_counts_as_a_window_and_alone_at_once() -> None:
    cut = evidence(Cause("*", "@error.1"), "D", 0, at_once=True, changed_ms=-5 * MINUTE)
    [(_, opened), _] = decided(SPEC, [slide(0, [cut])])

    assert isinstance(opened, Opened)
    assert opened.episode.changed_ms == -5 * MINUTE


def test_the_change_is_where_a_detector_puts_it_else_where_the_row_begins() -> None:
    told = evidence(AGE, "D", MINUTE, changed_ms=MINUTE // 2)
    [(_, told_by_cut), _] = decided(SPEC, [slide(0, [evidence(AGE, "D", 0)]), slide(1, [told])])
    [(_, by_row), _] = decided(SPEC, slides("DD"))

    assert isinstance(told_by_cut, Opened)
    assert isinstance(by_row, Opened)
    assert (told_by_cut.episode.changed_ms, by_row.episode.changed_ms) == (MINUTE // 2, 0)


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("DD..DD", [("Opened", 2), ("Requested", 2), ("Closed", 4), ("Opened", 6)]),
        ("DD..DDDDDD", [("Opened", 2), ("Requested", 2), ("Closed", 4), ("Opened", 6), ("Requested", 10)]),
        ("DD..DD..DD", [("Opened", 2), ("Requested", 2), ("Closed", 4), ("Opened", 6), ("Closed", 8), ("Opened", 10),
                        ("Requested", 10)]),
    ],
)  # fmt: skip
def test_within_the_cool_down_an_episode_waits_and_asks_if_it_is_still_open(
    letters: str, expected: list[tuple[str, float]]
) -> None:
    assert names(replace(SPEC, cooldown_ms=8 * MINUTE), slides(letters)) == expected


def test_the_cool_down_is_one_for_both_kinds() -> None:
    both = [
        Slide(
            number * MINUTE,
            (number + 1) * MINUTE,
            "d",
            {kind: findings([evidence(Cause("*", "x"), "D", number * MINUTE)]) for kind in ("drift", "performance")},
        )
        for number in range(4)
    ]
    asked = [
        (end_ms / MINUTE, decision.episode.kind)
        for end_ms, decision in decided(replace(SPEC, cooldown_ms=2 * MINUTE), both)
        if isinstance(decision, Requested)
    ]
    assert asked == [(2, "drift"), (4, "performance")]


def test_kinds_that_are_not_to_ask_open_episodes_all_the_same() -> None:
    assert names(replace(SPEC, when=frozenset({"performance"})), slides("DD..")) == [("Opened", 2), ("Closed", 4)]


def test_a_new_reference_ends_an_episode_and_every_row() -> None:
    given = slides("DD") + [replace(item, digest="new") for item in slides("  DD")[2:]]
    row = [*slides("D"), replace(slides(" D")[1], digest="new")]

    assert names(SPEC, given) == [("Opened", 2), ("Requested", 2), ("Closed", 3), ("Opened", 4), ("Requested", 4)]
    [closed] = [decision for _, decision in decided(SPEC, given) if isinstance(decision, Closed)]
    assert (closed.closed_as, closed.episode.digest) == ("superseded", "d")
    assert names(SPEC, row) == []


def test_a_kind_that_is_watched_no_more_leaves_no_episode_open() -> None:
    given = slides("DD") + [replace(item, watched=frozenset({"performance"})) for item in slides("    ")[2:]]

    assert names(SPEC, given) == [("Opened", 2), ("Requested", 2), ("Closed", 3)]


def test_windows_of_an_episodes_past_open_no_other() -> None:
    # An arrival window recovers before the cohorts of the same trouble are mature.
    arrival, cohort = Cause("*", "recall", "arrival"), Cause("*", "recall", "cohort")
    trouble = [slide(n, [evidence(arrival, letter, n * MINUTE)], "performance") for n, letter in enumerate("DD..")]
    late = [
        slide(n, [evidence(arrival, ".", n * MINUTE), evidence(cohort, "D", (n - 4) * MINUTE)], "performance")
        for n in (4, 5, 6)
    ]
    assert [name for name, _ in names(SPEC, [*trouble, *late])] == ["Opened", "Requested", "Closed"]


def test_cohorts_that_are_due_together_open_one_episode_by_what_is_so_now() -> None:
    cohort = Cause("*", "recall", "cohort")

    def due_at_once(letters: str) -> list[tuple[str, float]]:
        found = [evidence(cohort, letter, n * MINUTE) for n, letter in enumerate(letters)]
        return names(SPEC, [slide(9, found, "performance")])

    assert due_at_once("..DDD") == [("Opened", 10), ("Requested", 10)]
    assert due_at_once("DDD..") == []


def test_what_is_kept_is_bounded() -> None:
    many = [Cause("*", f"f{number:05}") for number in range(2 * STREAKS_MAX)]
    first = slide(0, [evidence(cause, "D", 0) for cause in many])
    state, _ = decide(SPEC, PolicyState(), first)
    assert len(state.drift.streaks) == STREAKS_MAX

    _, [opened, _] = decide(SPEC, state, slide(1, [evidence(cause, "D", MINUTE) for cause in many]))
    assert isinstance(opened, Opened)
    assert (len(opened.episode.causes), opened.episode.n_causes) == (CAUSES_KEPT_MAX, len(many))
    assert len(opened.episode.features) == 200


def test_messages_say_what_happened_and_repeat_to_the_letter() -> None:
    subject = Subject("fraud/é", "7", "drift-topic", "retraining-topic", "models:/fraud/7", "2024-05")
    (_, opened), (_, asked), (_, closed) = decided(SPEC, slides("DD.."))
    assert isinstance(opened, Opened)
    assert isinstance(asked, Requested)
    assert isinstance(closed, Closed)
    first, last = opened_message(subject, opened), closed_message(subject, closed)
    request = requested_message(subject, asked)

    assert [(m.type, m.topic) for m in (first, request, last)] == [
        ("driftline.drift.detected", "drift-topic"),
        ("driftline.retraining.requested", "retraining-topic"),
        ("driftline.drift.recovered", "drift-topic"),
    ]
    assert len({m.event_id for m in (first, request, last)}) == 3
    assert opened_message(subject, opened) == first
    assert first.payload["source"] == "/driftline/models/fraud%2F%C3%A9"
    assert (first.payload["subject"], first.payload["time"]) == ("fraud/é/7", "1970-01-01T00:02:00.000Z")
    assert {m.payload["data"]["episode_id"] for m in (first, request, last)} == {
        str(episode_id(subject, opened.episode))
    }
    assert (last.payload["data"]["closed_as"], last.payload["data"]["closed_at"]) == (
        "recovered", "1970-01-01T00:04:00.000Z"
    )  # fmt: skip
    assert request.payload["data"]["request_id"] == request.payload["id"] == request.event_id
    assert request.payload["data"]["lineage"] == {
        "model": "fraud/é",
        "version": "7",
        "registry_uri": "models:/fraud/7",
        "data_version": "2024-05",
        "reference_digest": "d",
        "features": ["age"],
        "segments": ["*"],
        "estimated_change_at": "1970-01-01T00:00:00.000Z",
        "recommended_window": {"from": "1970-01-01T00:00:00.000Z", "to": "1970-01-01T00:02:00.000Z"},
    }


def test_decisions_are_told_in_printable_lines_and_not_more_than_are_wanted() -> None:
    subject = Subject("churn", "7\nERROR", "drift", "retraining")
    [opened, requested, closed] = [decision for _, decision in decided(SPEC, slides("DD...", Cause("*", "age\x1b")))]
    assert isinstance(opened, Opened)

    told = decisions_in_words(
        [(subject, decision) for decision in (opened, Changed(opened.episode), requested, closed)]
    )
    cut = decisions_in_words([(subject, opened)] * 5, lines_max=2)

    short_id = episode_id(subject, opened.episode).hex[:8]
    assert [line.partition(": ")[2].partition(short_id)[2][:10] for line in told] == [
        " opened, w",
        " asks for ",
        " closed, r",
    ]
    assert all(line.isprintable() and line.startswith("churn 7\N{REPLACEMENT CHARACTER}ERROR: drift") for line in told)
    assert cut == [*told[:1] * 2, "and 3 more: `driftline episodes list --all` shows them"]
