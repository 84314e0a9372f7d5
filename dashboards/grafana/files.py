"""What does a Grafana read when it sets itself up from files?

`provisioning` gives a folder that can stand as `/etc/grafana/provisioning`: the data source, where dashboards are, and
the dashboard. Invariants: the same bytes every time; the database's address and password are variables of Grafana's
environment, never in a file.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.grafana.overview import OVERVIEW_UID, overview
from dashboards.grafana.parts import DATA_SOURCE_TYPE, DATA_SOURCE_UID

FOLDER_UID = "driftline"
FOLDER_TITLE = "Driftline"
DATA_SOURCE_NAME = "Driftline"

PROVISIONING_PATH = PurePosixPath("/etc/grafana/provisioning")
OLDEST_POSTGRES = 1400

DATA_SOURCE_VARIABLES = {
    "DRIFTLINE_GRAFANA_POSTGRES": "host:port of the database, as Grafana reaches it",
    "DRIFTLINE_GRAFANA_DATABASE": "name of the database",
    "DRIFTLINE_GRAFANA_USER": "a role that may read the views",
    "DRIFTLINE_GRAFANA_PASSWORD": "its password",
    "DRIFTLINE_GRAFANA_SSLMODE": "disable, require, verify-ca or verify-full",
}
"""What must be in Grafana's environment for the provisioned data source."""


def dashboard_json(data_source_uid: str = DATA_SOURCE_UID) -> str:
    """Return the dashboard as Grafana imports it."""
    text: str = JSONEncoder(indent=2, ensure_ascii=False).encode(overview(data_source_uid))
    return text + "\n"


def provisioning(data_source_uid: str = DATA_SOURCE_UID) -> dict[PurePosixPath, str]:
    """Return the files by their path within Grafana's folder for provisioning.

    Parameters
    ----------
    data_source_uid
        The data source of the dashboard; for another than ours, none is provisioned.

    Examples
    --------
    >>> [str(path) for path in provisioning()]
    ['dashboards/driftline-overview.json', 'dashboards/driftline.yaml', 'datasources/driftline.yaml']
    """
    provider = {
        "name": "driftline",
        "folder": FOLDER_TITLE,
        "folderUid": FOLDER_UID,
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": str(PROVISIONING_PATH / "dashboards")},
    }
    files = {
        PurePosixPath(f"dashboards/{OVERVIEW_UID}.json"): dashboard_json(data_source_uid),
        PurePosixPath("dashboards/driftline.yaml"): _yaml({"apiVersion": 1, "providers": [provider]}),
    }
    if data_source_uid == DATA_SOURCE_UID:
        source = data_source(
            "${DRIFTLINE_GRAFANA_POSTGRES}",
            "${DRIFTLINE_GRAFANA_DATABASE}",
            "${DRIFTLINE_GRAFANA_USER}",
            "${DRIFTLINE_GRAFANA_PASSWORD}",
            "${DRIFTLINE_GRAFANA_SSLMODE}",
        )
        told = "".join(f"# {name}: {what}\n" for name, what in DATA_SOURCE_VARIABLES.items())
        sources = {"apiVersion": 1, "datasources": [source | {"editable": False}]}
        files[PurePosixPath("datasources/driftline.yaml")] = f"# From Grafana's environment:\n{told}{_yaml(sources)}"
    return files


def data_source(address: str, database: str, user: str, password: str, sslmode: str) -> dict[str, object]:
    """Describe our data source, in the words that files and Grafana's API share."""
    return {
        "name": DATA_SOURCE_NAME,
        "uid": DATA_SOURCE_UID,
        "type": DATA_SOURCE_TYPE,
        "access": "proxy",
        "url": address,
        "user": user,
        "jsonData": {"database": database, "sslmode": sslmode, "postgresVersion": OLDEST_POSTGRES, "maxOpenConns": 8},
        "secureJsonData": {"password": password},
    }


def _yaml(document: dict[str, object]) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text
