"""The last lines of the logs of tasks that did not finish their shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.publish import storage
from audioset_batch.status.collect import Overview, ShardLine
from audioset_batch.untrusted import visible

_TAIL_BYTES: Final = 256 * 1024
_LONGEST_LINE: Final = 4000
_LOCAL: Final = "local"
"""In the names of the logs of `submit --cluster local`, instead of a job id."""
_ENDINGS: Final = ("log", "out", "err")


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of one task's log.

    Attributes:
        job_id: The id of the task; "" without SLURM.
        shards: Shards of the task that stopped, were lost, or have failed segments.
        path: Path of the log; None if none was found.
        lines: Its last lines.
    """

    job_id: str
    shards: Sequence[ShardLine]
    path: Path | None
    lines: Sequence[str]

    @property
    def host(self) -> str:
        """The host of its last run."""
        return self.shards[0].host

    @property
    def restarts(self) -> int:
        """How often SLURM restarted it."""
        return max(line.restarts for line in self.shards)


@dataclass(frozen=True, slots=True)
class Tails:
    """Tails of the most recently active tasks, the latest last. `omitted` is the number of other tasks."""

    tails: Sequence[LogTail]
    omitted: int


def find_logs(data: DataDir, overview: Overview, folders: Iterable[Path], *, most_lines: int, most_tasks: int) -> Tails:
    """A tail for each task whose shards stopped, were lost, or have failed segments.

    Args:
        data: The data directory.
        overview: The overview with the tasks.
        folders: Folders with logs of plain sbatch scripts, besides `DATADIR/logs`, where `submit` writes them.
        most_lines: Maximum number of lines of each log.
        most_tasks: Maximum number of tasks, the most recently active ones.

    Raises:
        StorageUnusable: a log cannot be read.
    """
    troubled: dict[str, list[ShardLine]] = {}
    for line in overview.shards:
        if line.activity in ("stopped", "lost") or (line.seen.counts["failed"] and line.activity != "running"):
            troubled.setdefault(line.job_id or _LOCAL, []).append(line)
    by_time = sorted(troubled.items(), key=lambda item: max(line.active_at or 0.0 for line in item[1]))
    chosen = by_time[max(0, len(by_time) - most_tasks) :]
    places = [data.logs, *folders]
    tails = []
    for stem, shards in chosen:
        path = _log_of(stem, places)
        lines: Sequence[str] = ()
        if path is not None:
            with storage(path.parent):
                lines = _tail(path, most_lines)
        tails.append(LogTail(shards[0].job_id, shards, path, lines))
    return Tails(tails, len(by_time) - len(chosen))


def _log_of(stem: str, folders: Sequence[Path]) -> Path | None:
    """The newest file whose name ends with the id of the task, as `%A_%a` and `submit` name logs."""
    found = [
        path
        for folder in folders
        for ending in _ENDINGS
        for path in folder.glob(f"*-{stem}.{ending}")
        if path.is_file()
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _tail(path: Path, most: int) -> list[str]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    # A log contains text by YouTube and other users, which must not control the terminal.
    return [visible(line.expandtabs(), _LONGEST_LINE) for line in deque(lines, maxlen=most)]
