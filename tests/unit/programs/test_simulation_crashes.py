"""Is each way of interrupting an effect counted, and one that was never taken told?"""

from __future__ import annotations

from collections import Counter

from tests.simulation.crashes import READ, never, table
from tests.simulation.stage import Crash

DEEDS = {("reads", "begin"): 1_234, ("reads", READ): 20}


def test_what_was_never_interrupted_in_some_way_is_told_but_for_what_can_not_be_cut() -> None:
    crashes: Counter[Crash] = Counter(
        {
            ("reads", "begin", "before", "kill"): 3,
            ("reads", "begin", "after", "cut"): 1_500,
            ("reads", "begin", "before", "cut"): 2,
            ("reads", READ, "before", "kill"): 1,
        }
    )

    assert never(DEEDS, crashes) == [("reads", "begin", "after", "kill"), ("reads", READ, "after", "kill")]
    head, begin, _, last = table(DEEDS, crashes).splitlines()
    assert head.split() == ["effect", "done", *["kill", "before", "kill", "after", "cut", "before", "cut", "after"]]
    assert begin.split() == ["reads", "begin", "1,234", "3", "0", "2", "1,500"]
    assert last == "2 effects; 2 ways to interrupt one were never taken"
