"""Whether a task of SLURM that stopped early comes back, and when."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final

from audioset_batch.adapters import untrusted
from audioset_batch.adapters.publish import atomic_write_json
from audioset_batch.adapters.sharedfs import read_file
from audioset_batch.adapters.slurm import JobIdentity, requeue
from audioset_batch.config import Config
from audioset_batch.errors import EgressDoubtful, EgressExhausted, PlanChanging, StopEarly, StorageUnusable, UnsafePath
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.manifest import read_rows
from audioset_batch.worker.stop import ignore_term

_STORAGE_PAUSE: Final = 600.0
"""Seconds before a requeued task looks again at a filesystem that was full or gone."""
_SPLIT_PAUSE: Final = 180.0
"""The same after a prep that was splitting: longer than the lease of one that was killed."""

_MOST_NOTED: Final = 1 << 16

_log = logging.getLogger(__name__)


def come_back(
    config: Config, data: DataDir, shards: Sequence[ShardId], job: JobIdentity, error: StopEarly, *, idle: bool
) -> None:
    """Ask SLURM to run this task again, unless it has come back too often for nothing.

    A ban, an outage, a drift and a full disk end some day, and waiting for that costs nothing: a task that they stop
    always comes back.

    Args:
        config: As loaded.
        data: The data directory.
        shards: Of the task.
        job: The task.
        error: Why it stops.
        idle: True if this run has finished nothing although it had a way out.
    """
    if not job.job_id:
        return
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
            return
        with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
            noted = {"job_id": job.job_id, "restarts": [*before, job.restart_count]}
            atomic_write_json(data.idle_restarts(shards[0]), noted)
    delay = 0.0
    if isinstance(error, EgressExhausted) and error.reopens_at is not None:
        delay = max(0.0, error.reopens_at - time.time())
    elif isinstance(error, PlanChanging):
        delay = _SPLIT_PAUSE
    elif waits:
        delay = _STORAGE_PAUSE
    ignore_term()
    requeue(job, delay)


def _idle_restarts(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> list[int]:
    """Earlier restarts of this very job that were idle, since one that was not."""
    try:
        noted = untrusted.load_object(read_file(data.idle_restarts(shards[0]), _MOST_NOTED))
        same = noted["job_id"] == job.job_id
        restarts = [n for n in noted["restarts"] if isinstance(n, int) and n < job.restart_count] if same else []
    except (OSError, UnsafePath, ValueError, TypeError, KeyError):
        return []
    last_useful = _last_useful_restart(data, shards, job)
    return sorted({n for n in restarts if n > last_useful})


def _last_useful_restart(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> int:
    """The latest restart of this very job that wrote a row; -1 if none did or nothing can be read."""
    latest = -1
    with contextlib.suppress(OSError, StorageUnusable):
        for shard in shards:
            for row in read_rows(data.manifest(shard)):
                if row.get("job_id") == job.job_id:
                    latest = max(latest, row.get("restart_count") or 0)
    return latest
