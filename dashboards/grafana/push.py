"""How do the dashboard, its folder and its data source get into a Grafana that runs?

Invariants: only what has our uids is touched; sent twice it is the same as once; neither the token nor a password is
ever in an error; a redirect is not followed, because the token would go with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaServerError, GrafanaTimeoutError
from niquests.exceptions import JSONDecodeError, RequestException, SSLError, TooManyRedirects
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from dashboards.grafana.files import FOLDER_TITLE, FOLDER_UID, dashboard_json, data_source
from dashboards.grafana.parts import DATA_SOURCE_UID
from driftline.errors import ConfigurationError, DriftlineError, ServiceUnavailableError

TIMEOUT_S = 10.0
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429

REMEDIES = {
    400: "Grafana says why",
    401: "the token is not valid: make one for a service account of Grafana",
    403: "the token's role may not do this: it needs Editor, and Admin for --database",
    404: "is this Grafana's address, with its path if it has one?",
    412: "remove what is in the way, or its provisioning",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Which Grafana, and as whom.

    Parameters
    ----------
    url
        Its address, with a path if it is served under one.
    """

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was done.

    Parameters
    ----------
    url
        Where the dashboard is.
    data_source_missing
        Whether Grafana knows no data source of the uid that the dashboard begins with.
    """

    grafana_version: str
    url: str
    folder_created: bool
    data_source_missing: bool


def push(target: Target, data_source_uid: str = DATA_SOURCE_UID, database_url: str | None = None) -> Pushed:
    """Create or overwrite our dashboard in our folder, and our data source if it is asked for.

    Parameters
    ----------
    data_source_uid
        The data source of the dashboard.
    database_url
        Where Grafana reaches the database; makes our data source, or changes it.

    Raises
    ------
    ConfigurationError
        If the address, the token, its rights or the database's URL are wrong.
    ServiceUnavailableError
        If Grafana does not answer in time, or is not well.
    """
    source = data_source_of(database_url) if database_url is not None else None
    address = checked_address(target.url)
    api: Any = GrafanaApi.from_url(address, target.token, TIMEOUT_S)  # its methods have no types
    api.client.s.max_redirects = 0
    with _told(address):
        version = str(api.health.check()["version"])
        if source is not None:
            _put_data_source(api, source)
        missing = source is None and _absent(api.datasource.get_datasource_by_uid, data_source_uid)
        created = _absent(api.folder.get_folder, FOLDER_UID)
        if created:
            api.folder.create_folder(FOLDER_TITLE, FOLDER_UID)
        board = {
            "dashboard": json.loads(dashboard_json(data_source_uid)),
            "folderUid": FOLDER_UID,
            "overwrite": True,
            "message": "driftline dashboards push",
        }
        path = str(api.dashboard.update_dashboard(board)["url"])
    origin = urlunsplit((*urlsplit(address)[:2], "", "", ""))
    return Pushed(version, origin + path, created, missing)


def checked_address(url: str) -> str:
    """Return Grafana's address as the client wants it.

    Raises
    ------
    ConfigurationError
        If it is none, or holds more than an address.

    Examples
    --------
    >>> checked_address("https://tools.example/grafana")
    'https://tools.example/grafana/'
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        remedy = "give it as https://grafana.example or https://host/path; the token has an option of its own"
        raise ConfigurationError("is no plain address of a Grafana", where="--url", remedy=remedy)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))


def data_source_of(database_url: str) -> dict[str, object]:
    """Describe our data source for a database's URL.

    Raises
    ------
    ConfigurationError
        If it can't be used; without what it says, since it holds a password.

    Examples
    --------
    >>> data_source_of("postgresql://reader:secret@db:5433/ml?sslmode=disable")["url"]
    'db:5433'
    """
    try:
        parts = conninfo_to_dict(database_url)
        host, database, user = str(parts["host"]), str(parts["dbname"]), str(parts["user"])
    except (ProgrammingError, KeyError):
        remedy = "give it as postgresql://user:password@host:5432/database"
        raise ConfigurationError("is no URL of a database", where="--database", remedy=remedy) from None
    address = f"{host}:{parts.get('port', 5432)}"
    return data_source(address, database, user, str(parts.get("password", "")), str(parts.get("sslmode", "require")))


def _put_data_source(api: Any, source: dict[str, object]) -> None:
    if _absent(api.datasource.get_datasource_by_uid, DATA_SOURCE_UID):
        api.datasource.create_datasource(source)
    else:
        api.datasource.update_datasource_by_uid(DATA_SOURCE_UID, source)


def _absent(get: Any, uid: str) -> bool:
    """Tell whether Grafana has nothing of that uid."""
    try:
        get(uid)
    except GrafanaClientError as error:
        if error.status_code != NOT_FOUND:
            raise
        return True
    return False


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Tell what goes wrong with Grafana as errors of ours."""
    where = f"grafana at {address}"
    try:
        yield
    except GrafanaTimeoutError:
        raise ServiceUnavailableError("does not answer in time", where=where, remedy="check it, or wait") from None
    except GrafanaException as error:
        raise _refused(error, where) from None
    except TooManyRedirects:
        remedy = "give the address that it leads to, if that is Grafana's"
        raise ConfigurationError("answers with a redirect", where=where, remedy=remedy) from None
    except SSLError as error:
        what = f"its certificate is not trusted{_reason(error)}"
        raise ConfigurationError(what, where=where, remedy="check --url") from None
    except (JSONDecodeError, AttributeError, KeyError, TypeError):
        raise ConfigurationError("answers, but not as Grafana does", where=where, remedy=REMEDIES[NOT_FOUND]) from None
    except (RequestException, OSError) as error:
        raise ServiceUnavailableError(
            f"can't be reached{_reason(error)}", where=where, remedy="check --url and the server"
        ) from None


def _reason(error: BaseException) -> str:
    """Return what the system said; the client wraps it several times, in words about its own objects."""
    said = ""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and not isinstance(inner, RequestException):
            said = inner.strerror or str(inner)
        inner = inner.__cause__ or inner.__context__
    return f": {' '.join(said.split())}" if said else ""


def _refused(error: GrafanaException, where: str) -> DriftlineError:
    body = error.response
    said = " ".join(str(body.get("message", "") if isinstance(body, dict) else "").split())
    what = f"answers {error.status_code}{f', {said}' if said else ''}"
    if isinstance(error, GrafanaServerError) or error.status_code == TOO_MANY_REQUESTS:
        return ServiceUnavailableError(what, where=where, remedy="wait or repair it, then run this again")
    return ConfigurationError(what, where=where, remedy=REMEDIES.get(error.status_code, "check --url and the token"))
