"""Processes of a private cluster: found by what they are, ended by pid, never by name.

SLURM's step daemons leave the process tree of slurmd, so parentage says nothing. What all of them carry is the
environment variable `SLURM_CONF` with the cluster's own folder in it.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

# Below the range from which Linux takes the ports of outgoing connections (32768 and up): none of those takes ours.
PORTS = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid with its start time (clock ticks since boot), which together are never reused."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """Return the identity of a running process; raises ProcessLookupError when there is none."""
        started = _start_time(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        """True while the process runs; a zombie does not."""
        return _start_time(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal, if it is still this process."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    state, started = fields[0], int(fields[19])
    return None if state in "ZX" else started


def with_environment(*wanted: str) -> Iterator[ProcessId]:
    """Yield every process of ours, this one excepted, whose environment holds all of `wanted` (`NAME=value`)."""
    needles = {text.encode() for text in wanted}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # gone meanwhile, or another user's
            if needles <= set((entry / "environ").read_bytes().split(b"\0")):
                yield ProcessId.of(int(entry.name))


def writing_to(path: Path) -> Iterator[ProcessId]:
    """Yield every process of ours, this one excepted, that has the file open."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if any(opened.readlink() == path for opened in (entry / "fd").iterdir()):
                yield ProcessId.of(int(entry.name))


def end(processes: Iterable[ProcessId], *, patience: float) -> None:
    """TERM each process, wait `patience` seconds for all of them, KILL what is left."""
    left = list(processes)
    for process in left:
        process.signal(signal.SIGTERM)
    wait_until_gone(left, patience=patience)
    for process in left:
        process.signal(signal.SIGKILL)
    wait_until_gone(left, patience=2)


def wait_until_gone(processes: Iterable[ProcessId], *, patience: float) -> bool:
    """Wait until none of the processes runs; False when some still do after `patience` seconds."""
    left = list(processes)
    deadline = time.monotonic() + patience
    while any(process.alive for process in left):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """Return distinct ports on 127.0.0.1 that nobody listens on at this moment."""
    chosen: list[int] = []
    with ExitStack() as held:  # all held until the last is found
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(chosen) == count:
                break
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
                chosen.append(port)
    return tuple(chosen)
