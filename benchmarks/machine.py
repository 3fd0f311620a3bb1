"""What the figures were taken on, without names of hosts or people."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

_TOOLS = ("audioset-batch", "yt-dlp", "av", "soundfile", "numpy")


def describe(cpus: list[int]) -> dict[str, object]:
    """CPU, cores, memory, system, load and versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_used": len(cpus),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"Linux {platform.release().partition('-')[0]}",
        "load_before": [round(one, 1) for one in os.getloadavg()],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()
