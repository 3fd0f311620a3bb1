"""`audioset-batch screen`: find probably unavailable videos by asking the thumbnail host."""

from __future__ import annotations

import argparse
import contextlib
import logging
from pathlib import Path

from audioset_batch.cli.argument_types import number_between, positive, subset_list
from audioset_batch.cli.common import add_config_options, config_from, require_data_dir
from audioset_batch.errors import EgressExhausted, ShardHeld, StopEarly, StorageUnusable, UsageError

_PAUSES = {EgressExhausted: 3600.0, StorageUnusable: 600.0}
"""Seconds before a requeued task begins again: the host refuses requests, or the disk is full."""
_log = logging.getLogger(__name__)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "screen",
        help="find videos that are probably unavailable, and put them last",
        description="Ask i.ytimg.com for the thumbnail of every video that is left. A 404 means that the video is "
        "probably unavailable, and workers then take it last. This is only a hint: no outcome is recorded. Run it "
        "again to continue. Several can run at once on different shards.",
        epilog="Exit status: 0 done; 75 the host refuses more requests, or a signal arrived: run it again. Under "
        "SLURM, the task requeues itself.",
    )
    parser.add_argument("data_dir", nargs="?", type=Path, metavar="DATADIR", help="default: data_dir of the config")
    add_config_options(parser, runs=True)
    parser.add_argument("--task", type=positive, metavar="K", help="only shard K of each subset: for array jobs")
    parser.add_argument("--subsets", type=subset_list, metavar="A,B", help="default: all that have shards")
    parser.add_argument(
        "--per-second",
        type=number_between(0.01, 50, "requests a second"),
        default=5.0,
        metavar="N",
        help="at most N requests per second (default: 5)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, and tell the sums."""
    from audioset_batch.cli.log import log_to_stderr
    from audioset_batch.layout import DataDir, no_shards
    from audioset_batch.plan.screen import screen
    from audioset_batch.record.hints import read_hints
    from audioset_batch.slurm.job import JobIdentity, requeue_or_tell
    from audioset_batch.worker.child import client_for
    from audioset_batch.worker.stop import stop_on_signals

    config = config_from(args, args.data_dir)
    data = DataDir(require_data_dir(config))
    log_to_stderr(verbose=False)
    subsets = args.subsets or data.subsets_present()
    shards = [shard for subset in subsets for shard in data.shards(subset)]
    if not shards:
        raise no_shards(data.root)
    if args.task is not None:
        most = max(shard.number for shard in shards)
        shards = [shard for shard in shards if shard.number == args.task]
        if not shards:
            raise UsageError(f"there is no shard {args.task}: {data.root} has {most}, so use --array=1-{most}")
    clients = [client_for(config, index) for index in range(len(config.egress))]

    def answers() -> int:
        with contextlib.suppress(OSError, StorageUnusable):
            return sum(len(read_hints(data.hints(shard))) for shard in shards)
        return 0

    before = answers()
    with stop_on_signals() as stop:
        try:
            report = screen(data, shards, clients, args.per_second, lambda: stop.why if stop.is_set() else "")
        except ShardHeld:
            raise
        except StopEarly as error:
            job = JobIdentity.from_environment()
            if job.job_id and job.restart_count >= config.worker.max_requeues and answers() == before:
                _log.error(
                    "not requeued: restart %d of this task ended without an answer (worker.max_requeues: %d). "
                    "Submit it again when the cause is removed",
                    job.restart_count,
                    config.worker.max_requeues,
                )
                raise
            requeue_or_tell(next((pause for kind, pause in _PAUSES.items() if isinstance(error, kind)), 0.0))
            raise
    print(f"asked {report.asked:,}, known before {report.known:,}, probably gone {report.gone:,}")
    if report.unanswered:
        print(f"without an answer {report.unanswered:,}; run it again for these. The last one: {report.why}")
    return 1 if report.unanswered and not report.asked else 0
