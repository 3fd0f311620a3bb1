"""One worker: its shard of each subset in turn, and what to do when it has to stop early."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.adapters.lease import Holder
from audioset_batch.adapters.slurm import JobIdentity, requeue
from audioset_batch.adapters.ytdlp_versions import age_note, version_in_use
from audioset_batch.config import Config
from audioset_batch.config.reservation import needed
from audioset_batch.egress import EgressPool
from audioset_batch.errors import EgressExhausted, PlanChanging, ShardHeld, StopEarly, StorageUnusable, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import read_rows
from audioset_batch.worker.pool import Pool, default_processes
from audioset_batch.worker.rows import Recorder
from audioset_batch.worker.settings import note_settings
from audioset_batch.worker.shard import ShardRun
from audioset_batch.worker.stop import ignore_term, stop_on_signals

_STORAGE_PAUSE: Final = 600.0
"""Seconds before a requeued task looks again at a filesystem that was full or gone."""
_SPLIT_PAUSE: Final = 180.0
"""The same after a prep that was splitting: longer than the lease of one that was killed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """Planned segments of all shards of a run, by status."""

    counts: Counter[Status]

    @property
    def exit_code(self) -> int:
        """0 if every segment is ok or unavailable, else 1."""
        return 1 if self.counts[Status.FAILED] or self.counts[Status.PENDING] else 0


def shards_of_task(data: DataDir, config: Config, task: int) -> list[ShardId]:
    """Shard number `task` of every subset that the config names.

    Raises:
        UsageError: there is no such shard.
    """
    subsets = data.subsets_present() if config.source.subsets == "present" else list(config.source.subsets)
    existing = {subset: data.shards(subset) for subset in subsets}
    most = max((shards[-1].number for shards in existing.values() if shards), default=0)
    if most == 0:
        raise UsageError(
            f"{data.root} has no shards of {', '.join(subsets) or 'any subset'}: run "
            "./download_subset_files.sh --split N DATADIR first"
        )
    for subset in (subset for subset, found in existing.items() if not found):
        _log.warning("%s has no shards of %s; ./download_subset_files.sh makes them", data.root, subset)
    shards = [shard for found in existing.values() for shard in found if shard.number == task]
    if not shards:
        raise UsageError(f"there is no shard {task}: {data.root} has {most}, so use --array=1-{most}")
    return shards


def run_shards(config: Config, data: DataDir, shards: Sequence[ShardId]) -> RunResult:
    """Work through `shards`, one after the other, with one set of worker processes.

    A task of SLURM that has to stop early asks to be requeued before it raises.

    Raises:
        UsageError: yt-dlp does not take `youtube.args`.
        ShardHeld: another worker has one of the shards; the others were worked through.
        StopEarly: a signal, a blocked egress or an unusable filesystem ended the run.
    """
    job = JobIdentity.from_environment()
    with_cookies = [egress.name for egress in config.egress if egress.cookies is not None]
    if with_cookies:
        _log.warning(
            "egress %s uses cookies: YouTube may close an account that downloads much. Use one that nobody will miss",
            ", ".join(with_cookies),
        )
    if old := age_note(version_in_use()):
        _log.warning("%s", old)
    with stop_on_signals() as stop:
        note_settings(config, data)
        runs: list[ShardRun] = []
        try:
            with _resources(config, data, job) as (pool, egress):
                for shard in shards:
                    recorder = Recorder(shard.number, job, version_in_use())
                    runs.append(ShardRun(config, data, shard, pool, egress, stop, recorder))
                return _run_all(runs)
        except ShardHeld as error:
            # Whoever holds a shard does its work: a duplicate never requeues itself. Prep does not.
            if isinstance(error, PlanChanging):
                _requeue(config, data, shards, job, error, progress=any(run.recorded for run in runs))
            raise
        except StopEarly as error:
            _requeue(config, data, shards, job, error, progress=any(run.recorded for run in runs))
            raise


def _run_all(runs: Sequence[ShardRun]) -> RunResult:
    counts: Counter[Status] = Counter()
    held: list[ShardHeld] = []
    for run in runs:
        try:
            counts += run.run().counts
        except ShardHeld as error:
            held.append(error)
    if held:
        raised = next((error for error in held if isinstance(error, PlanChanging)), held[-1])
        for one in held:
            if one is not raised:
                _log.warning("%s", one)
        raise raised
    return RunResult(counts)


@contextlib.contextmanager
def _resources(config: Config, data: DataDir, job: JobIdentity) -> Iterator[tuple[Pool, EgressPool]]:
    processes = config.worker.processes
    if processes == "auto":
        # No more than the budgets keep busy: each process takes memory and a second to start.
        needs = needed(config)
        most = config.worker.threads if needs.videos_per_hour is None else needs.tasks * needs.cpus
        processes = default_processes(min(config.worker.threads, most))
    threads = max(config.worker.threads, processes)
    with (
        EgressPool(
            config.egress,
            config.probe,
            config.egress_dir or data.egress,
            Holder.current(job.job_id, job.restart_count),
        ) as egress,
        Pool(config, processes, threads) as pool,
    ):
        yield pool, egress


def _requeue(
    config: Config, data: DataDir, shards: Sequence[ShardId], job: JobIdentity, error: StopEarly, *, progress: bool
) -> None:
    """Ask SLURM to run this task again, unless it has come back too often for nothing."""
    if not job.job_id:
        return
    idle = 0 if progress else job.restart_count - _last_useful_restart(data, shards, job)
    if not progress and idle >= config.worker.max_requeues:
        _log.error(
            "not requeued: this task was restarted %d times without finishing a segment (worker.max_requeues). "
            "Last reason to stop: %s. Mend that, then submit the array again",
            idle,
            error,
        )
        return
    delay = 0.0
    if isinstance(error, EgressExhausted) and error.reopens_at is not None:
        delay = max(0.0, error.reopens_at - time.time())
    elif isinstance(error, PlanChanging):
        delay = _SPLIT_PAUSE
    elif isinstance(error, StorageUnusable | EgressExhausted):
        delay = _STORAGE_PAUSE
    ignore_term()
    requeue(job, delay)


def _last_useful_restart(data: DataDir, shards: Sequence[ShardId], job: JobIdentity) -> int:
    """The latest restart of this very job that wrote a row; 0 if none did or nothing can be read."""
    latest = 0
    with contextlib.suppress(OSError, StorageUnusable):
        for shard in shards:
            for row in read_rows(data.manifest(shard)):
                if row.get("job_id") == job.job_id:
                    latest = max(latest, row.get("restart_count") or 0)
    return latest
