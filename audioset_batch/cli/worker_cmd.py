"""`audioset-batch worker`: some shards of each subset; one each is what an array task runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import subset_list, task_numbers
from audioset_batch.cli.common import add_config_options, config_from, config_options, require_data_dir

if TYPE_CHECKING:
    from audioset_batch.config import Config


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `worker`."""
    parser = commands.add_parser(
        "worker",
        help="process one or more shards of each subset (what an array task runs)",
        description="Download, cut, verify and record the clips of shard K of each subset, or of several shards. "
        "Shards that another worker holds are left out, and checked again at the end. Run it again to continue: it "
        "does not fetch recorded segments again, and it retries failed ones.",
    )
    add_config_options(parser, runs=True)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="overrides data_dir of the config")
    parser.add_argument("--subsets", type=subset_list, metavar="A,B", help="only these subsets")
    parser.add_argument(
        "--task",
        type=task_numbers,
        metavar="K|LIST|all",
        default=os.environ.get("SLURM_ARRAY_TASK_ID"),
        help="number of the shard, from 1; several as in sbatch's --array: 1-10, 3,5-7, 1-9:2; or all "
        "(default: SLURM_ARRAY_TASK_ID)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also log every retry")
    parser.set_defaults(run=run)


def update_weekly(config: Config, args: argparse.Namespace) -> None:
    """Look for a newer yt-dlp if the config wants that, before worker processes are started with the one there is."""
    if config.youtube.update != "weekly":
        return
    import logging

    from audioset_batch.cli.log import log_to_stderr
    from audioset_batch.update import update_if_due

    log_to_stderr(args.verbose)
    update_if_due(config, lambda line: logging.getLogger(__name__).info("%s", line))


def run(args: argparse.Namespace) -> int:
    """Run the shards; returns the contract's exit status."""
    from audioset_batch.errors import UsageError

    if args.task is None:
        raise UsageError("which shard? give --task K or --task all, or run it in a job array (SLURM_ARRAY_TASK_ID)")
    config = config_from(args, args.data_dir)
    root = require_data_dir(config)

    update_weekly(config, args)
    from audioset_batch.worker.pool import start_fork_server

    start_fork_server()
    from audioset_batch.cli.log import log_to_stderr
    from audioset_batch.layout import DataDir
    from audioset_batch.worker.preflight import check_clients_apart
    from audioset_batch.worker.run import run_shards, shards_of_tasks

    if args.subsets is not None:
        config = config.model_copy(update={"source": config.source.model_copy(update={"subsets": args.subsets})})
    log_to_stderr(args.verbose)
    data = DataDir(root)
    check_clients_apart(config)
    tasks = None if args.task == "all" else args.task
    # What another task is started with may come from the environment here, but must not depend on it there.
    arguments = [*config_options(args), "--data-dir", str(root)]
    if args.subsets is not None:
        arguments += ["--subsets", ",".join(args.subsets)]
    result = run_shards(config, data, shards_of_tasks(data, config, tasks), arguments)
    return result.exit_code
