"""Does the doctor's judgement of what others say hold, case by case?"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from driftline.doctor import ALIKE_SHOWN_MAX, Finding, in_brief, ok, warn
from driftline.doctor.bounds import REMEDIES, check_dead_letters, check_memory
from driftline.doctor.files import check_seasons
from driftline.doctor.log import (
    BEHIND_MS_MAX,
    LAG_RECORDS_MAX,
    check_lag,
    check_positions,
    check_topics,
    check_watermark,
)
from driftline.doctor.machine import check_dependencies, check_python, check_tree, own_packages, required_packages
from driftline.doctor.names import check_names
from driftline.doctor.store import (
    SEEN_MS_AGO_MAX,
    Position,
    check_accepted,
    check_episodes,
    check_outbox,
    check_rights,
    check_spending,
    check_version,
    check_webhooks,
    check_workers,
)
from driftline.kafka_admin import PartitionEnds, TopicInfo, TopicUse
from driftline.settings import KafkaSettings, LimitSettings, ModelSettings, Settings

MODEL = Settings(models={"m": {"task": "binary", "reference": {"first_events": 10}}}).models["m"]
HOUR_MS = 3_600_000
PROJECT = Path(__file__).parents[3]


def position(next_: int = 10, *, topic_id: str = "id-1", partition: int = 0, **times: int | None) -> Position:
    newest_ms, idle_through_ms = times.get("newest_ms", 0), times.get("idle_through_ms")
    return Position("t", partition, topic_id, next_, newest_ms, idle_through_ms)


def levels(findings: list[Finding]) -> list[tuple[str, int]]:
    return [(finding.level, finding.exit_code) for finding in findings]


def positions_judged(*stored: Position, topic_id: str = "id-1", earliest: int = 0, end: int = 100) -> list[Finding]:
    """Judge positions of a topic that has two partitions, whose logs reach equally far."""
    ends = {("t", number): PartitionEnds(earliest, end) for number in range(2)}
    return list(check_positions({"t": TopicInfo(topic_id, 2)}, list(stored), ends))


def test_positions_within_the_log_are_fine() -> None:
    found = positions_judged(position(0), position(100, partition=1))

    assert levels(found) == [("ok", 0)]


def test_a_partition_that_was_never_read_is_worth_a_look() -> None:
    [finding] = positions_judged(position())

    assert finding.level == "warn"
    assert "1 partitions were never read" in finding.what


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (position(topic_id="id-0"), r"another topic .* \(id id-1, was id-0\)"),
        (position(101), "ends at offset 100, but was read up to 101"),
        (position(partition=2), "there is no such partition"),
    ],
)
def test_another_log_than_the_one_that_was_read_ends_with_3_and_says_how_to_go_on(stored: Position, said: str) -> None:
    finding = positions_judged(stored, position(partition=1))[0]

    assert levels([finding]) == [("fail", 3)]
    assert re.search(said, finding.what)
    assert "delete its rows from driftline.stream_offset" in finding.what


@pytest.mark.parametrize(("stored_id", "told_id"), [("", "id-1"), ("id-1", "")])
def test_a_broker_without_topic_ids_is_not_taken_for_another(stored_id: str, told_id: str) -> None:
    found = positions_judged(position(topic_id=stored_id), position(topic_id=stored_id, partition=1), topic_id=told_id)

    assert levels(found) == [("ok", 0)]


def test_records_that_were_deleted_unread_are_named() -> None:
    [finding] = positions_judged(position(10), position(40, partition=1), earliest=40)

    assert finding.level == "warn"
    assert "t, partition 0: records 10 to 39 were deleted before they were read" in finding.what


def test_lag_is_the_records_not_read_yet_and_the_worst_partitions_come_first() -> None:
    ends = {("t", 0): PartitionEnds(0, 15), ("t", 1): PartitionEnds(0, 110), ("t", 2): PartitionEnds(0, 10)}
    stored = [position(partition=number) for number in range(3)]

    [alive], [dead] = list(check_lag(stored, ends, 1)), list(check_lag(stored, ends, 0))

    assert alive.what == "t: 105 records not read yet (partition 1: 100, partition 0: 5)"
    assert (alive.level, dead.level) == ("ok", "warn")
    assert [finding.level for finding in check_lag([position(10)], {("t", 0): PartitionEnds(0, 10)}, 0)] == ["ok"]


def watermark_judged(model: ModelSettings, *newest_ms: int | None) -> Finding:
    [finding] = check_watermark(
        "m", model, [position(partition=number, newest_ms=ms) for number, ms in enumerate(newest_ms)]
    )
    return finding


def test_a_watermark_is_the_slowest_partition_less_the_out_of_orderness() -> None:
    finding = watermark_judged(MODEL, HOUR_MS + 5_000, HOUR_MS + 6_000)

    assert (finding.level, finding.what) == ("ok", "m: 1970-01-01T01:00:00+00:00")


def test_a_partition_that_holds_up_the_others_is_named() -> None:
    within, beyond = watermark_judged(MODEL, 0, BEHIND_MS_MAX), watermark_judged(MODEL, HOUR_MS, 0)

    assert (within.level, beyond.level) == ("ok", "warn")
    assert beyond.what.endswith("t 1 is 1h behind the others and holds it up")


def test_a_partition_that_never_had_an_event_holds_up_the_rest_until_it_is_idle() -> None:
    waiting = watermark_judged(MODEL, HOUR_MS, None)
    idle = check_watermark(
        "m", MODEL, [position(newest_ms=HOUR_MS), position(partition=1, newest_ms=None, idle_through_ms=HOUR_MS)]
    )

    assert waiting.level == "warn"
    assert waiting.what.endswith("not idle: t 1")
    assert levels(idle) == [("ok", 0)]


@pytest.mark.parametrize("newest_ms", [[], [None, None]])
def test_a_model_without_events_has_no_watermark_and_nothing_is_wrong(newest_ms: list[int | None]) -> None:
    assert watermark_judged(MODEL, *newest_ms) == Finding("ok", "watermark", "m: no event yet")


def test_only_a_needed_topic_must_exist() -> None:
    uses = {
        "needed": TopicUse(("predictions",), ("m",), True),
        "optional": TopicUse(("features",), ("m",), False),
        "there": TopicUse(("drift",), (), True),
    }

    found = list(check_topics("kafka at b", uses, {"there": TopicInfo("", 3)}))

    assert levels(found) == [("fail", 3), ("ok", 0)]
    assert "there is no topic needed;" in found[0].what
    assert found[1].what == "kafka at b: there (3)"


def worker(seen_ms_ago: int) -> Any:
    return SimpleNamespace(worker_id="w", state="running", seen_ms_ago=seen_ms_ago, n=2)


def test_a_worker_is_alive_that_was_seen_a_moment_ago() -> None:
    [alive], [gone], [none] = (
        check_workers(seen) for seen in ([worker(SEEN_MS_AGO_MAX), worker(HOUR_MS)], [worker(HOUR_MS)], [])
    )

    assert alive == Finding("ok", "workers", "w running with 2 partitions")
    assert (gone.level, none.level) == ("warn", "warn")
    assert "the last one 3600s ago" in gone.what


def test_dead_letters_are_told_by_reason() -> None:
    assert check_dead_letters([])[0].level == "ok"
    [finding] = check_dead_letters([SimpleNamespace(reason="not_json", n=7), SimpleNamespace(reason="no_id", n=2)])

    assert finding.level == "warn"
    assert "7 not_json, 2 no_id" in finding.what


def test_dead_letters_beyond_a_bound_are_told_with_its_setting() -> None:
    [finding] = check_dead_letters([SimpleNamespace(reason="too_large", n=1)])

    assert "1 too_large" in finding.what
    assert "limits.message_bytes_max" in finding.what
    assert REMEDIES.keys() <= set(re.findall(r"^\| `(\w+)`", (PROJECT / "docs/contracts.md").read_text(), re.MULTILINE))
    named = {name for text in REMEDIES.values() for name in re.findall(r"limits\.(\w+)", text)}
    assert named <= LimitSettings.model_fields.keys() | {of.alias for of in LimitSettings.model_fields.values()}


def test_fetches_of_fifty_megabytes_are_explained_by_the_memory_they_take() -> None:
    usual = check_memory(KafkaSettings(bootstrap_servers="k:1"), LimitSettings())
    large = check_memory(KafkaSettings(bootstrap_servers="k:1", fetch_bytes_max=50 * 1024 * 1024), LimitSettings())

    assert (usual.level, large.level) == ("ok", "warn")
    assert "up to 1230 MiB with kafka.fetch_bytes_max 50.0 MiB" in large.what  # 230 + 20 x 50


def test_rights_that_are_missing_are_told_but_not_without_end() -> None:
    [finding] = check_rights("me", [f"select on t{number}" for number in range(9)])

    assert levels([finding]) == [("fail", 3)]
    assert finding.what.startswith("me lacks select on t0, select on t1, ")
    assert "and 4 more; grant what docs/operations.md lists" in finding.what
    assert levels(check_rights("me", [])) == [("ok", 0)]


def test_versions_of_postgres_before_14_are_refused_and_newer_ones_than_known_are_not() -> None:
    assert [levels(check_version("db", version))[0] for version in (13, 14, 18, 19)] == [
        ("fail", 3),
        ("ok", 0),
        ("ok", 0),
        ("warn", 0),
    ]


def test_an_old_python_ends_with_2() -> None:
    assert levels(check_python((3, 10, 9))) == [("fail", 2)]
    assert levels(check_python((3, 11, 0))) == [("ok", 0)]


def test_a_missing_package_ends_with_2_and_is_named() -> None:
    [finding] = check_dependencies(["numpy", "no-such-package"])

    assert levels([finding]) == [("fail", 2)]
    assert "missing: no-such-package;" in finding.what
    assert {"numpy", "psycopg", "faust-streaming"} <= set(required_packages())
    assert "pytest" not in required_packages()


def test_a_package_of_ours_from_elsewhere_ends_with_2_and_is_named(tmp_path: Path, project: Path) -> None:
    assert {"driftline", "streams", "detectors", "labels_join"} <= set(own_packages())
    assert levels(check_tree(own_packages(), project)) == [("ok", 0)]

    [finding] = check_tree([*own_packages(), "no_such_package"], tmp_path)

    assert levels([finding]) == [("fail", 2)]
    assert f"detectors comes from {project / 'detectors'}" in finding.what
    assert "no_such_package is not found" in finding.what


def test_only_episodes_that_nobody_acknowledged_are_worth_a_look() -> None:
    def episode(number: int, acknowledged: bool) -> SimpleNamespace:
        named = {"model": "churn", "version": "7", "kind": "drift", "severity": "critical"}
        return SimpleNamespace(episode_id=UUID(int=number << 96), acknowledged=acknowledged, **named)

    assert levels(check_episodes([])) == levels(check_episodes([episode(1, True)])) == [("ok", 0)]
    [finding] = check_episodes([episode(1, True), *(episode(number, False) for number in range(2, 7))])
    assert (finding.level, finding.exit_code) == ("warn", 0)
    assert "critical drift of churn 7 (00000002)" in finding.what
    assert "and 2 more" in finding.what


def waiting(destination: str = "drift", **state: Any) -> SimpleNamespace:
    rest = {"n_waiting": 0, "n_tried": 0, "oldest_ms": 0, "n_failed": 0, "last_error": None}
    return SimpleNamespace(destination=destination, **rest | state)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"n_waiting": 3, "oldest_ms": 5_000}, ["ok nothing waits to be published"]),
        (
            {"n_waiting": 3, "oldest_ms": 90_000},
            ["warn drift: 3 wait, the oldest for 90s; is a worker or `driftline relay` running?"],
        ),
        (
            {"n_waiting": 3, "n_tried": 1, "oldest_ms": 2_500, "last_error": "there is no topic drift"},
            ["warn drift: 3 wait, the oldest for 2s: there is no topic drift"],
        ),
        (
            {"n_failed": 2, "last_error": "no answer within 5s"},
            ["warn drift: 2 given up in the last day: no answer within 5s; v_deliveries shows each"],
        ),
    ],
)
def test_messages_that_wait_in_vain_or_were_given_up_are_told(state: dict[str, Any], said: list[str]) -> None:
    assert [f"{finding.level} {finding.what}" for finding in check_outbox([waiting(**state)])] == said


def test_a_webhook_that_was_taken_out_leaves_nothing_to_wait_unseen() -> None:
    [finding] = check_webhooks(["chat"], [waiting("pager", n_waiting=2), waiting("chat")])

    assert finding.level == "warn"
    assert "the configuration has no such webhook" in finding.what
    assert levels(check_webhooks([], [])) == [("ok", 0)]


def test_what_is_spent_of_the_budget_of_false_episodes_is_told_and_warned_of_beyond_it() -> None:
    spent = {"budget": 1.0, "looks": 5_000, "episodes": 2, "since": HOUR_MS}
    within, beyond = check_spending(
        [
            SimpleNamespace(model="churn", expected=0.2504, **spent),
            SimpleNamespace(model="fraud", expected=1.5, **spent),
        ]
    )

    told = "churn: 0.25 of 1 false episodes expected of 5000 looks since 1970-01-01, 2 episodes of drift"
    assert within == Finding("ok", "alarms", told)
    assert beyond.level == "warn"
    assert "more than `alarms.budget`" in beyond.what
    assert check_spending([]) == []


def test_a_reference_that_is_no_file_s_is_told_with_its_digest() -> None:
    [finding] = check_accepted([SimpleNamespace(model="churn", version="*", digest="d1", since=HOUR_MS)])

    assert finding == Finding("ok", "accepted", "churn *: by hand, 1970-01-01, digest d1; until its file changes")


def test_a_backlog_is_explained_by_what_would_make_reading_faster() -> None:
    stored = [position(0, partition=number) for number in range(4)]
    ends = {("t", number): PartitionEnds(0, 50_000) for number in range(4)}

    [few] = check_lag(stored, ends, 2)
    [as_many] = check_lag(stored, ends, 4)
    [small] = check_lag(stored, {at: PartitionEnds(0, LAG_RECORDS_MAX // 4) for at in ends}, 2)

    assert [few.level, as_many.level, small.level] == ["warn", "warn", "ok"]
    assert "t: 200000 records not read yet" in few.what
    assert "2 workers share 4 partitions: start more workers" in few.what
    assert "4 workers share 4 partitions: add partitions, then workers" in as_many.what


def beyond(model: str, reason: str, n: int, segments: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(model=model, reason=reason, n=n, segments=segments)


def test_a_segment_field_with_a_new_value_for_every_event_is_named_with_what_to_do() -> None:
    found = check_names(
        [
            beyond("churn", "segment_beyond_limit", 12_345, "user_id 98, plan 4"),
            beyond("churn", "version_beyond_limit", 3),
        ]
    )

    assert [finding.level for finding in found] == ["warn", "warn"]
    assert found[0].what == (
        "churn: 12345 events came with segment values beyond limits.segments_max and count as `other` "
        "(user_id 98, plan 4); take a field with a new value for every event out of `segments`, or raise the limit"
    )
    assert "limits.versions_max" in found[1].what


def test_names_within_their_limits_are_fine_and_many_models_beyond_are_told_briefly() -> None:
    many = check_names([beyond(f"m{number}", "class_beyond_limit", 1) for number in range(1_000)])

    assert [finding.level for finding in check_names([])] == ["ok"]
    assert len(many) == 6
    assert "995 more" in many[-1].what


def test_of_a_thousand_models_only_those_in_trouble_are_all_told() -> None:
    one_held_up = [warn("watermark", "m7 is held up")]
    findings = [*(ok("watermark", f"m{n}") for n in range(1_000)), *one_held_up]

    told = list(in_brief(findings))

    assert len(told) == ALIKE_SHOWN_MAX + 2
    assert one_held_up[0] in told
    assert told[-1].what == "980 more are well"
    assert list(in_brief(findings[:5])) == findings[:5]


@pytest.mark.parametrize(
    ("seasonality", "detectors", "warned"),
    [("24h", ["adwin"], True), ("7d", [], True), ("24h", ["psi", "adwin"], False), (None, ["adwin"], False)],
)
def test_seasons_that_no_detector_looks_at_are_worth_a_look(
    seasonality: str | None, detectors: list[str], warned: bool
) -> None:
    windows = {"seasonality": seasonality} if seasonality else {}
    model = {"task": "binary", "reference": {"first_events": 10}, "windows": windows, "drift": {"detectors": detectors}}

    found = list(check_seasons(Settings.model_validate({"models": {"m": model}})))

    assert levels(found) == ([("warn", 0)] if warned else [])
    assert all(finding.what.startswith("m: nothing is compared with past seasons") for finding in found)
