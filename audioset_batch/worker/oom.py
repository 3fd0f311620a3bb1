"""How much memory this job may use, and whom the kernel kills first where that is not enough.

Control groups of version 1 and 2: cgroups(7), Documentation/admin-guide/cgroup-v2.rst of Linux; oom_score_adj: proc(5).
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

_MAX_ADJUSTED: Final = 1000
_NO_LIMIT: Final = 1 << 60
_KILLS: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_MEMBERSHIP: Final = re.compile(r"^\d+:([^:\n]*):(.*)$", re.MULTILINE)
_MOUNT: Final = re.compile(r"^\d+ \d+ \S+ (\S+) (\S+) .*? - (cgroup2?) \S+ (\S+)$", re.MULTILINE)
_LIMITS: Final = {"cgroup": ("memory.limit_in_bytes",), "cgroup2": ("memory.max", "memory.high")}
"""Above `memory.high` the kernel slows processes down until they hardly run."""
_EVENTS: Final = {"cgroup": "memory.oom_control", "cgroup2": "memory.events"}


def set_oom_score(pid: int | str, amount: int) -> None:
    """Let the kernel kill process `pid`, and its future children, before this one; that takes no privilege.

    Args:
        pid: Ours.
        amount: In thousandths of the memory that the job may use.
    """
    with contextlib.suppress(OSError, ValueError):
        ours = int(Path("/proc/self/oom_score_adj").read_text())
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(min(_MAX_ADJUSTED, ours + amount)))


def memory_limit_mb(proc: Path = Path("/proc/self")) -> int | None:
    """The least memory, MiB, that the control groups around this process allow; None without a limit."""
    limits = []
    for folder, mount, kind in _groups(proc):
        for group in (folder, *folder.parents):
            for name in _LIMITS[kind]:
                with contextlib.suppress(OSError, ValueError):  # v2 says `max`
                    limits.append(int((group / name).read_text()))
            if group == mount:
                break
    least = min(limits, default=_NO_LIMIT)
    return None if least >= _NO_LIMIT else least >> 20


def oom_kills(proc: Path = Path("/proc/self")) -> int | None:
    """How many processes of the control group of this process were killed for memory; None where that is not told."""
    counts = []
    for folder, _, kind in _groups(proc):
        with contextlib.suppress(OSError):
            counts += [int(number) for number in _KILLS.findall((folder / _EVENTS[kind]).read_text())]
    return sum(counts) if counts else None


def _groups(proc: Path) -> list[tuple[Path, Path, str]]:
    """Folder of the process's memory control group, where its hierarchy is mounted, and the kind of filesystem."""
    try:
        memberships = _MEMBERSHIP.findall((proc / "cgroup").read_text())
        mounts = _MOUNT.findall((proc / "mountinfo").read_text())
    except OSError:
        return []
    found = []
    for root, mount, kind, options in mounts:
        for controllers, path in memberships:
            ours = not controllers if kind == "cgroup2" else "memory" in controllers.split(",")
            if not ours or (kind == "cgroup" and "memory" not in options.split(",")):
                continue
            inside = path if root == "/" else path.removeprefix(root)
            folder = Path(mount) / inside.lstrip("/")
            found.append((folder if folder.is_dir() else Path(mount), Path(mount), kind))
    return found
