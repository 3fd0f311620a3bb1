"""What a command costs, with everything that it starts: CPU, wall time, peak memory.

The command runs below a process of its own (this file as a script) that adopts orphans (PR_SET_CHILD_SUBREAPER) and
waits for every descendant, so that `wait4` tells the CPU of the whole tree, short-lived helpers included. Memory is
sampled: the sum of the proportional set sizes (PSS) of all processes alive.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_SUBREAPER: Final = 36
_SAMPLE_SECONDS: Final = 0.2
_LINGER_SECONDS: Final = 60.0
"""Helpers may outlive the command by so long; then they are ended."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run took.

    Attributes:
        status: Exit status of the command.
        began: When it was started, Unix time.
        wall: Seconds until the command ended.
        user, system: CPU seconds of all its processes.
        peak_pss, peak_rss: Bytes, summed over the processes alive at one time; RSS counts shared pages repeatedly.
    """

    status: int
    began: float
    wall: float
    user: float
    system: float
    peak_pss: int
    peak_rss: int

    @property
    def cpu(self) -> float:
        """User and system together, seconds."""
        return self.user + self.system


def run_measured(
    command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path, limit: float = 3600.0
) -> Usage:
    """Run `command` in `folder`; its output goes to the end of `log`.

    Raises:
        RuntimeError: it could not be started, or ran longer than `limit` seconds.
    """
    with tempfile.TemporaryDirectory() as scratch, log.open("ab") as output:
        result = Path(scratch) / "usage.json"
        done = subprocess.run(
            [sys.executable, __file__, str(result), str(limit), *command],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
        if done.returncode or not result.exists():
            raise RuntimeError(f"{command[0]}: not measured (status {done.returncode}); see {log}")
        return Usage(**json.loads(result.read_text()))


def _main(result: Path, limit: float, command: list[str]) -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    peak = _Peak()
    began, clock = time.time(), time.perf_counter()
    # Not Popen.wait but wait4 collects it, with the figures of all that it has waited for itself.
    child = os.posix_spawnp(command[0], command, os.environ)
    sampler = threading.Thread(target=peak.watch, daemon=True)
    sampler.start()
    overdue = threading.Timer(limit, _end_all)
    overdue.daemon = True
    overdue.start()
    status, wall, user, system = 0, 0.0, 0.0, 0.0
    linger: threading.Timer | None = None
    while True:
        try:
            pid, state, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        user += usage.ru_utime
        system += usage.ru_stime
        if pid == child:
            wall = time.perf_counter() - clock
            status = os.waitstatus_to_exitcode(state)
            linger = threading.Timer(_LINGER_SECONDS, _end_all)
            linger.daemon = True
            linger.start()
    peak.stop()
    if wall >= limit:
        return 1
    figures = Usage(status, began, wall, user, system, peak.pss, peak.rss)
    result.write_text(json.dumps(asdict(figures)))
    return 0


def _end_all() -> None:
    for pid in _descendants():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _descendants() -> Iterator[int]:
    """Processes below this one."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children[parent].append(int(entry.name))
    queue = children[os.getpid()]
    while queue:
        pid = queue.pop()
        queue += children[pid]
        yield pid


class _Peak:
    """The most memory seen at one time, bytes."""

    def __init__(self) -> None:
        self.pss = self.rss = 0
        self._ended = threading.Event()

    def watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            pss = rss = 0
            for pid in _descendants():
                with suppress(OSError, ValueError, IndexError):
                    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                        if line.startswith("Pss:"):
                            pss += int(line.split()[1]) * 1024
                        elif line.startswith("Rss:"):
                            rss += int(line.split()[1]) * 1024
            self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)

    def stop(self) -> None:
        self._ended.set()


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
