"""Is what is said of containers true of the files: valid, pinned, closed to the outside, enough to be built from?"""

import json
import re
import shlex
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from driftline import __version__
from driftline.settings import load_settings
from tests.support.compose import compose_file

COMPOSE = compose_file()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"^[a-z/]+:[0-9]+(\.[0-9]+)+(-\w+)*@sha256:[0-9a-f]{64}$")


def test_the_compose_file_is_valid_by_the_specification() -> None:
    spec = find_spec("check_jsonschema")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text())

    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_may_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert PINNED.match(service["image"]) or service["image"] == f"driftline:{__version__}"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name == "kafka"
    assert "mem_limit" in service
    assert "pids_limit" in service
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices", "env_file"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_or_runs_once_and_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    once = service["restart"] == "no"

    assert service["healthcheck"] == {"disable": True} if once else service["healthcheck"]["test"][0] == "CMD"
    for other, condition in service.get("depends_on", {}).items():
        needed = "service_completed_successfully" if SERVICES[other]["restart"] == "no" else "service_healthy"
        assert condition == {"condition": needed}, other


def test_the_services_that_were_promised_are_there() -> None:
    assert {"kafka", "postgres", "grafana", "migrate", "worker", "relay", "traffic", "retraining"} <= SERVICES.keys()
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    named = {volume.partition(":")[0] for of in SERVICES.values() for volume in of.get("volumes", [])}
    assert {volume for volume in named if not volume.startswith(".")} == COMPOSE["volumes"].keys()


def test_every_password_is_a_variable(project: Path) -> None:
    text = (project / "docker-compose.yml").read_text()

    passwords = re.findall(r"(?:PASSWORD: |password=|postgresql://\w+:)([^\s@]+)", text)
    assert len(passwords) == 6
    assert all(re.match(r"\$\{DRIFTLINE_(POSTGRES|WRITER|READER)_PASSWORD:-\w+\}", password) for password in passwords)


def test_only_what_migrates_connects_as_the_owner_and_only_what_needs_the_store_has_a_way_to_it() -> None:
    urls = {name: of.get("environment", {}).get("DRIFTLINE__POSTGRES__URL", "") for name, of in SERVICES.items()}
    users = {name: url.split("//")[1].split(":")[0] for name, url in urls.items() if url}

    assert users == {"migrate": "driftline", "worker": "driftline_writer", "relay": "driftline_writer"}
    assert SERVICES["grafana"]["environment"]["DRIFTLINE_GRAFANA_USER"] == "driftline_reader"
    assert {"--roles", "--roles-prefix=driftline"} <= set(SERVICES["migrate"]["command"])


def test_the_configuration_of_the_services_is_valid_and_theirs(project: Path) -> None:
    environment = SERVICES["worker"]["environment"]
    settings = load_settings(project / "examples" / "compose" / "monitor.yaml", environment)

    assert settings.kafka is not None
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.postgres is not None
    assert settings.postgres.place == "postgres:5432/driftline"


def instructions(project: Path) -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what they say, with continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", (project / "Dockerfile").read_text()).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")]


def test_the_image_is_pinned_runs_as_nobody_and_copies_all_our_packages_and_nothing_else(project: Path) -> None:
    steps = instructions(project)
    last_stage = steps[max(place for place, (word, _) in enumerate(steps) if word == "FROM") :]
    copied = [
        word for step, rest in steps if step == "COPY" and "--from" not in rest for word in shlex.split(rest)[:-1]
    ]
    allowed = [line[1:] for line in (project / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    patterns = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"][
        "include"
    ]
    packages = {pattern.rstrip("*") for pattern in patterns if (project / pattern.rstrip("*") / "__init__.py").exists()}

    assert [PINNED.match(rest.removeprefix("PYTHON=")) for step, rest in steps if step == "ARG"] != [None]
    assert {rest.split()[0] for step, rest in steps if step == "FROM"} == {"${PYTHON}"}
    assert ("USER", "10001:10001") in last_stage
    assert sorted(copied) == sorted(allowed)
    assert all((project / name).exists() for name in copied)
    assert packages <= set(copied)
    assert not any("pip install" in rest or "apt-get" in rest for _, rest in last_stage)
    assert all("--require-hashes" in rest or "--no-index" in rest for _, rest in steps if "pip install" in rest)


def test_the_lock_holds_all_that_is_needed_each_with_a_hash(project: Path) -> None:
    entries = re.findall(r"^([a-z0-9._-]+)==(\S+)([^\n]*)\n((?:    --hash=sha256:\S+[^\n]*\n?)+)",
                         (project / "requirements.lock").read_text(), re.M)  # fmt: skip
    locked = {canonicalize_name(name): version for name, version, _, _ in entries}
    lines = [line for line in (project / "requirements.lock").read_text().splitlines() if line and line[0] not in " #"]
    project_needs = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]

    assert len(lines) == len(entries)
    for need in map(Requirement, project_needs):
        assert need.specifier.contains(locked[canonicalize_name(need.name)], prereleases=True), need


def test_the_tool_that_makes_the_wheel_is_taken_from_the_lock_with_its_hashes(project: Path) -> None:
    (program,) = re.findall(r"awk '([^']+)' requirements-dev\.lock", (project / "Dockerfile").read_text())
    told = subprocess.run(
        ["awk", program, "requirements-dev.lock"], cwd=project, capture_output=True, text=True, check=True
    )

    first, *rest = told.stdout.rstrip().splitlines()
    assert re.match(r"setuptools==\d", first)
    assert rest
    assert all(re.match(r" +--hash=sha256:[0-9a-f]{64}", line) for line in rest)
