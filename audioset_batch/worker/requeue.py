"""Whether a task of SLURM that stopped early comes back, and when."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from audioset_batch import untrusted
from audioset_batch.config import Config
from audioset_batch.errors import (
    EgressDoubtful,
    EgressExhausted,
    InputRefused,
    PlanChanging,
    StopEarly,
    StorageUnusable,
    UnsafePath,
)
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.manifest import read_rows
from audioset_batch.record.resubmission import Resubmission, commands, forget_resubmissions, note_resubmission
from audioset_batch.record.state import read_state
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.publish import atomic_write_json
from audioset_batch.slurm.job import BatchJob, JobIdentity, RequeueFailed, ignore_term, requeue, seen
from audioset_batch.worker.stop import StopRequest

_STORAGE_PAUSE: Final = 600.0
"""Seconds before a requeued task looks again at a filesystem that was full or gone."""
_SPLIT_PAUSE: Final = 180.0
"""The same after a prep that was splitting: longer than the lease of one that was killed."""

_START_SECONDS: Final = 30.0
"""A requeued task starts so much before the end of what it waits for, for SLURM and Python take a while to start."""
_LONGEST_TRY: Final = 3600.0
"""Seconds of asking to be requeued: a controller that is down starts no other job on the node, either."""
_WARNED_SECONDS: Final = 150.0
"""After USR1, where the end of the job is not known: the job scripts ask for it 180 s before the time limit."""
_KILL_WAIT: Final = 25.0
"""After TERM: SLURM kills after KillWait, 30 s by default."""
_FOR_THE_NOTE: Final = 5.0
_LONGEST_NOTING: Final = 10.0
_MOST_NOTED: Final = 1 << 16
_MOST_JOBS: Final = 16
"""Jobs, besides this one, whose idle restarts are kept."""

_log = logging.getLogger(__name__)


def requeue_task(
    config: Config,
    data: DataDir,
    shards: Sequence[ShardId],
    batch: BatchJob,
    error: StopEarly,
    stop: StopRequest,
    *,
    idle: bool,
    arguments: Sequence[str] = (),
) -> None:
    """Ask SLURM to run this task again, unless it has come back too often without progress.

    A ban, an outage, a drift and a full disk end some day, and waiting for that costs nothing: a task that they stop
    always comes back. Where it cannot, notes in `state/` and the log say how to continue.

    Args:
        config: As loaded.
        data: The data directory.
        shards: Of the task.
        batch: The task.
        error: Why it stops.
        stop: Whether and when a signal asked for it.
        idle: True if this run has finished nothing although an egress was open.
        arguments: Of the job script, for another task that continues this one.
    """
    job = batch.identity
    if not job.job_id:
        return
    notes = _ResubmissionNotes(config, data, shards, batch, arguments)
    waits = isinstance(error, EgressExhausted | StorageUnusable) and not isinstance(error, EgressDoubtful)
    if idle and not waits:
        before = _idle_restarts(data, shards, job)
        if len(before) >= config.worker.max_requeues:
            _log.error(
                "not requeued: this task was restarted %d times without finishing a segment (worker.max_requeues). "
                "Last reason to stop: %s. Fix that, then submit the array again",
                len(before),
                error,
            )
            notes.leave(f"{len(before)} restarts in a row have finished nothing")
            notes.log()
            return
        with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
            others = {one: restarts for one, restarts in _read_idle_restarts(data, shards).items() if one != job.job_id}
            kept = dict(list(others.items())[-_MOST_JOBS:])
            atomic_write_json(data.idle_restarts(shards[0]), {**kept, job.job_id: [*before, job.restart_count]})
    delay = 0.0
    if isinstance(error, EgressExhausted) and error.reopens_at is not None:
        delay = max(0.0, error.reopens_at - time.time())
        delay -= min(_START_SECONDS, delay / 20)
    elif isinstance(error, PlanChanging):
        delay = _SPLIT_PAUSE
    elif waits:
        delay = _STORAGE_PAUSE
    ignore_term()
    try:
        requeue(batch, delay, _time_left(batch, stop), notes.leave)
    except RequeueFailed as failure:
        _log.error("not requeued: %s", failure)
        notes.leave(str(failure))
        notes.log()
    else:
        notes.remove()


def _time_left(batch: BatchJob, stop: StopRequest) -> float:
    """Seconds until SLURM kills this process, as far as is known, and an hour at most."""
    left = [_LONGEST_TRY]
    if (seconds := batch.seconds_left) is not None:
        left.append(seconds - _FOR_THE_NOTE)
    elif stop.why.endswith("SIGUSR1"):
        left.append(stop.at + _WARNED_SECONDS - time.monotonic())
    if stop.why.endswith("SIGTERM"):
        left.append(stop.at + _KILL_WAIT - time.monotonic())
    return max(0.0, min(left))


class _ResubmissionNotes:
    """What is left behind for users where SLURM does not take the task back; written before that is certain."""

    def __init__(
        self, config: Config, data: DataDir, shards: Sequence[ShardId], batch: BatchJob, arguments: Sequence[str]
    ) -> None:
        self._data = data
        self._shards = shards
        self._left: list[Resubmission] = []
        throttle = batch.fact("ArrayTaskThrottle")
        self._form = Resubmission(
            shard="",
            number=0,
            job_id=batch.identity.job_id,
            why="",
            at=0.0,
            index=batch.identity.index,
            parallel=int(throttle) if throttle.isdigit() else 0,
            options=tuple(batch.options),
            **_continuation(config, batch, arguments),
        )

    def leave(self, why: str) -> None:
        """One note for each shard that has work left."""
        self._left = [
            replace(self._form, shard=str(shard), number=shard.number, why=why, at=time.time())
            for shard in self._shards
            if unfinished(self._data, shard)
        ]
        end = time.monotonic() + _LONGEST_NOTING
        for note in self._left:
            if time.monotonic() > end:  # SLURM has to be asked again; the log names them all
                break
            note_resubmission(self._data, note)

    def log(self) -> None:
        """Say the same in the log."""
        for line in commands(self._left):
            _log.error("%s", line)

    def remove(self) -> None:
        """SLURM runs the task again, or deals with it in its own way."""
        if self._left:
            forget_resubmissions(self._data, self._shards)


def unfinished(data: DataDir, shard: ShardId) -> bool:
    """True unless its state file says that all is settled."""
    with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
        state = read_state(data.state(shard))
        if state is not None and state.planned:
            return state.planned > state.counts.get("ok", 0) + state.counts.get("unavailable", 0)
    return True


def _continuation(config: Config, batch: BatchJob, arguments: Sequence[str]) -> dict[str, Any]:
    """What to submit from where: the job's own script, where it is still there, or the checkout's."""
    own, given = batch.submitted
    if own is not None:
        checkout = next((one for one in own.parents[:2] if seen((one / "jobs" / "environment.sh").is_file)), None)
        if checkout is not None and arguments:
            return {"folder": str(checkout), "script": str(own), "arguments": tuple(arguments), "ours": True}
        return {"folder": batch.fact("WorkDir"), "script": str(own), "arguments": tuple(given)}
    checkout = Path(__file__).resolve().parents[2]
    script = checkout / ("jobs/download.s" if batch.identity.index is None else "audiosetdl-job-array.s")
    # What `submit` writes has lines that the plain script lacks.
    if config.slurm.setup or config.slurm.modules or not seen(script.is_file) or not arguments:
        return {"arguments": tuple(arguments)}
    return {"folder": str(checkout), "script": str(script), "arguments": tuple(arguments), "ours": True}


def _idle_restarts(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> list[int]:
    """Earlier restarts of this very job that were idle, since one that was not."""
    restarts = [n for n in _read_idle_restarts(data, shards).get(job.job_id, []) if n < job.restart_count]
    if not restarts:
        return []  # the manifests of a whole data set take a while to read, and SLURM does not wait
    last_useful = _last_useful_restart(data, shards, job)
    return sorted({n for n in restarts if n > last_useful})


def _read_idle_restarts(data: DataDir, shards: Sequence[ShardId]) -> dict[str, list[int]]:
    """Idle restarts of the jobs that have noted any under this shard: two jobs may serve the same shards."""
    try:
        noted = untrusted.load_object(read_file(data.idle_restarts(shards[0]), _MOST_NOTED))
    except (OSError, UnsafePath, ValueError):
        return {}
    lists = {one: restarts for one, restarts in noted.items() if isinstance(restarts, list)}
    return {one: [n for n in restarts if isinstance(n, int)] for one, restarts in lists.items()}


def _last_useful_restart(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> int:
    """The latest restart of this very job that wrote a row; -1 if none did or nothing can be read."""
    latest = -1
    for shard in shards:
        with contextlib.suppress(OSError, StorageUnusable, InputRefused):
            for row in read_rows(data.manifest(shard)):
                if row.get("job_id") == job.job_id:
                    latest = max(latest, row.get("restart_count") or 0)
    return latest
