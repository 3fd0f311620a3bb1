"""Keeps one task per shard in the queue until every shard is finished, as an operator with much patience does."""

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import decode_row
from tests.support import CHECKOUT
from tests.support.loopback import Project
from tests.support.slurm_cluster import PrivateSlurm, SlurmError, Task
from tests.support.slurm_cluster.processes import ProcessId

HURRY_SECONDS = 8.0


@dataclass(frozen=True)
class Ending:
    """How a task ended, and when that was seen (Unix time)."""

    time: float
    shard: int
    how: str


class Sightings:
    """Which rows were seen when; by the clock of this process, since those of the nodes may differ."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._read: dict[Path, tuple[int, int]] = {}
        self._segments: set[tuple[str, float]] = set()
        self.settled: dict[str, float] = {}
        """Video -> when its segment was first seen as ok or unavailable."""
        self.failed: dict[tuple[str, str, str], float] = {}
        """Video, reason and `finished_at` of a `failed` row -> when it was seen."""

    def look(self) -> int:
        """Read what is new; returns of how many segments there was a row at some time."""
        for shard in self._data.recorded_shards():
            with contextlib.suppress(FileNotFoundError):
                for row in self._new_rows(self._data.manifest(shard)):
                    now = time.time()
                    self._segments.add((row["ytid"], row["start_seconds"]))
                    if row["status"] in ("ok", "unavailable"):
                        self.settled.setdefault(row["ytid"], now)
                    elif row["status"] == "failed":
                        self.failed.setdefault((row["ytid"], row["reason"], row["finished_at"]), now)
        return len(self._segments)

    def _new_rows(self, path: Path) -> list[dict[str, Any]]:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            inode, offset = self._read.get(path, (0, 0))
            if facts.st_ino != inode or facts.st_size < offset:
                offset = 0
            file.seek(offset)
            whole = file.read(facts.st_size - offset).rpartition(b"\n")[0]
        self._read[path] = (facts.st_ino, offset + len(whole) + bool(whole))
        return decode_rows(whole)

    def forget(self, ytids: Iterable[str]) -> None:
        """Their rows are gone with a manifest: a worker that finds no row asks again."""
        for ytid in ytids:
            self.settled.pop(ytid, None)


def decode_rows(text: bytes) -> list[dict[str, Any]]:
    """The rows among these lines."""
    rows = []
    for line in text.split(b"\n"):
        with contextlib.suppress(ValueError):
            rows.append(decode_row(line))
    return rows


class ShardJobs:
    """The tasks of one data directory on one cluster; `tend` resubmits what ended."""

    def __init__(self, slurm: PrivateSlurm, project: Project, shards: int, env: dict[str, str]) -> None:
        self.slurm = slurm
        self.project = project
        self.shards = shards
        self.data = DataDir(project.data)
        self.sightings = Sightings(self.data)
        self._env = env
        self.finished: set[int] = set()
        self.doubted: set[int] = set()
        """Shards that are run again although their task may end well: it may have been past its last row."""
        self.submissions = 0
        self.restarts = 0
        self.endings: list[Ending] = []
        self.patience = False
        """Set while nothing would come of another try: a full disk, a state that every task refuses."""
        self.hurrying = True
        """Whether a task that waits for a later start is let begin sooner."""
        self._ended: set[tuple[int, int]] = set()
        self._job: dict[int, int] = dict.fromkeys(range(1, shards + 1), self._submit(f"1-{shards}"))
        self._known_restarts: dict[str, int] = {}
        self._hurried: dict[str, float] = {}

    def _submit(self, array: str) -> int:
        self.submissions += 1
        env = (
            self.project.env
            | self._env
            | {
                "AUDIOSET_CONFIG": str(self.project.config),
                "DATADIR": str(self.project.data),
                "SRCDIR": str(CHECKOUT),
            }
        )
        script = str(CHECKOUT / "audiosetdl-job-array.s")
        shape = (f"--array={array}", "--cpus-per-task=2", "--mem=500M")
        return self.slurm.sbatch(*shape, script, cwd=self.project.folder, env=env)

    def tasks(self) -> dict[int, Task]:
        """The present task of each shard; none while slurmctld does not answer."""
        try:
            found = {(task.job_id, task.index): task for task in self.slurm.squeue()}
        except (SlurmError, subprocess.TimeoutExpired):
            return {}
        return {shard: found[job, shard] for shard, job in self._job.items() if (job, shard) in found}

    def running(self) -> list[Task]:
        """Tasks that run now."""
        return [task for task in self.tasks().values() if task.state == "RUNNING"]

    def tend(self) -> bool:
        """Resubmit what ended unfinished, let wait what has no reason to; True when every shard is finished."""
        for shard, task in self.tasks().items():
            self._note_restarts(task)
            if task.finished:
                self._end(shard, task)
            elif task.state == "PENDING":
                self._hurry(task)
        return len(self.finished) == self.shards

    def _end(self, shard: int, task: Task) -> None:
        if shard in self.finished:
            return
        if (task.job_id, shard) not in self._ended:
            self._ended.add((task.job_id, shard))
            self.endings.append(Ending(time.time(), shard, f"{task.state} {task.signal or task.exit_code}"))
        if task.state == "COMPLETED" and task.exit_code == 0 and shard not in self.doubted:
            self.finished.add(shard)
        elif not self.patience:
            with contextlib.suppress(SlurmError, subprocess.TimeoutExpired):  # slurmctld is silent: later
                self._job[shard] = self._submit(str(shard))
                self.doubted.discard(shard)

    def _hurry(self, task: Task) -> None:
        """Release what SLURM holds after a failed launch, start what waits for a disk that has room again."""
        if "held" in task.reason.lower():
            self._try("release", task.name)
        elif task.reason == "BeginTime" and self.hurrying and not self.patience:
            # Asking again and again would put it off again and again; once may be before the worker's own wish.
            now = time.monotonic()
            if now - self._hurried.get(task.name, float("-inf")) > HURRY_SECONDS:
                self._hurried[task.name] = now
                self._try("update", f"JobId={task.name}", "StartTime=now+2")

    def _try(self, *command: str) -> None:
        try:
            self.slurm.scontrol(*command)
        except (SlurmError, subprocess.TimeoutExpired) as error:
            print(f"    {error}".splitlines()[0])

    def _note_restarts(self, task: Task) -> None:
        known = self._known_restarts.get(task.name, 0)
        if task.restarts > known:
            self.restarts += task.restarts - known
            self._known_restarts[task.name] = task.restarts

    def coordinator(self, task: Task) -> ProcessId | None:
        """The worker's own process, which is the batch process."""
        return next((one for one in self.processes(task) if b"--task" in _cmdline(one)), None)

    def child(self, task: Task, rng: random.Random) -> ProcessId | None:
        """One of the processes that decode."""
        servers = [one for one in self.processes(task) if any(b"forkserver" in word for word in _cmdline(one))]
        pids = {one.pid for one in servers}
        children = [one for one in servers if _parent(one) in pids]
        return rng.choice(children) if children else None

    def processes(self, task: Task) -> list[ProcessId]:
        """All processes of a task that runs."""
        try:
            return self.slurm.processes_of(task.name)
        except (SlurmError, ProcessLookupError, subprocess.TimeoutExpired):
            return []


def _cmdline(process: ProcessId) -> list[bytes]:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _parent(process: ProcessId) -> int:
    try:
        return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
