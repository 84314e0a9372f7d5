"""Configurations as texts: loaded from a file, or refused with what is wrong about them."""

import os
from pathlib import Path
from textwrap import dedent

import pytest

from driftline.errors import ConfigurationError
from driftline.settings import Settings, load_settings

MODEL = "models: {m: {task: binary, reference: {first_events: 1000}}}\n"


def load(config: Path, text: str, **environ: str) -> Settings:
    """Write a configuration's file and load it."""
    config.write_text(dedent(text))
    return load_settings(config, environ)


def problems(config: Path, text: str, **environ: str) -> list[str]:
    """Return what is wrong about a configuration; files are named as from its folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(config, text, **environ)
    return [problem.removeprefix(f"{config.parent}{os.sep}") for problem in caught.value.problems]
