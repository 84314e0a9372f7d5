"""Is what `driftline migrate` is given for its roles understood, or refused in words before any server is asked?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from driftline.cli import main
from driftline.settings import load_settings

WRITER = "DRIFTLINE_WRITER_PASSWORD"


def migrate(folder: Path, *words: str, **environment: str) -> Result:
    """Run it where no server is: what gets as far as that ends with 4."""
    config = folder / "monitor.yaml"
    config.write_text(
        "postgres: {url: 'postgresql://127.0.0.1:1/ml'}\nmodels: {m: {task: binary, reference: {first_events: 9}}}\n"
    )
    assert load_settings(config, {}).postgres
    return CliRunner(env=environment).invoke(main, ["migrate", *words, "--config", str(config)], prog_name="driftline")


@pytest.mark.parametrize("text", ["hunter2", "hunter2\n", "hunter2\r\n", " hunter 2 "])
def test_a_file_holds_a_password_and_may_end_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(text.encode())

    assert migrate(tmp_path, "--roles", **{f"{WRITER}_FILE": str(file)}).exit_code == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hunter2\nhunter3\n", "is more than one line"),
        ("hunter2\n\n", "is more than one line"),
        ("\nhunter2", "is more than one line"),
        ("hunter2\rhunter3", "is more than one line"),
        ("hunter2\0hunter3", "is more than one line"),
        ("", "is empty"),
        ("\n", "is empty"),
    ],
)
def test_a_file_that_holds_more_or_less_is_refused_by_its_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(text.encode())

    done = migrate(tmp_path, "--roles", **{f"{WRITER}_FILE": str(file)})

    assert done.exit_code == 2
    assert done.stderr.startswith(f"driftline: error: {WRITER}_FILE: {file}: {told}; ")
    assert "hunter" not in done.output


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({WRITER: ""}, f"{WRITER}: is empty; give a password, or leave it out"),
        ({WRITER: "hunter2\nhunter3"}, f"{WRITER}: is more than one line; give the password and nothing else"),
        ({f"{WRITER}_FILE": "none"}, f"{WRITER}_FILE: none: No such file or directory; name a file with the password"),
        ({WRITER: "hunter2", f"{WRITER}_FILE": "none"}, f"{WRITER}: is set beside {WRITER}_FILE; set one of them"),
        ({WRITER: "", f"{WRITER}_FILE": ""}, f"{WRITER}: is set beside {WRITER}_FILE; set one of them"),
    ],
)
def test_no_variable_wins_in_silence(tmp_path: Path, environment: dict[str, str], told: str) -> None:
    done = migrate(tmp_path, "--roles", **environment)

    assert (done.exit_code, done.stderr) == (2, f"driftline: error: {told}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--roles-prefix", "acme"],
            "driftline migrate: --roles-prefix is for --roles only; see `driftline migrate --help`",
        ),
        (["--roles", "--roles-prefix", "Mine; drop"], "--roles-prefix: 'Mine; drop' can't begin a name; use small"),
    ],
)
def test_a_prefix_that_can_not_be_used_is_refused(tmp_path: Path, words: list[str], told: str) -> None:
    done = migrate(tmp_path, *words)

    assert done.exit_code == 2
    assert done.stderr.startswith(f"driftline: error: {told}")


def test_a_prefix_may_be_chosen_for_roles(tmp_path: Path) -> None:
    assert migrate(tmp_path, "--roles", "--roles-prefix", "acme").exit_code == 4
