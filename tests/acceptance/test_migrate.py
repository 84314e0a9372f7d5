"""Does `driftline migrate`, as a real process, make a database ready and say plainly why it cannot?"""

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from driftline.store.migrate import migrations

NEWEST = migrations()[-1].version


def configuration(folder: Path, url: str | None) -> Path:
    """Write the smallest configuration that names a database."""
    postgres = f'postgres: {{url: "{url}"}}\n' if url else ""
    file = folder / "monitor.yaml"
    file.write_text(f"{postgres}models:\n  m: {{task: binary, reference: {{first_events: 100}}}}\n")
    return file


def driftline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftline.cli", *arguments], cwd=folder, capture_output=True, text=True
    )


def test_an_empty_database_is_made_ready_and_a_second_time_there_is_nothing_to_do(
    tmp_path: Path, postgres_url: str
) -> None:
    configuration(tmp_path, postgres_url)

    first, second = driftline(tmp_path, "migrate"), driftline(tmp_path, "migrate")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[0] == "applied 0001 initial"
    assert first.stdout.splitlines()[-1].endswith(f"schema version {NEWEST}, up to date")
    assert second.stdout.splitlines() == first.stdout.splitlines()[-1:]
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from driftline.v_drift").fetchone() == (0,)


def test_a_program_is_told_in_one_object(tmp_path: Path, postgres_url: str) -> None:
    configuration(tmp_path, postgres_url)

    told = [json.loads(driftline(tmp_path, "migrate", "--json").stdout) for _ in range(2)]

    assert told[0] == {
        "schema_version": NEWEST,
        "applied": [{"version": step.version, "name": step.name} for step in migrations()],
    }
    assert told[1] == {"schema_version": NEWEST, "applied": []}


def test_a_role_without_the_right_ends_with_3_and_what_to_grant(tmp_path: Path, postgres_url: str) -> None:
    configuration(tmp_path, re.sub(r"//[^@]*@", "//reader:hunter2@", postgres_url))
    with psycopg.connect(postgres_url) as owner:
        owner.execute("create role reader login password 'hunter2'")
    try:
        result = driftline(tmp_path, "migrate")
    finally:
        with psycopg.connect(postgres_url) as owner:
            owner.execute("drop role reader")

    [line] = result.stderr.splitlines()
    assert result.returncode == 3
    assert line.startswith("driftline: error: postgres at 127.0.0.1:")
    assert "grant create on database" in line
    assert "hunter2" not in line


def test_a_newer_database_ends_with_3(tmp_path: Path, postgres_url: str) -> None:
    configuration(tmp_path, postgres_url)
    driftline(tmp_path, "migrate")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("insert into driftline.migration (version, name) values (999, 'of_the_future')")

    result = driftline(tmp_path, "migrate")

    assert result.returncode == 3
    assert "upgrade driftline" in result.stderr


def test_a_server_that_is_not_there_ends_with_4_and_hides_the_password(tmp_path: Path, free_port: int) -> None:
    configuration(tmp_path, f"postgresql://me:hunter2@127.0.0.1:{free_port}/ml")

    result = driftline(tmp_path, "migrate")

    [line] = result.stderr.splitlines()
    assert result.returncode == 4
    assert line.startswith(f"driftline: error: postgres at 127.0.0.1:{free_port}/ml: can't connect: ")
    assert "refused" in line
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--config", "other.yaml"]])
def test_a_configuration_without_a_database_or_none_at_all_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    configuration(tmp_path, None)

    result = driftline(tmp_path, "migrate", *arguments)

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_help_says_what_it_does_and_which_right_it_needs(tmp_path: Path) -> None:
    told = " ".join(driftline(tmp_path, "migrate", "--help").stdout.split())

    assert "must be allowed to create schemas" in told
    assert "nothing is ever dropped" in told
