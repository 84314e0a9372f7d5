"""Does the policy keep its promises whatever the windows say?"""

import json
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from labels_join.maturity import Maturity, MaturitySpec, delay_bucket, mature_through_ms, with_delays
from retraining.policy import Closed, Decision, Findings, Opened, PolicySpec, Requested, Slide, decide
from retraining.state import KINDS, Cause, Evidence, PolicyState, from_json, to_json

CAUSES = st.builds(Cause, st.sampled_from(["*", "s=a"]), st.sampled_from(["x", "y"]), st.just(""))


@st.composite
def logs(draw: st.DrawFn) -> list[Slide]:
    """Slides of 1 with windows of 1 to 3, which may reach back; digests change now and then; slides may be left out."""
    length = draw(st.integers(1, 3))
    ends = sorted(draw(st.sets(st.integers(1, 60), max_size=40)))
    changes = draw(st.sets(st.integers(1, 60), max_size=2))
    made = []
    for end in ends:
        found = {}
        for kind in KINDS:
            evidence = [
                Evidence(
                    cause,
                    end - length - draw(st.integers(0, 2)),
                    end,
                    draw(st.sampled_from(["ok", "warning", "drift", "drift"])),
                    1.0,
                    at_once=draw(st.booleans()) and draw(st.booleans()),
                    changed_ms=draw(st.none() | st.integers(0, end)),
                )
                for cause in sorted(draw(st.sets(CAUSES, max_size=3)))
            ]
            found[kind] = Findings(evidence, end if evidence or draw(st.booleans()) else None)
        made.append(Slide(end - length, end, f"d{sum(end > at for at in changes)}", found))
    return made


SPECS = st.builds(
    PolicySpec, st.integers(1, 4), st.integers(0, 20), st.frozensets(st.sampled_from(["drift", "performance"]))
)


def decisions_of(spec: PolicySpec, log: list[Slide], restarts: set[int] = frozenset()) -> list[tuple[int, Decision]]:
    """Decide slide by slide; before the slides at `restarts` the state goes through the store."""
    state, found = PolicyState(), []
    for number, slide in enumerate(log):
        if number in restarts:
            state = from_json(json.loads(json.dumps(to_json(state))))
        state, decided = decide(spec, state, slide)
        found += [(slide.end_ms, decision) for decision in decided]
    return found


@given(SPECS, logs())
def test_episodes_of_a_kind_follow_one_another_and_each_asks_at_most_once(spec: PolicySpec, log: list[Slide]) -> None:
    open_now: dict[str, int] = {}
    asked: Counter[tuple[str, int]] = Counter()
    for end_ms, decision in decisions_of(spec, log):
        kind, opened_ms = decision.episode.kind, decision.episode.opened_ms
        match decision:
            case Opened():
                assert kind not in open_now
                assert opened_ms == end_ms
                open_now[kind] = opened_ms
            case Requested():
                assert open_now[kind] == opened_ms
                assert kind in spec.when
                asked[kind, opened_ms] += 1
            case Closed():
                assert open_now.pop(kind) == opened_ms < end_ms
    assert set(asked.values()) <= {1}


@given(SPECS, logs())
def test_requests_keep_the_cool_down(spec: PolicySpec, log: list[Slide]) -> None:
    times = [end_ms for end_ms, decision in decisions_of(spec, log) if isinstance(decision, Requested)]

    assert all(later - earlier >= spec.cooldown_ms for earlier, later in pairwise(times))


@given(SPECS, logs())
def test_an_episode_opens_only_after_enough_disjoint_windows_of_one_cause_and_never_without_drift(
    spec: PolicySpec, log: list[Slide]
) -> None:
    by_end = {slide.end_ms: slide for slide in log}
    for end_ms, decision in decisions_of(spec, log):
        if not isinstance(decision, Opened):
            continue
        kind = decision.episode.kind
        alarms = [item for item in by_end[end_ms].findings[kind].evidence if item.level == "drift"]
        assert {item.cause for item in decision.episode.causes} == {item.cause for item in alarms}
        if not any(item.at_once for slide in log for item in slide.findings[kind].evidence):
            assert any(_disjoint_windows(log, kind, item.cause, end_ms) >= spec.consecutive for item in alarms)


def _disjoint_windows(log: list[Slide], kind: str, cause: Cause, until_ms: int) -> int:
    """The most windows of a cause that say drift and do not overlap, by the end that comes first."""
    counted, reached = 0, -(10**9)
    for slide in log:
        for item in slide.findings[kind].evidence:  # type: ignore[index]
            if item.cause == cause and item.level == "drift" and reached <= item.start_ms and item.end_ms <= until_ms:
                counted, reached = counted + 1, item.end_ms
    return counted


@given(SPECS, logs(), st.sets(st.integers(0, 40)))
def test_decisions_do_not_depend_on_where_the_log_is_cut(
    spec: PolicySpec, log: list[Slide], restarts: set[int]
) -> None:
    assert decisions_of(spec, log, restarts) == decisions_of(spec, log)


@given(
    st.lists(st.tuples(st.sampled_from("01"), st.integers(0, 10**7), st.integers(1, 50)), max_size=20),
    st.builds(
        MaturitySpec,
        st.none() | st.integers(0, 10**6),
        st.integers(1, 10**7),
        st.integers(1, 200),
        st.integers(1, 10**6),
    ),
    st.integers(0, 10**8),
    st.integers(0, 10**8),
)
def test_what_is_mature_stays_so_and_what_is_as_old_as_the_horizon_always_is(
    delays: list[tuple[str, int, int]], spec: MaturitySpec, now_ms: int, later_ms: int
) -> None:
    known = with_delays(Maturity(0, 0), [(name, delay_bucket(delay_ms), n) for name, delay_ms, n in delays])

    through_ms = mature_through_ms(known, spec, now_ms)
    assert mature_through_ms(known, spec, now_ms + later_ms) >= through_ms
    assert now_ms - max(spec.horizon_ms, spec.judge_after_ms or 0) <= through_ms <= now_ms
