"""One worker: its shards, what they share, and what to do when it has to stop early."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.progress import Progress

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
from audioset_batch.worker.comeback import come_back, unfinished
from audioset_batch.worker.coordinator import Coordinator
from audioset_batch.worker.memory import memory_shortage
from audioset_batch.worker.pool import Pool, default_processes
from audioset_batch.worker.progress import live_bars
from audioset_batch.worker.rows import Recorder
from audioset_batch.worker.settings import note_settings
from audioset_batch.worker.shard import OpenShard
from audioset_batch.worker.stop import stop_on_signals
from audioset_batch.youtube.versions import age_note, version_in_use

_USAGE_STATES: Final = 4
"""What a task uses is written as often as every fourth state file."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunResult:
    """Planned segments of all shards of a run, by status."""

    counts: Counter[Status]

    @property
    def exit_code(self) -> int:
        """0 if every segment is ok or unavailable, else 1."""
        return 1 if self.counts[Status.FAILED] or self.counts[Status.PENDING] else 0


def shards_of_tasks(data: DataDir, config: Config, tasks: Sequence[int] | None) -> list[ShardId]:
    """Shards of these numbers (None: of all) of every subset that the config names.

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

    A task of SLURM that has to stop early asks to be requeued before it raises.

    Args:
        config: As loaded.
        data: The data directory.
        shards: To work through.
        arguments: Of the job script, for a task that a user submits to continue this one.

    Raises:
        UsageError: yt-dlp does not take `youtube.args`.
        ShardHeld: another worker has one of the shards; the others were worked through.
        StopEarly: a signal, a blocked egress or an unusable filesystem ended the run.
    """
    job = JobIdentity.from_environment()
    batch = BatchJob(job)
    batch.look_in_background()
    with_cookies = [egress.name for egress in config.egress if egress.cookies is not None]
    if with_cookies:
        _log.warning(
            "egress %s uses cookies: YouTube may close an account that downloads much. Use one that nobody will miss",
            ", ".join(with_cookies),
        )
    if old := age_note(version_in_use()):
        _log.warning("%s", old)
    forget_resubmissions(data, shards)
    # A job that comes back again and again gets to what is left before it looks at what is done.
    shards = sorted(shards, key=lambda shard: not unfinished(data, shard))
    with stop_on_signals() as stop:
        note_settings(config, data)
        coordinator: Coordinator | None = None

        def hold_seconds() -> float:
            # With a budget of a few videos an hour a run that left at every wait would never settle anything that takes
            # two resolves.
            stays = not batch.may_come_back or (coordinator is not None and coordinator.unsettled)
            return math.inf if stays else config.worker.hold_seconds

        try:
            with (
                _resources(config, data, job, hold_seconds) as (pool, egress, bars),
                note_usage(config, data, shards[0], job, pool) as rows,
            ):

                def open_shard(shard: ShardId) -> OpenShard:
                    recorder = Recorder(shard.number, job, version_in_use())
                    return OpenShard(config, data, shard, recorder, rows, bars)

                coordinator = Coordinator(config, shards, open_shard, pool, egress, stop, rows)
                return RunResult(coordinator.run())
        except StopEarly as error:
            # The worker that holds a shard does its work: a duplicate never requeues itself. Prep does not.
            if isinstance(error, PlanChanging) or not isinstance(error, ShardHeld):
                idle = coordinator is None or coordinator.idle
                come_back(config, data, shards, batch, error, stop, idle=idle, arguments=arguments)
            raise


@contextlib.contextmanager
def note_usage(
    config: Config, data: DataDir, shard: ShardId, job: JobIdentity, pool: Pool
) -> Iterator[Counter[Status]]:
    """Note what this task holds and uses; yields where to count its rows."""
    with UsageNote(
        data,
        shard,
        job.job_id,
        estimated_cpu_seconds=estimated_cpu_seconds(config),
        every=_USAGE_STATES * config.worker.state_seconds,
        pids=pool.pids,
    ) as note:
        yield note.rows


@contextlib.contextmanager
def _resources(
    config: Config, data: DataDir, job: JobIdentity, hold_seconds: Callable[[], float]
) -> Iterator[tuple[Pool, EgressPool, Progress | None]]:
    processes = config.worker.processes
    if processes == "auto":
        # No more than the budgets keep busy: each process takes memory and a second to start.
        needs = needed(config)
        most = config.worker.threads if needs.videos_per_hour is None else needs.tasks * needs.cpus
        processes = default_processes(min(config.worker.threads, most))
    threads = max(config.worker.threads, processes)
    if short := memory_shortage(needed_mb(config, processes)):
        _log.warning("%s", short)
    with (
        EgressPool(
            config.egress,
            config.probe,
            config.egress_dir or data.egress,
            Holder.current(job.job_id, job.restart_count),
            hold_seconds,
            config.worker.burst,
        ) as egress,
        Pool(config, processes, threads) as pool,
        live_bars() as bars,
    ):
        yield pool, egress, bars
