"""A worker as a process of its own that tests can watch and hurt."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows
from tests.support.loopback import Project
from tests.support.waiting import wait_until


def stat_fields(pid: int) -> list[str]:
    """State, parent's pid and so on, from /proc/PID/stat; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """Pids of the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = stat_fields(int(entry.name))
            if fields and fields[0] not in "ZX" and int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def descendants_of(pid: int) -> list[int]:
    """All of them."""
    found = children_of(pid)
    for child in list(found):
        found += descendants_of(child)
    return found


class Worker:
    """`audioset-batch worker --task 1`, started; killed with all it started at the end of the block."""

    def __init__(self, project: Project, task: int | str = 1, prefix: tuple[str, ...] = ()) -> None:
        self.data = DataDir(project.data)
        self.log_path = project.folder / f"worker-{time.monotonic_ns()}.log"
        command = [*prefix, sys.executable, "-m", "audioset_batch", "worker", "--config", str(project.config)]
        command += ["--data-dir", str(project.data), "--task", str(task)]
        self._seen: set[int] = set()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=project.env, cwd=project.folder, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            for pid in [self.process.pid, *descendants_of(self.process.pid)]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(10)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def fork_server(self) -> int:
        """The process whose children decode."""
        return int(wait_until(self._fork_server, "the fork server"))

    def _fork_server(self) -> int | None:
        for child in children_of(self.process.pid):
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"forkserver" in command:
                return child
        return None

    def decoders(self) -> list[int]:
        """The processes that decode, at least one."""
        return list(wait_until(lambda: children_of(self.fork_server()), "a process that decodes"))

    def rows(self) -> list[dict[str, Any]]:
        """Rows of all manifests so far."""
        return [row for shard in self.data.recorded_shards() for row in read_rows(self.data.manifest(shard))]

    def wait_rows(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many rows are written."""
        wait_until(lambda: len(self.rows()) >= count or self.process.poll() is not None, f"{count} rows", seconds)
        assert len(self.rows()) >= count, self.log

    def send(self, number: int) -> None:
        """A signal to the coordinator alone."""
        os.kill(self.process.pid, number)

    def send_all(self, number: int) -> None:
        """A signal to every process of the session, as scancel sends it."""
        os.killpg(self.process.pid, number)

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(seconds)
        assert "Traceback" not in self.log, self.log
        return status
