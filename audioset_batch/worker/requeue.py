"""Requeue a SLURM task that stopped early, or leave notes on how to continue."""

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
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.manifest import read_rows
from audioset_batch.record.resubmission import Resubmission, commands, forget_resubmissions, note_resubmission
from audioset_batch.record.state import read_state
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.publish import atomic_write_json
from audioset_batch.slurm.job import BatchJob, JobIdentity, RequeueFailed, ignore_term, requeue, seen
from audioset_batch.worker.stop import StopRequest

_STORAGE_PAUSE: Final = 600.0
"""Seconds before a task starts again after its filesystem was full or unavailable."""
_SPLIT_PAUSE: Final = 180.0
"""The same after `prep` was splitting: longer than the lease of a killed `prep`."""

_START_SECONDS: Final = 30.0
"""A requeued task starts so many seconds before the end of a pause, because SLURM and Python take a while to start."""
_LONGEST_TRY: Final = 3600.0
"""Longest time to try requeueing, seconds. A controller that is down starts no other job on the node, either."""
_WARNED_SECONDS: Final = 150.0
"""Seconds left after USR1, if the end of the job is unknown: job scripts request it 180 s before the time limit."""
_KILL_WAIT: Final = 25.0
"""Seconds left after TERM: SLURM kills after KillWait, 30 s by default."""
_FOR_THE_NOTE: Final = 5.0
_LONGEST_NOTING: Final = 10.0
_MAX_NOTED: Final = 1 << 16
_MAX_JOBS: Final = 16
"""Number of other jobs whose idle restarts are kept."""

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
    """Ask SLURM to run this task again, unless too many restarts in a row have finished nothing.

    A ban, an outage, a drift and a full disk end at some time, and waiting for that costs nothing: a task that they
    stop is always requeued. If that fails, notes in `state/` and the log say how to continue.

    Args:
        config: As loaded.
        data: The data directory.
        shards: The shards of the task.
        batch: The task.
        error: Why it stops.
        stop: Whether and when a signal asked to stop.
        idle: True if this run has finished nothing although an egress was open.
        arguments: Arguments of the job script, for another task that continues this one.
    """
    job = batch.identity
    if not job.job_id:
        return
    notes = _ResubmissionNotes(config, data, shards, batch, arguments)
    if idle and not _ends_by_itself(error):
        before = _idle_restarts(data, shards, job)
        if len(before) >= config.worker.max_requeues:
            _log.error(
                "not requeued: this task was restarted %d times without finishing a segment (worker.max_requeues). "
                "Last reason to stop: %s. Fix that, then submit the array again",
                len(before),
                error,
            )
            notes.leave(f"nothing was finished in {counted(len(before), 'restart')} in a row")
            notes.log()
            return
        _write_idle_restarts(data, shards, job, [*before, job.restart_count])
    ignore_term()
    try:
        requeue(batch, _delay(error), _time_left(batch, stop), lambda why: notes.leave(why, uncertain=True))
    except RequeueFailed as failure:
        _log.error("%s: %s", "perhaps not requeued" if failure.uncertain else "not requeued", failure)
        notes.leave(str(failure), uncertain=failure.uncertain)
        notes.log()
    else:
        notes.remove()


def _delay(error: StopEarly) -> float:
    """Seconds until a requeued task is to start."""
    if isinstance(error, EgressExhausted) and error.reopens_at is not None:
        seconds = max(0.0, error.reopens_at - time.time())
        return seconds - min(_START_SECONDS, seconds / 20)
    if isinstance(error, PlanChanging):
        return _SPLIT_PAUSE
    return _STORAGE_PAUSE if _ends_by_itself(error) else 0.0


def _ends_by_itself(error: StopEarly) -> bool:
    """True for a pause of the egresses and for unusable storage."""
    return isinstance(error, EgressExhausted | StorageUnusable) and not isinstance(error, EgressDoubtful)


def _time_left(batch: BatchJob, stop: StopRequest) -> float:
    """Seconds until SLURM kills this process, as far as is known; at most an hour."""
    left = [_LONGEST_TRY]
    if (seconds := batch.seconds_left) is not None:
        left.append(seconds - _FOR_THE_NOTE)
    elif stop.why.endswith("SIGUSR1"):
        left.append(stop.at + _WARNED_SECONDS - time.monotonic())
    if stop.why.endswith("SIGTERM"):
        left.append(stop.at + _KILL_WAIT - time.monotonic())
    return max(0.0, min(left))


class _ResubmissionNotes:
    """Notes for users in case SLURM does not requeue the task; written before that is certain."""

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

    def leave(self, why: str, *, uncertain: bool = False) -> None:
        """Write a note for each shard that has work left; `uncertain`: SLURM may have requeued the task after all."""
        form = replace(self._form, why=why, at=time.time(), uncertain=uncertain)
        self._left = [
            replace(form, shard=str(shard), number=shard.number)
            for shard in self._shards
            if unfinished(self._data, shard)
        ]
        end = time.monotonic() + _LONGEST_NOTING
        for note in self._left:
            if time.monotonic() > end:  # requeueing has to be tried again; the log names all shards
                break
            note_resubmission(self._data, note)

    def log(self) -> None:
        """Log the notes."""
        for line in commands(self._left):
            _log.error("%s", line)

    def remove(self) -> None:
        """Remove the notes, because SLURM runs the task again."""
        if self._left:
            forget_resubmissions(self._data, self._shards)


def unfinished(data: DataDir, shard: ShardId) -> bool:
    """True unless the state file of the shard says that all segments are settled."""
    with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
        state = read_state(data.state(shard))
        if state is not None and state.planned:
            return state.planned > state.counts.get("ok", 0) + state.counts.get("unavailable", 0)
    return True


def _continuation(config: Config, batch: BatchJob, arguments: Sequence[str]) -> dict[str, Any]:
    """The folder, script and arguments to submit: the job's own script if it still exists, or the checkout's."""
    own, given = batch.submitted
    if own is not None:
        checkout = next((one for one in own.parents[:2] if seen((one / "jobs" / "environment.sh").is_file)), None)
        if checkout is not None and arguments:
            return {"folder": str(checkout), "script": str(own), "arguments": tuple(arguments), "ours": True}
        return {"folder": batch.fact("WorkDir"), "script": str(own), "arguments": tuple(given)}
    checkout = Path(__file__).resolve().parents[2]
    script = checkout / ("jobs/download.s" if batch.identity.index is None else "audiosetdl-job-array.s")
    # A script that `submit` writes has lines that the plain script lacks.
    if config.slurm.setup or config.slurm.modules or not seen(script.is_file) or not arguments:
        return {"arguments": tuple(arguments)}
    return {"folder": str(checkout), "script": str(script), "arguments": tuple(arguments), "ours": True}


def _idle_restarts(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> list[int]:
    """Earlier restarts of this job that were idle, since the last one that was not."""
    restarts = [n for n in _read_idle_restarts(data, shards).get(job.job_id, []) if n < job.restart_count]
    if not restarts:
        return []  # reading the manifests of a whole data set takes a while, and SLURM does not wait
    last_useful = _last_useful_restart(data, shards, job)
    return sorted({n for n in restarts if n > last_useful})


def _read_idle_restarts(data: DataDir, shards: Sequence[ShardId]) -> dict[str, list[int]]:
    """Read the idle restarts by job: two jobs may work on the same shards."""
    try:
        noted = untrusted.load_object(read_file(data.idle_restarts(shards[0]), _MAX_NOTED))
    except (OSError, UnsafePath, ValueError):
        return {}
    lists = {one: restarts for one, restarts in noted.items() if isinstance(restarts, list)}
    return {one: [n for n in restarts if isinstance(n, int)] for one, restarts in lists.items()}


def _write_idle_restarts(data: DataDir, shards: Sequence[ShardId], job: JobIdentity, restarts: Sequence[int]) -> None:
    """Record the idle restarts of this job; a file that cannot be written is not an error."""
    with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
        others = {one: restarts for one, restarts in _read_idle_restarts(data, shards).items() if one != job.job_id}
        kept = dict(list(others.items())[-_MAX_JOBS:])
        atomic_write_json(data.idle_restarts(shards[0]), {**kept, job.job_id: [*restarts]})


def _last_useful_restart(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> int:
    """The latest restart of this job that wrote a row; -1 if none did or nothing can be read."""
    latest = -1
    for shard in shards:
        with contextlib.suppress(OSError, StorageUnusable, InputRefused):
            for row in read_rows(data.manifest(shard)):
                if row.get("job_id") == job.job_id:
                    latest = max(latest, row.get("restart_count") or 0)
    return latest
