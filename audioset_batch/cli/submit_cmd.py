"""`audioset-batch submit`: prep, array, merge and report as one chain, on SLURM or on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import positive, subset_list
from audioset_batch.cli.common import add_config_options, config_from, config_options, named_data_dir
from audioset_batch.humanize import counted

if TYPE_CHECKING:
    from audioset_batch.config import Config
    from audioset_batch.layout import DataDir
    from audioset_batch.submit.chain import Plan


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `submit`."""
    parser = commands.add_parser(
        "submit",
        help="start it all: prep, array, merge and report as one chain of jobs",
        description="Submit prep (if there are no shards yet), an array over the shards with work left (or one job "
        "for all of them), merge and report. Merge and report run when the array has ended, however it ended. "
        "Resources come from `slurm:` of the config. Run it again to continue.",
        epilog="Exit status: 0 submitted (local: all segments ok or unavailable); 1 refused by SLURM (local: some "
        "failed or pending); 2 usage or config; 75 an earlier submission is not over, or stopped early.",
    )
    add_config_options(parser, runs=True)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="overrides data_dir of the config")
    parser.add_argument("--subsets", type=subset_list, metavar="A,B", help="only these subsets")
    parser.add_argument(
        "--split",
        type=positive,
        metavar="N",
        help="shards of each subset; prep runs first if that is not how they are split (default: as they are, else 1)",
    )
    parser.add_argument(
        "--single-job",
        action="store_true",
        help="one job that works through all shards, several at a time, in place of the array: waits in the queue "
        "once, and is enough wherever one task of the array at a time is",
    )
    parser.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        default="slurm",
        help="local: run the chain here, in the foreground (default: slurm)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the sbatch scripts (local: commands) and stop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan the chain and submit it, run it, or print it."""
    from audioset_batch.config.powers import powers
    from audioset_batch.layout import DataDir
    from audioset_batch.submit.slurm import submitting
    from audioset_batch.worker.preflight import check_clients

    config = config_from(args, args.data_dir)
    data = DataDir(named_data_dir(config))
    if args.subsets is not None:
        config = config.model_copy(update={"source": config.source.model_copy(update={"subsets": args.subsets})})
    check_clients(config)
    act = _local if args.cluster == "local" else _slurm
    if args.dry_run:
        for power in powers(config):
            print(f"note: {'.'.join(power.key)} of the config: {power.what}", file=sys.stderr)
        return act(args, config, data)
    with submitting(data):
        return act(args, config, data)


def _plan(args: argparse.Namespace, config: Config, data: DataDir) -> Plan:
    """What has to be done, from what is there; says what is left out."""
    from audioset_batch.errors import ShardHeld
    from audioset_batch.record.usage import measured_cpu_seconds
    from audioset_batch.submit.chain import Plan
    from audioset_batch.submit.unfinished import prep_needed, wanted_subsets, work_left

    subsets = wanted_subsets(data, config)
    prep, shards = prep_needed(data, subsets, args.split)
    segments = 0  # not known before prep
    if prep:
        tasks = tuple(range(1, shards + 1))
        print(f"prep: {', '.join(prep)} into {counted(shards, 'shard')} each")
    else:
        left = work_left(data, subsets)
        tasks, segments = left.tasks, left.segments
        for who in left.held.values():
            print(f"left out, a worker has it already: {who}", file=sys.stderr)
        if left.held and not tasks:
            raise ShardHeld("workers already work on every shard with segments left; nothing was started")
        what = "shard number" if args.single_job else "array task"
        print(f"{counted(left.segments, 'segment')} left in {len(tasks)} of {counted(left.shards, what)}")
    return Plan(
        root=data.root,
        prep=prep,
        shards=shards,
        tasks=tasks,
        segments=segments,
        cpu_seconds=measured_cpu_seconds(data, config),
        worker_options=tuple(_worker_options(args)),
        single_job=args.single_job and args.cluster == "slurm",
    )


def _worker_options(args: argparse.Namespace) -> list[str]:
    options = config_options(args)
    if args.subsets is not None:
        options += ["--subsets", ",".join(args.subsets)]
    return options


def _slurm(args: argparse.Namespace, config: Config, data: DataDir) -> int:
    from audioset_batch.errors import InputRefused, UsageError
    from audioset_batch.slurm import queue as slurm
    from audioset_batch.submit.chain import index_ranges, make_chain
    from audioset_batch.submit.slurm import dry_run, submit_chain

    if slurm.has_slurm():
        try:
            largest = slurm.max_array_size()
        except InputRefused as error:
            why = " ".join(str(error).splitlines()[0].split())
            raise InputRefused(
                f"SLURM's commands are here, but no cluster answers ({why}). Submit from a login node, or give "
                "--cluster local; on one machine `audioset-batch download` needs no SLURM"
            ) from error
    elif args.dry_run:
        largest = slurm.DEFAULT_MAX_ARRAY_SIZE
        print(f"note: no SLURM here; MaxArraySize is taken to be {largest}", file=sys.stderr)
    else:
        raise UsageError("sbatch and squeue are not on the PATH: submit from a login node, or give --cluster local")
    plan = _quiet_plan(args, config, data)
    chain = make_chain(plan, config, largest)
    for line in reservation(config, plan):
        print(line, file=sys.stderr if args.dry_run else sys.stdout)
    if args.dry_run:
        print(dry_run(chain, config.slurm, data))
        return 0
    submission = submit_chain(chain, config.slurm, data, str(args.config or ""))
    for job in submission.jobs:
        print(f"{job.role:8} job {job.job_id}" + (f"  shards {index_ranges(job.tasks)}" if job.tasks else ""))
    print(f"logs     {data.logs}")
    print(f"watch    audioset-batch status {data.root}")
    print(f"stop     scancel {' '.join(job.job_id for job in submission.jobs)}")
    return 0


def reservation(config: Config, plan: Plan) -> list[str]:
    """What the array reserves for the segments left, and what to change if that is far more than it needs."""
    from dataclasses import replace

    from audioset_batch.config.reservation import cost_line, excess, needed, reserved

    asked, need = reserved(config, plan.cpu_seconds), needed(config, plan.cpu_seconds)
    if plan.single_job:
        asked = replace(asked, tasks=1)
    lines = [f"asks for {asked.tasks} x {asked.cpus} CPU, {asked.mem}"]
    if cost := cost_line(asked, plan.segments):
        lines[0] += f": {cost}"
    if too_much := excess(asked, need):
        lines.append(f"warning: {too_much}")
    if asked.tasks * asked.cpus < need.tasks * need.cpus and plan.single_job:
        lines.append(
            f"warning: a single job of {counted(asked.cpus, 'CPU')} is slower than the egresses allow: {need.tasks} x "
            f"{need.cpus} CPUs are busy without --single-job"
        )
    return lines


def _quiet_plan(args: argparse.Namespace, config: Config, data: DataDir) -> Plan:
    """The plan; with --dry-run its remarks go to stderr, so that stdout is scripts alone."""
    import contextlib

    with contextlib.redirect_stdout(sys.stderr) if args.dry_run else contextlib.nullcontext():
        return _plan(args, config, data)


def _local(args: argparse.Namespace, config: Config, data: DataDir) -> int:
    import shlex

    from audioset_batch.submit.chain import make_chain
    from audioset_batch.submit.local import STOPPED_EARLY, arguments, run_chain
    from audioset_batch.submit.unfinished import wanted_subsets, work_left

    plan = _quiet_plan(args, config, data)
    chain = make_chain(plan, config, max(plan.tasks, default=0) + 1)
    if args.dry_run:
        for step in chain:
            print(shlex.join(["audioset-batch", *arguments(step)]))
        return 0
    statuses = run_chain(chain, data, print)
    if "merge" not in statuses:
        return statuses["prep"]
    left = work_left(data, wanted_subsets(data, config))
    print(f"segments left: {left.segments:,}; tables and summary are in {data.root}")
    early = statuses.get("array") == STOPPED_EARLY and statuses["merge"] == 1
    return STOPPED_EARLY if early else statuses["merge"]
