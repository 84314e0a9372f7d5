"""Do the laws of every door hold for the corpus and for many messages made of it, and would a broken law be seen?

A hundred thousand messages here, on a seed; `make fuzz` sends ten million, chosen by what they reach.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.decode import decoder
from tests.fuzz.__main__ import CORPUS, SHARES, send
from tests.fuzz.doors import DOORS

MESSAGES = 100_000


def test_every_door_has_a_corpus_and_a_share_and_the_corpus_has_no_other() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == DOORS.keys() == SHARES.keys()
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_a_hundred_thousand_mutated_messages_break_no_law(project: Path, tmp_path: Path) -> None:
    # In a process of its own, so that what would end or swell a worker ends or swells that.
    words = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--messages", str(MESSAGES)]
    ran = subprocess.run(words, cwd=tmp_path, env={"PYTHONPATH": str(project)}, capture_output=True, text=True)

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    told = re.fullmatch(r"([0-9]+) messages, 0 broken laws", ran.stdout.splitlines()[-1])
    assert told is not None, ran.stdout
    assert int(told[1]) >= MESSAGES


def test_a_broken_law_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(decoder._Fetch, "_count_empty", lambda *_: None)  # messages end as nothing

    _, broken = send("decode", 2_000, seed=1)

    assert broken > 0
    assert len(list((tmp_path / ".cache" / "fuzz" / "broken").iterdir())) == broken
