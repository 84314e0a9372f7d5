"""Does `driftline alerts test` say of each webhook whether it works, and what to do if not, without its secrets?"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.live import run_driftline
from tests.support.outbox import SECRET, Receiver, listening

MODELS = {"m": {"task": "binary", "reference": {"first_events": 10}}}


def configured(folder: Path, webhooks: dict[str, str]) -> Path:
    """Write a configuration of webhooks with these URLs."""
    config = folder / "monitor.yaml"
    made: dict[str, Any] = {name: {"url": url, "secret": SECRET, "timeout": "3s"} for name, url in webhooks.items()}
    config.write_text(json.dumps({"models": MODELS, "alerts": {"webhooks": made}}))
    return config


async def alerts_test(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    done = await asyncio.to_thread(run_driftline, "alerts", "test", "--config", str(config), *arguments)
    assert "hunter2" not in done.stdout + done.stderr
    assert SECRET.removeprefix("whsec_") not in done.stdout + done.stderr
    return done


async def test_each_webhook_gets_a_signed_event_now_and_each_failure_its_remedy(tmp_path: Path, free_port: int) -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    good, gone, slow = Receiver(), Receiver(status=410), Receiver(answer=hang)
    async with listening(good), listening(gone), listening(slow):
        nobody = f"http://localhost:{free_port}/hunter2"
        urls = {"good": good.url, "gone": gone.url, "slow": slow.url, "nobody": nobody}
        config = configured(tmp_path, urls)
        all_of_them, only_good, as_json = await asyncio.gather(
            alerts_test(config), alerts_test(config, "good"), alerts_test(config, "--json")
        )

    host = good.url.split("@")[1].split("/")[0]
    lines = all_of_them.stdout.splitlines()
    assert lines[0].startswith(f"good ({host}): delivered in ")
    assert [line.split(": ", 1)[1] for line in lines[1:]] == [
        "not delivered: answered 410 (gone); the receiver wants no more of this; take the webhook out",
        "not delivered: no answer within 3s; look at the receiver, or raise timeout",
        "not delivered: can't connect: Connection refused; start the receiver, or correct the url",
    ]
    assert (all_of_them.returncode, only_good.returncode, as_json.returncode) == (4, 0, 4)
    assert len(only_good.stdout.splitlines()) == 1
    told = json.loads(as_json.stdout)["webhooks"]
    assert [(each["webhook"], each["delivered"]) for each in told] == [
        ("good", True),
        ("gone", False),
        ("slow", False),
        ("nobody", False),
    ]
    for event in good.verified():
        assert (event["specversion"], event["type"]) == ("1.0", "driftline.alerts.test")
    assert len({*good.ids}) == 3


async def test_a_name_that_is_none_and_a_file_without_webhooks_are_errors_of_the_caller(tmp_path: Path) -> None:
    wrong = await alerts_test(configured(tmp_path, {"pager": "http://x"}), "pagr")
    none = await alerts_test(configured(tmp_path, {}))

    assert (wrong.returncode, none.returncode) == (2, 2)
    assert wrong.stderr.rstrip().endswith("monitor.yaml: there is no webhook pagr; did you mean pager?")
    assert none.stderr.rstrip().endswith("has no webhooks; add `alerts: {webhooks: {NAME: {url, secret}}}`")
