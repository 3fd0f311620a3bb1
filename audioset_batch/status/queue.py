"""The tasks of a data directory in the queue of SLURM; empty without SLURM, or if it does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.record.submission import read_submission
from audioset_batch.slurm import queue as slurm_queue
from audioset_batch.slurm.queue import JobEnd

_ARRAY_TASK: Final = re.compile(r"(\d+)_(?:(\d+)|\[([\d,%-]+)\])\Z")
_PATIENCE: Final = 10.0
"""Seconds to wait for an answer of SLURM while the user sees an empty screen."""
_ENDED_WELL: Final = ("COMPLETED", "RUNNING", "PENDING", "REQUEUED")


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of SLURM.

    Attributes:
        answered: False without SLURM, or if it does not answer.
        why_not: The error message if it does not answer; "" without SLURM.
        waiting: Tasks that wait in the queue, such as `123_4`.
        running: Tasks that run.
        ended: How tasks ended that are no longer in the queue and did not end well, from accounting.
        shards: Task -> its shard numbers, for the latest submission and for arrays with a started task.
    """

    answered: bool = False
    why_not: str = ""
    waiting: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    ended: Mapping[str, JobEnd] = field(default_factory=dict)
    shards: Mapping[str, Sequence[int]] = field(default_factory=dict)


def read_queue(data: DataDir, known: Mapping[str, int], unfinished: Iterable[str]) -> Queue:
    """Ask squeue about the latest submission and the jobs in `known`, and sacct about those in `unfinished`.

    Args:
        data: The data directory.
        known: Shard numbers by the job ids (`123_4`) in state files.
        unfinished: Those job ids whose shards have work left.
    """
    shards = _submitted(data)
    tasks = {*known, *shards} - {""}
    if not tasks or not slurm_queue.has_slurm():
        return Queue(shards=shards)
    names = {task.partition("_")[0] for task in tasks}
    jobs = sorted(name for name in names if name.isascii() and name.isdecimal())
    waiting: set[str] = set()
    running: set[str] = set()
    try:
        for line in slurm_queue.queued(jobs, _PATIENCE):
            (running if line.state in ("RUNNING", "COMPLETING") else waiting).update(expand(line.name))
    except InputRefused as error:
        return Queue(why_not=str(error), shards=shards)
    shards = _siblings(known, waiting) | shards
    gone = [task for task in unfinished if task and task not in waiting | running]
    return Queue(True, "", frozenset(waiting), frozenset(running), _ends(gone), shards)


def _siblings(known: Mapping[str, int], waiting: Iterable[str]) -> dict[str, Sequence[int]]:
    """Shards of waiting tasks, derived from started tasks of the same array: index + offset = shard."""
    offsets = {}
    for task, shard in known.items():
        array, _, index = task.partition("_")
        if index.isdigit():
            offsets[array] = shard - int(index)
    found: dict[str, Sequence[int]] = {}
    for task in waiting:
        array, _, index = task.partition("_")
        if index.isdigit() and array in offsets:
            found[task] = (int(index) + offsets[array],)
    return found


def expand(name: str) -> list[str]:
    """Expand the notation of squeue: `12 -> 12`, `12_3 -> 12_3`, `12_[4-6,9%2] -> 12_4 12_5 12_6 12_9`."""
    match = _ARRAY_TASK.match(name)
    if match is None or match[3] is None:
        return [name]
    tasks: list[str] = []
    for part in match[3].partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            tasks += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1)]
    return tasks


def _submitted(data: DataDir) -> dict[str, Sequence[int]]:
    submission = read_submission(data)
    found: dict[str, Sequence[int]] = {}
    for job in () if submission is None else submission.jobs:
        if job.role == "array":
            found |= {f"{job.job_id}_{shard - job.offset}": (shard,) for shard in job.tasks}
        elif job.role == "download":
            found[job.job_id] = job.tasks
    return found


def _ends(tasks: Iterable[str]) -> dict[str, JobEnd]:
    """How tasks ended that did not end well, from accounting; empty without accounting."""
    ids = sorted(set(tasks))
    if not ids:
        return {}
    try:
        ends = slurm_queue.ended(ids, _PATIENCE)
    except InputRefused:
        return {}
    return {task: end for task, end in ends.items() if end.state not in _ENDED_WELL}
