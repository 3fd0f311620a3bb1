"""Keeps one task per shard in the queue until every shard is finished, as an operator with much patience does."""

import random
import time
from pathlib import Path

from loopback import Project
from slurm_cluster import PrivateSlurm, SlurmError, Task
from slurm_cluster.processes import ProcessId

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows

CHECKOUT = Path(__file__).resolve().parents[2]
HURRY_SECONDS = 8.0


class ShardJobs:
    """The tasks of one data directory on one cluster; `tend` resubmits what ended."""

    def __init__(self, slurm: PrivateSlurm, project: Project, shards: int) -> None:
        self.slurm = slurm
        self.project = project
        self.shards = shards
        self.data = DataDir(project.data)
        self.finished: set[int] = set()
        self.submissions = 0
        self.restarts = 0
        self.endings: dict[str, int] = {}
        self.storage_full = False
        self._job: dict[int, int] = dict.fromkeys(range(1, shards + 1), self._submit(f"1-{shards}"))
        self._known_restarts: dict[str, int] = {}
        self._hurried: dict[str, float] = {}

    def _submit(self, array: str) -> int:
        self.submissions += 1
        env = self.project.env | {
            "AUDIOSET_CONFIG": str(self.project.config),
            "DATADIR": str(self.project.data),
            "SRCDIR": str(CHECKOUT),
        }
        script = str(CHECKOUT / "audiosetdl-job-array.s")
        shape = (f"--array={array}", "--cpus-per-task=2", "--mem=500M")
        return self.slurm.sbatch(*shape, script, cwd=self.project.folder, env=env)

    def tasks(self) -> dict[int, Task]:
        """The present task of each shard."""
        found = {(task.job_id, task.index): task for task in self.slurm.squeue()}
        return {shard: found[job, shard] for shard, job in self._job.items() if (job, shard) in found}

    def running(self) -> list[Task]:
        """Tasks that run now."""
        return [task for task in self.tasks().values() if task.state == "RUNNING"]

    def tend(self) -> bool:
        """Resubmit what ended unfinished, let wait what has no reason to; True when every shard is finished."""
        for shard, task in self.tasks().items():
            self._note_restarts(task)
            if task.finished:
                self._ended(shard, task)
            elif task.state == "PENDING":
                self._hurry(task)
        return len(self.finished) == self.shards

    def _ended(self, shard: int, task: Task) -> None:
        if shard in self.finished:
            return
        how = f"{task.state} {task.signal or task.exit_code}"
        self.endings[how] = self.endings.get(how, 0) + 1
        if task.state == "COMPLETED" and task.exit_code == 0:
            self.finished.add(shard)
        elif not self.storage_full:
            self._job[shard] = self._submit(str(shard))

    def _hurry(self, task: Task) -> None:
        """Release what SLURM holds after a failed launch, start what waits for a disk that has room again."""
        if "held" in task.reason.lower():
            self._try("release", task.name)
        elif task.reason == "BeginTime" and not self.storage_full:
            # Asking again and again would put it off again and again; once may be before the worker's own wish.
            now = time.monotonic()
            if now - self._hurried.get(task.name, float("-inf")) > HURRY_SECONDS:
                self._hurried[task.name] = now
                self._try("update", f"JobId={task.name}", "StartTime=now+2")

    def _try(self, *command: str) -> None:
        try:
            self.slurm.scontrol(*command)
        except SlurmError as error:
            print(f"    {error}".splitlines()[0])

    def _note_restarts(self, task: Task) -> None:
        known = self._known_restarts.get(task.name, 0)
        if task.restarts > known:
            self.restarts += task.restarts - known
            self._known_restarts[task.name] = task.restarts

    def recorded(self) -> int:
        """Segments that have a row of any status."""
        return sum(
            len({(row["ytid"], row["start_seconds"]) for row in read_rows(self.data.manifest(shard), lambda _: None)})
            for shard in self.data.recorded_shards()
        )

    def coordinator(self, task: Task) -> ProcessId | None:
        """The worker's own process, which is the batch process."""
        return next((one for one in self._processes(task) if b"--task" in _cmdline(one)), None)

    def child(self, task: Task, rng: random.Random) -> ProcessId | None:
        """One of the processes that decode."""
        servers = [one for one in self._processes(task) if any(b"forkserver" in word for word in _cmdline(one))]
        pids = {one.pid for one in servers}
        children = [one for one in servers if _parent(one) in pids]
        return rng.choice(children) if children else None

    def _processes(self, task: Task) -> list[ProcessId]:
        try:
            return self.slurm.processes_of(task.name)
        except (SlurmError, ProcessLookupError):
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
