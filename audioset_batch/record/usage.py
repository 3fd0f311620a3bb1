"""What tasks have held and used, as recorded by themselves in one small file for each shard that a task begins with.

Informative, and used to estimate the next reservation. A kill loses the last two minutes; nothing depends on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audioset_batch import untrusted
from audioset_batch.config import Config
from audioset_batch.config.reservation import estimated_cpu_seconds
from audioset_batch.errors import StorageUnusable, UnsafePath
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.reasons import Status
from audioset_batch.record.cputime import cpu_seconds
from audioset_batch.sharedfs.folders import Folder, read_file
from audioset_batch.sharedfs.publish import atomic_write_json, make_folders, storage
from audioset_batch.slurm.job import given

FORMAT: Final = 1
"""Format version of the file, incremented if older versions would misread it. They ignore later formats."""

_MAX_BYTES: Final = 1 << 16
_MAX_TASKS: Final = 32
"""Most tasks in one file; the oldest are added up."""
_FEWEST_SEGMENTS: Final = 100
"""Fewest segments from which the CPU time of one is measured."""
_JOB_ID: Final = re.compile(r"(\d{1,12}(_\d{1,9})?)?")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUsage:
    """All runs of one task.

    Attributes:
        job_id: `123_4` in an array, `123` otherwise, "" outside SLURM and for older tasks that are added up.
        runs: Number of runs, including those after a requeue.
        began_at, updated_at: UTC, ISO 8601, by the clock of its node.
        cpus, mem_mb: CPUs and MiB that SLURM allocated to the last run; 0: unknown, or outside SLURM.
        seconds: Duration of all runs.
        core_seconds, mb_seconds: What SLURM allocated, times how long it was held.
        cpu_seconds: CPU time of all processes.
        estimated_cpu_seconds: Estimate for one segment with the config of the last run.
        segments, clips: Rows written, and those of them that are ok.
    """

    job_id: str = ""
    runs: int = 1
    began_at: str = ""
    updated_at: str = ""
    cpus: int = 0
    mem_mb: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    mb_seconds: float = 0.0
    cpu_seconds: float = 0.0
    estimated_cpu_seconds: float = 0.0
    segments: int = 0
    clips: int = 0

    @property
    def began(self) -> datetime.datetime | None:
        """`began_at` as a time; None if it is invalid."""
        return _moment(self.began_at)

    @property
    def updated(self) -> datetime.datetime | None:
        """`updated_at` as a time; None if it is invalid."""
        return _moment(self.updated_at)


_SUMS: Final = ("runs", "seconds", "core_seconds", "mb_seconds", "cpu_seconds", "segments", "clips")


def read_usage(data: DataDir) -> list[TaskUsage]:
    """Read the usage of all tasks; invalid files are skipped.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    found: list[TaskUsage] = []
    with storage(data.root):
        try:
            with Folder(data.usage) as folder:
                for name in sorted(folder.names()):
                    if name.endswith(".json") and not name.startswith("."):
                        with contextlib.suppress(ValueError, TypeError, FileNotFoundError, PermissionError, UnsafePath):
                            found += _parse(folder.read(name, _MAX_BYTES)[0])
        except (FileNotFoundError, PermissionError, UnsafePath):
            return []
    return found


def cpu_seconds_per_segment(tasks: Sequence[TaskUsage], estimate: float) -> float | None:
    """CPU seconds per segment, measured by tasks with the same estimate; None for fewer than 100 segments."""
    alike = [task for task in tasks if abs(task.estimated_cpu_seconds - estimate) < 1e-6]
    segments = sum(task.segments for task in alike)
    used = sum(task.cpu_seconds for task in alike)
    return used / segments if segments >= _FEWEST_SEGMENTS and used > 0 else None


def measured_cpu_seconds(data: DataDir, config: Config) -> float | None:
    """CPU seconds per segment, measured by this data directory's tasks with such a config; None if there are too few.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    return cpu_seconds_per_segment(read_usage(data), estimated_cpu_seconds(config))


class UsageNote:
    """Records what this run of a task holds and uses, as long as it is open; a failing filesystem is not an error.

    Args:
        data: The data directory.
        shard: The first shard of the task.
        job_id: As in `TaskUsage`.
        estimated_cpu_seconds: As in `TaskUsage`.
        every: Seconds between two writes.
        pids: Returns the ids of the processes that count besides this one.
        environ: Environment with SLURM's variables.
    """

    def __init__(
        self,
        data: DataDir,
        shard: ShardId,
        job_id: str,
        *,
        estimated_cpu_seconds: float,
        every: float,
        pids: Callable[[], Sequence[int]],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.rows: Counter[Status] = Counter()
        """Rows written by this run, by status; `ShardCounts.record` increments them."""
        self._data = data
        self._path = data.usage_of(shard)
        self._every = every
        self._pids = pids
        cpus, mem_mb = given(environ) if job_id else (0, 0)
        self._run = TaskUsage(
            job_id=job_id,
            began_at=_now(),
            cpus=cpus,
            mem_mb=mem_mb,
            estimated_cpu_seconds=estimated_cpu_seconds,
        )
        self._began = time.monotonic()
        self._before: TaskUsage | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_noting, name="usage", daemon=True)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
            make_folders(self._path.parent, self._data.root)
        self._before = next((task for task in _read(self._path) if task.job_id == self._run.job_id), None)
        self._note()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._note()

    def _keep_noting(self) -> None:
        while not self._ended.wait(self._every):
            self._note()

    def _note(self) -> None:
        seconds = time.monotonic() - self._began
        now = dataclasses.replace(
            self._run,
            updated_at=_now(),
            seconds=seconds,
            core_seconds=seconds * self._run.cpus,
            mb_seconds=seconds * self._run.mem_mb,
            cpu_seconds=max(self._run.cpu_seconds, cpu_seconds(self._pids())),
            segments=self.rows.total(),
            clips=self.rows[Status.OK],
        )
        self._run = now
        mine = now if self._before is None else _added(self._before, now)
        # Read again each time: a second task that finds the shard held writes here, too.
        others = [task for task in _read(self._path) if task.job_id != mine.job_id]
        values = {"format": FORMAT, "tasks": [_rounded(task) for task in [*_fewer(others), mine]]}
        try:
            atomic_write_json(self._path, values)
        except (OSError, StorageUnusable, UnsafePath) as error:
            _log.debug("usage is not noted: %s", error)


def _read(path: Path) -> list[TaskUsage]:
    try:
        return _parse(read_file(path, _MAX_BYTES))
    except (OSError, StorageUnusable, UnsafePath, ValueError, TypeError):
        return []


def _parse(content: bytes) -> list[TaskUsage]:
    """Decode a usage file; raises ValueError or TypeError if it is invalid."""
    values = untrusted.load_object(content)
    if untrusted.whole(values.get("format", FORMAT), 1, 10**6) > FORMAT:
        raise ValueError("of a later version")
    listed = values["tasks"] if isinstance(values.get("tasks"), list) else []
    if len(listed) > 2 * _MAX_TASKS:
        raise ValueError("too many tasks")
    tasks = [TaskUsage(**untrusted.fields_of(TaskUsage, one)) for one in listed]
    for task in tasks:
        if not _JOB_ID.fullmatch(task.job_id) or any(getattr(task, name) < 0 for name in _SUMS):
            raise ValueError("no usage of a task")
    return tasks


def _fewer(tasks: list[TaskUsage]) -> list[TaskUsage]:
    """Add up the oldest tasks until there is room for one more."""
    while len(tasks) >= _MAX_TASKS:
        first, second, *rest = tasks
        tasks = [dataclasses.replace(_added(first, second), job_id=""), *rest]
    return tasks


def _added(before: TaskUsage, after: TaskUsage) -> TaskUsage:
    sums = {name: getattr(before, name) + getattr(after, name) for name in _SUMS}
    return dataclasses.replace(after, began_at=before.began_at or after.began_at, **sums)


def _rounded(task: TaskUsage) -> dict[str, object]:
    values = dataclasses.asdict(task)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
