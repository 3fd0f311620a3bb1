"""Too little memory for a task: a control group with a limit, where we may make one, so that the kernel kills."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.slurm_cluster.processes import ProcessId

_GROUPS = Path("/sys/fs/cgroup/memory")
_LIMIT = 6 << 20


class MemoryLimit:
    """What the processes of a task take from now on, and those that they start, is limited to a few MB."""

    def __init__(self, processes: Sequence[ProcessId]) -> None:
        self._group = _GROUPS / f"chaos-{os.getpid()}-{processes[0].pid}"
        self.made = False
        with suppress(OSError):
            self._group.mkdir()
            (self._group / "memory.limit_in_bytes").write_text(str(_LIMIT))
            self.made = True
            for process in processes:
                with suppress(OSError):  # gone meanwhile
                    (self._group / "cgroup.procs").write_text(str(process.pid))

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed here."""
        with suppress(OSError):
            for line in (self._group / "memory.oom_control").read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def lift(self) -> int:
        """Give the memory back; returns the number of kills."""
        kills = self.kills
        with suppress(OSError):
            (self._group / "memory.limit_in_bytes").write_text("-1")
            own = Path("/proc/self/cgroup").read_text().splitlines()
            home = next((line.split(":", 2)[2] for line in own if line.split(":")[1] == "memory"), "/")
            for pid in (self._group / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (_GROUPS / home.lstrip("/") / "cgroup.procs").write_text(pid)
            self._group.rmdir()
        return kills


def kill_as_the_kernel(processes: Sequence[ProcessId]) -> ProcessId | None:
    """KILL the process that the kernel would choose; None if none is left."""
    scores = {}
    for process in processes:
        with suppress(OSError, ValueError):
            scores[process] = int(Path(f"/proc/{process.pid}/oom_score").read_text())
    if not scores:
        return None
    chosen = max(scores, key=lambda process: scores[process])
    chosen.signal(signal.SIGKILL)
    return chosen
