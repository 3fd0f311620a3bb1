"""CPU seconds of this process and of others that it has started, from /proc (proc(5))."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Place of `utime` behind the name in /proc/PID/stat; `stime`, `cutime` and `cstime` follow."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of this process, of `pids`, and of all children of these that have ended."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended: its parent counts it
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[_UTIME : _UTIME + 4])) / _TICKS
    return total
