"""Run one worker over its shards, and requeue its task if it has to stop early."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.config import Config
from audioset_batch.config.reservation import estimated_cpu_seconds, needed, needed_mb
from audioset_batch.egress import EgressPool
from audioset_batch.errors import PlanChanging, ShardHeld, StopEarly, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.reasons import Status
from audioset_batch.record.resubmission import forget_resubmissions
from audioset_batch.record.usage import UsageNote
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.slurm.job import BatchJob, JobIdentity
from audioset_batch.worker.coordinator import Coordinator
from audioset_batch.worker.memory import memory_shortage
from audioset_batch.worker.pool import Pool, default_processes
from audioset_batch.worker.progress import live_bars
from audioset_batch.worker.requeue import requeue_task, unfinished
from audioset_batch.worker.rows import RowTemplate
from audioset_batch.worker.settings import note_settings
from audioset_batch.worker.shard import OpenShard
from audioset_batch.worker.stop import StopRequest, stop_on_signals
from audioset_batch.youtube.versions import age_note, version_in_use

_USAGE_STATES: Final = 4
"""A task's usage is written once for so many writes of a state file."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run.

    Attributes:
        counts: Planned segments of all its shards, by status.
    """

    counts: Counter[Status]

    @property
    def exit_code(self) -> int:
        """0 if every segment is ok or unavailable, else 1."""
        return 1 if self.counts[Status.FAILED] or self.counts[Status.PENDING] else 0


def shards_of_tasks(data: DataDir, config: Config, tasks: Sequence[int] | None) -> list[ShardId]:
    """The shards with these numbers (None: all) of every subset that the config names.

    Raises:
        UsageError: there are no such shards.
    """
    subsets = data.subsets_present() if config.source.subsets == "present" else list(config.source.subsets)
    existing = {subset: data.shards(subset) for subset in subsets}
    numbers = {shard.number for shards in existing.values() for shard in shards}
    if not numbers:
        raise UsageError(
            f"{data.root} has no shards of {', '.join(subsets) or 'any subset'}: run "
            "./download_subset_files.sh --split N DATADIR first"
        )
    for subset in (subset for subset, found in existing.items() if not found):
        _log.warning("%s has no shards of %s; ./download_subset_files.sh makes them", data.root, subset)
    wanted = numbers if tasks is None else set(tasks)
    if missing := sorted(wanted - numbers):
        others = f" (nor {len(missing) - 1} more of those)" if len(missing) > 1 else ""
        most = max(numbers)
        raise UsageError(
            f"there is no shard {missing[0]}{others}: {data.root} has {most}, so use --array=1-{most}, or --task all"
        )
    return [shard for found in existing.values() for shard in found if shard.number in wanted]


def run_shards(config: Config, data: DataDir, shards: Sequence[ShardId], arguments: Sequence[str] = ()) -> RunResult:
    """Work through `shards` with one set of worker processes.

    A SLURM task that has to stop early asks to be requeued before this raises.

    Args:
        config: As loaded.
        data: The data directory.
        shards: The shards to work through.
        arguments: Arguments of the job script, for a task that a user submits to continue this one.

    Raises:
        UsageError: yt-dlp does not accept `youtube.args`.
        ShardHeld: another worker has one of the shards; the others were worked through.
        StopEarly: a signal, a blocked egress or an unusable filesystem ended the run.
    """
    batch = BatchJob(JobIdentity.from_environment())
    batch.look_in_background()
    _warn_of_cookies(config)
    if old := age_note(version_in_use()):
        _log.warning("%s", old)
    forget_resubmissions(data, shards)
    # A job that is requeued often gets to what is left before it reads what is done.
    shards = sorted(shards, key=lambda shard: not unfinished(data, shard))
    with stop_on_signals() as stop:
        note_settings(config, data)
        run = ShardRun(config, data, shards, batch, stop)
        try:
            return RunResult(run.run())
        except StopEarly as error:
            # A worker that finds a shard held leaves it to the holder and is not requeued; unless prep is splitting.
            if isinstance(error, PlanChanging) or not isinstance(error, ShardHeld):
                requeue_task(config, data, shards, batch, error, stop, idle=run.idle, arguments=arguments)
            raise


def _warn_of_cookies(config: Config) -> None:
    with_cookies = [egress.name for egress in config.egress if egress.cookies is not None]
    if with_cookies:
        _log.warning(
            "egress %s uses cookies: YouTube may close an account that downloads much. Use one that nobody will miss",
            ", ".join(with_cookies),
        )


class ShardRun:
    """One run over shards, with the processes, egresses and displays that they share.

    Args:
        config: As loaded.
        data: The data directory.
        shards: The shards to work through, in this order.
        batch: The SLURM job, if any.
        stop: Set when a signal asks to stop.
    """

    def __init__(
        self, config: Config, data: DataDir, shards: Sequence[ShardId], batch: BatchJob, stop: StopRequest
    ) -> None:
        self._config = config
        self._data = data
        self._shards = shards
        self._batch = batch
        self._job = batch.identity
        self._stop = stop
        self._coordinator: Coordinator | None = None

    @property
    def idle(self) -> bool:
        """True if nothing was finished although an egress was open."""
        return self._coordinator is None or self._coordinator.idle

    def run(self) -> Counter[Status]:
        """Work through the shards; returns planned segments by status. Raises what `Coordinator.run` raises."""
        with (
            self._egress_pool() as egress,
            self._process_pool() as pool,
            live_bars() as bars,
            self._usage(pool) as usage,
        ):

            def open_shard(shard: ShardId) -> OpenShard:
                row_template = RowTemplate(shard.number, self._job, version_in_use())
                return OpenShard(self._config, self._data, shard, row_template, usage.rows, bars)

            self._coordinator = Coordinator(
                self._config, self._shards, open_shard, pool, egress, self._stop, usage.rows
            )
            return self._coordinator.run()

    def _egress_pool(self) -> EgressPool:
        config = self._config
        return EgressPool(
            config.egress,
            config.probe,
            config.egress_dir or self._data.egress,
            Holder.current(self._job.job_id, self._job.restart_count),
            lambda: config.worker.hold_seconds if self._batch.may_come_back else math.inf,
            config.worker.burst,
            # With a budget of a few videos an hour, a run that left at each wait for a slot would never decide an
            # outcome that takes two resolves.
            lambda: self._coordinator is not None and self._coordinator.unsettled,
        )

    def _process_pool(self) -> Pool:
        worker = self._config.worker
        processes = worker.processes
        if processes == "auto":
            # No more than the budgets keep busy: each process takes memory and a second to start.
            needs = needed(self._config)
            most = worker.threads if needs.videos_per_hour is None else needs.tasks * needs.cpus
            processes = default_processes(min(worker.threads, most))
        if short := memory_shortage(needed_mb(self._config, processes)):
            _log.warning("%s", short)
        return Pool(self._config, processes, max(worker.threads, processes))

    def _usage(self, pool: Pool) -> UsageNote:
        return UsageNote(
            self._data,
            self._shards[0],
            self._job.job_id,
            estimated_cpu_seconds=estimated_cpu_seconds(self._config),
            every=_USAGE_STATES * self._config.worker.state_seconds,
            pids=pool.pids,
        )
