"""The last lines of the logs of tasks that did not finish their shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.adapters.publish import storage
from audioset_batch.layout import DataDir
from audioset_batch.status.collect import Overview, ShardLine

_TAIL_BYTES: Final = 256 * 1024
_ENDINGS: Final = ("log", "out", "err")


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of one task's log.

    Attributes:
        shards: Those of the task that are not finished.
        path: The log; None if none was found.
        lines: Its last lines.
    """

    job_id: str
    shards: Sequence[ShardLine]
    path: Path | None
    lines: Sequence[str]


def find_logs(data: DataDir, overview: Overview, folders: Iterable[Path], most: int) -> list[LogTail]:
    """A tail for each task whose shards stopped, were lost, or have failed segments.

    Args:
        folders: Where logs of plain sbatch scripts lie; `DATADIR/logs`, where `submit` puts them, is looked at anyway.
        most: Lines of each.

    Raises:
        StorageUnusable: a log cannot be read.
    """
    troubled: dict[str, list[ShardLine]] = {}
    for line in overview.shards:
        if line.activity in ("stopped", "lost") or (line.counts["failed"] and line.activity != "running"):
            troubled.setdefault(line.job_id, []).append(line)
    places = [data.logs, *folders]
    tails = []
    for job, shards in sorted(troubled.items()):
        path = _log_of(job, shards[0].shard.number, places)
        lines: Sequence[str] = ()
        if path is not None:
            with storage(path.parent):
                lines = _tail(path, most)
        tails.append(LogTail(job, shards, path, lines))
    return tails


def _log_of(job: str, shard: int, folders: Sequence[Path]) -> Path | None:
    """The newest of the files that end with the task's id, as `%A_%a` and `submit` name them."""
    stem = job or f"local_{shard}"
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
    return list(deque(lines, maxlen=most))
