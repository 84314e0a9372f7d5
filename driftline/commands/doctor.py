"""`driftline doctor`: what is installed, reachable and wrong, and what is to be done about it?"""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from driftline.doctor import Finding, worst
from driftline.doctor.machine import check_machine
from driftline.errors import ConfigurationError


@click.command("doctor")
@click.option(
    "--config", default="monitor.yaml", show_default=True, type=click.Path(path_type=Path), help="The configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a line for each check.")
@click.option("--worker", is_flag=True, help="Check only that a worker of this host is alive: for probes.")
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool, worker: bool) -> None:
    """Check everything that Driftline stands on, and say of each thing whether it is ok and what to do if not.

    Looks at Python and its packages, the configuration and its reference files, Postgres (version, schema, rights,
    workers, dead letters, messages that wait) and Kafka (topics, and whether the log is the one that was read, lag,
    watermarks). Changes nothing, and prints no secret. Ends with the largest exit code of what failed; warnings leave
    it at 0. With --worker it ends with 4 while the worker that listens at web.port is not ready; without a web.port,
    while no worker of this host was seen in the last half minute.
    """
    if worker:
        click.echo(f"ok    {_worker_here(config)}")
        return
    findings = []
    for finding in _findings(config):
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.level:<4}  {finding.subject:<17}  {finding.what}")
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings], "exit_code": worst(findings)}))
    ctx.exit(worst(findings))


def _worker_here(config: Path) -> str:
    from driftline.doctor.probe import ask_worker, check_worker_here
    from driftline.settings import load_settings

    settings = load_settings(config, os.environ)
    if settings.postgres is None:
        raise ConfigurationError("has no postgres section", where=str(config), remedy="add `postgres: {url: …}`")
    if settings.web.port:
        return asyncio.run(ask_worker(settings.web))
    return asyncio.run(check_worker_here(settings.postgres))


def _findings(config: Path) -> Iterator[Finding]:
    broken = 0
    for finding in check_machine():
        yield finding
        broken |= finding.exit_code
    if not broken:
        # Imported only now: without a package they need, this program can still say which one.
        from driftline.doctor.everything import check_everything

        yield from check_everything(config, os.environ)
