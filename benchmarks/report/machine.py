"""On which machine was it measured?"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring.usage import MIB


def describe_machine() -> dict[str, Any]:
    """Return what explains a rate: processors, memory, system, Python."""
    return {
        "cpu": _processor(),
        "cores": psutil.cpu_count(),
        "memory_mib": psutil.virtual_memory().total // MIB,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine_text(machine: Mapping[str, Any]) -> str:
    """Write what `describe_machine` found in one line."""
    memory = f"{machine['memory_mib'] / 1024:.0f} GiB"
    return f"{machine['cpu']}, {machine['cores']} cores, {memory}, {machine['system']}, Python {machine['python']}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
