"""How far may things grow here, how far have they grown, and what is beyond a bound?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftline.doctor import Finding, ok, warn
from driftline.settings import KafkaSettings, LimitSettings

MIB = 1024 * 1024
AT_REST_MIB = 230
"""What a worker takes before the first event."""

BECOMES = 10 / 3
"""So many times its own size a fetch takes with what it becomes, decoded and summarised."""

UNDER_WAY = 4
"""One answer of a broker, and three fetches that are decoded or committed."""

WORKER_MIB_MAX = 400
"""What the default limits keep to."""

REMEDIES: Mapping[str, str] = {
    "too_large": "larger than limits.message_bytes_max: send smaller messages, or raise it",
    "too_many_events": "more events in a message than limits.array_events_max: send fewer, or raise it",
    "in_the_future": "further ahead than limits.max_future: correct the producer's clock",
    "too_old": "further behind than the label horizon: correct the producer's clock",
}
"""What to do about dead letters that are beyond a bound, by their reason."""


def check_memory(kafka: KafkaSettings, limits: LimitSettings) -> Finding:
    """Tell how much memory a worker may take, whatever comes and however much waits.

    Examples
    --------
    >>> kafka, limits = KafkaSettings(bootstrap_servers="k:9092"), LimitSettings()
    >>> check_memory(kafka, limits).what
    'a worker takes up to 310 MiB with kafka.fetch_bytes_max 4.0 MiB, more by what one message or compressed batch has'
    """
    fetches = BECOMES * (UNDER_WAY + limits.buffered_fetches_max)
    fetch_mib = kafka.fetch_bytes_max / MIB
    needed_mib = AT_REST_MIB + fetches * fetch_mib
    told = f"a worker takes up to {needed_mib:.0f} MiB with kafka.fetch_bytes_max {fetch_mib:.1f} MiB"
    if needed_mib <= WORKER_MIB_MAX:
        return ok("memory", f"{told}, more by what one message or compressed batch has")
    remedy = "give it so much, or lower it or limits.buffered_fetches_max"
    return warn("memory", f"{told} and limits.buffered_fetches_max {limits.buffered_fetches_max}: {remedy}")


def check_dead_letters(reasons: Sequence[Any]) -> list[Finding]:
    """Tell how many events of the last day could not be used, and why.

    Parameters
    ----------
    reasons
        With `reason` and `n`.
    """
    if not reasons:
        return [ok("dead letters", "none in the last day")]
    told = ", ".join(f"{found.n} {found.reason}" for found in reasons)
    remedies = [f"; {of.reason}: {REMEDIES[of.reason]}" for of in reasons if of.reason in REMEDIES]
    return [
        warn("dead letters", f"in the last day: {told}; v_dead_letters shows each with its place{''.join(remedies)}")
    ]


def check_stored(tables: Sequence[Any]) -> Finding:
    """Tell what is kept of each event until its horizon has passed: a row for each key, however many there are.

    Parameters
    ----------
    tables
        With `name`, `n` rows, as the planner reckons, and `bytes` with indexes.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_stored([SimpleNamespace(name="prediction", n=3_600_000, bytes=600 * MIB)]).what
    'about 3,600,000 rows of prediction (600 MiB); they go when their label horizon has passed'
    """
    told = ", ".join(f"{of.n:,} rows of {of.name} ({of.bytes / MIB:,.0f} MiB)" for of in tables if of.n)
    return ok("stored", f"about {told}; they go when their label horizon has passed" if told else "no event is kept")
