"""`driftline dashboards`: how does Grafana get what it shows of us?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from dashboards.grafana.files import DATA_SOURCE_VARIABLES, dashboard_json, provisioning
from dashboards.grafana.parts import DATA_SOURCE_UID
from dashboards.grafana.push import Target, push
from driftline.errors import ConfigurationError

STDOUT = Path("-")

_DATA_SOURCE = click.option(
    "--data-source",
    default=DATA_SOURCE_UID,
    show_default=True,
    metavar="UID",
    help="A PostgreSQL data source of Grafana.",
)


@click.group("dashboards")
def command() -> None:
    """Export or push the Grafana dashboards."""


@command.command("export")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the files; - prints the dashboard's JSON."
)
@_DATA_SOURCE
def export(out: Path, data_source: str) -> None:
    """Write the files that Grafana sets itself up from.

    The folder can stand as its /etc/grafana/provisioning.
    The files hold no secret: Grafana takes the database's address and password from its environment (the data source's
    file says which variables). The same program writes the same bytes, so the files may be kept under version control.
    """
    if out == STDOUT:
        click.echo(dashboard_json(data_source), nl=False)
        return
    try:
        for path, text in provisioning(data_source).items():
            file = out / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            click.echo(f"wrote {file}")
    except OSError as error:
        remedy = "give a folder that may be written"
        raise ConfigurationError(f"can't be written: {error.strerror}", where=str(out), remedy=remedy) from None
    if data_source == DATA_SOURCE_UID:
        click.echo(f"set in Grafana's environment: {', '.join(DATA_SOURCE_VARIABLES)}")


@command.command("push")
@click.option("--url", required=True, envvar="GRAFANA_URL", show_envvar=True, help="Grafana's address.")
@click.option(
    "--token",
    required=True,
    envvar="GRAFANA_TOKEN",
    show_envvar=True,
    help="Of a service account; better in the environment, since other users see arguments.",
)
@_DATA_SOURCE
@click.option(
    "--database",
    metavar="URL",
    envvar="GRAFANA_DATABASE",
    show_envvar=True,
    help="Also make the data source: the database as Grafana reaches it, with a role that reads views.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def push_(url: str, token: str, data_source: str, database: str | None, as_json: bool) -> None:
    """Put the dashboard into a Grafana that runs.

    It gets a folder of its own; its last version there is overwritten.
    Ends with 2 if the address, the token or its rights are wrong, and with 4 if Grafana can't be reached.
    """
    if database is not None and data_source != DATA_SOURCE_UID:
        remedy = f"leave one out: --database makes the data source {DATA_SOURCE_UID}"
        raise ConfigurationError("go not together", where="--database and --data-source", remedy=remedy)
    pushed = push(Target(url, token), data_source, database)
    if as_json:
        told = {
            "url": pushed.url,
            "grafana": pushed.grafana_version,
            "folder_created": pushed.folder_created,
            "data_source": data_source,
            "data_source_missing": pushed.data_source_missing,
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"grafana {pushed.grafana_version}: {pushed.url}")
    if pushed.data_source_missing:
        click.echo(f"there is no data source {data_source} yet: --database makes one, --data-source names another")
