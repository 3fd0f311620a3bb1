"""SLURM's limits against the config, and the config against the #SBATCH lines of the plain script."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from audioset_batch.config import Config
from audioset_batch.config.reservation import cost_line, excess, megabytes, needed, reserved
from audioset_batch.config.schema import Slurm
from audioset_batch.errors import AudiosetBatchError, InputRefused
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir
from audioset_batch.record.usage import measured_cpu_seconds
from audioset_batch.slurm import queue as slurm
from audioset_batch.slurm.queue import Partition
from audioset_batch.slurm.times import parse_limit
from audioset_batch.submit.chain import Plan, Step, make_chain
from audioset_batch.submit.checks.finding import Finding, error, ok, warning
from audioset_batch.submit.script import command_line, executor_for
from audioset_batch.submit.slurm import running_jobs
from audioset_batch.submit.unfinished import wanted_subsets, work_left

SCRIPT: Final = "audiosetdl-job-array.s"
_NO_CONFIG: Final = "Could not establish a configuration source"
_DIRECTIVE: Final = re.compile(r"^#SBATCH\s+--([a-z-]+)(?:[=\s]+(\S+))?")


def check_scheduler(config: Config, data: DataDir) -> Iterator[Finding]:
    """MaxArraySize, partition, time limit, QOS, and what sbatch itself says of the array."""
    if not slurm.has_slurm():
        yield ok("SLURM", "not here: `submit --cluster local` and `download` do without")
        return
    measured = measured_cpu_seconds(data, config)
    try:
        largest = slurm.max_array_size()
        known = slurm.partitions()
        yield from _array(largest, data)
        yield from _partition(config.slurm, known)
        yield from _qos(config.slurm)
        running = running_jobs(data)
        if running:
            yield warning("jobs", running, "`submit` would refuse until they are over")
        yield from _test_only(config, data, measured)
    except InputRefused as problem:
        if _NO_CONFIG in str(problem):
            yield warning("SLURM", "its programs are here, but no cluster: no slurm.conf was found", "use a login node")
            return
        yield error("SLURM", str(problem), "is this a login node of the cluster, and is its controller up?")
    yield from check_reservation(config, work_left(data, wanted_subsets(data, config)).segments, measured)
    yield from check_directives(config, measured)


def check_reservation(config: Config, segments: int, cpu_seconds: float | None = None) -> Iterator[Finding]:
    """Compare what the config requests from SLURM with what the budgets need, for `segments` segments."""
    asked, need = reserved(config, cpu_seconds), needed(config, cpu_seconds)
    text = f"{asked.tasks} x {asked.cpus} CPU, {asked.mem}"
    if cost := cost_line(asked, segments):
        text += f": {cost}"
    if too_much := excess(asked, need):
        yield warning("reservation", text, too_much)
    else:
        yield ok("reservation", text)
    if asked.mem_mb < need.mem_mb:
        yield warning(
            "memory",
            f"slurm.mem: {asked.mem} is asked for and about {need.mem} are needed: worker processes will be killed",
            f"slurm.mem: auto, or {need.mem}",
        )


def _array(largest: int, data: DataDir) -> Iterator[Finding]:
    shards = max((found[-1].number for s in data.subsets_present() if (found := data.shards(s))), default=0)
    text = f"{largest}, so an index is at most {largest - 1}; each subset has up to {counted(shards, 'shard')}"
    if shards < largest:
        yield ok("MaxArraySize", text)
    else:
        yield warning(
            "MaxArraySize",
            text,
            f"`submit` makes several arrays; plain sbatch needs them by hand: SHARD_OFFSET={largest - 1} sbatch "
            f"--array=1-... {SCRIPT}, or split into fewer shards",
        )


def _partition(settings: Slurm, known: list[Partition]) -> Iterator[Finding]:
    names = ", ".join(f"{one.name}{'*' if one.default else ''}" for one in known)
    if settings.partition is None:
        chosen = [one for one in known if one.default]
        if not chosen:
            yield error("partition", f"none in the config, and the cluster has no default: {names}", "slurm.partition")
            return
    else:
        wanted = settings.partition.split(",")
        chosen = [one for one in known if one.name in wanted]
        unknown = [name for name in wanted if name not in {one.name for one in known}]
        if unknown:
            yield error("partition", f"there is no {', '.join(unknown)}", f"slurm.partition: one of {names}")
            return
    for one in chosen:
        yield from _fits(settings, one)


def _fits(settings: Slurm, one: Partition) -> Iterator[Finding]:
    if one.state != "UP":
        yield error("partition", f"{one.name} is {one.state}", "choose another, or wait until it is up")
    else:
        yield ok("partition", f"{one.name} is up")
    wanted, most = parse_limit(settings.time), parse_limit(one.max_time)
    if most is not None and (wanted is None or wanted > most):
        yield error(
            "time limit",
            f"slurm.time is {settings.time}, {one.name} allows {one.max_time}",
            f'slurm.time: "{one.max_time}" or less; a worker that runs out of time requeues itself and continues',
        )
    else:
        yield ok("time limit", f"{settings.time}; {one.name} allows {one.max_time}")
    if wanted is not None and settings.signal_seconds + 60 > wanted:
        yield error(
            "warning signal",
            f"slurm.signal_seconds is {settings.signal_seconds}, nearly all of slurm.time {settings.time}",
            "SLURM may warn up to a minute early: make slurm.time longer",
        )
    for key, allowed in (("qos", one.allowed_qos), ("account", one.allowed_accounts)):
        value = getattr(settings, key)
        if value is not None and allowed not in ("ALL", "(null)", "") and value not in allowed.split(","):
            yield error(key, f"{one.name} does not take {value}", f"slurm.{key}: one of {allowed}")


def _qos(settings: Slurm) -> Iterator[Finding]:
    """QOS live in the accounting database: without one none can be asked for."""
    if settings.qos is None:
        return
    try:
        text = slurm.ask("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=Name,MaxWall")
    except InputRefused as problem:
        yield warning("qos", f"cannot ask for {settings.qos}: {problem}", "look at what sbatch says below")
        return
    limits = dict(line.partition("|")[::2] for line in text.splitlines() if line)
    if settings.qos not in limits:
        yield error("qos", f"there is no {settings.qos}", f"slurm.qos: one of {', '.join(limits)}")
        return
    wanted, most = parse_limit(settings.time), parse_limit(limits[settings.qos])
    if most is not None and (wanted is None or wanted > most):
        yield error("qos", f"{settings.qos} allows {limits[settings.qos]}, slurm.time is {settings.time}", "slurm.time")
    else:
        yield ok("qos", f"{settings.qos} is there")


def _test_only(config: Config, data: DataDir, cpu_seconds: float | None) -> Iterator[Finding]:
    """Let sbatch look at each kind of script without submitting it: it knows all limits."""
    plan = Plan(root=data.root, prep=(), shards=1, tasks=(1,), worker_options=(), cpu_seconds=cpu_seconds)
    for step in make_chain(plan, config, slurm.DEFAULT_MAX_ARRAY_SIZE):
        if step.role == "report":
            continue  # asks for less than merge
        try:
            said = _sbatch_test(step, config.slurm, data)
        except AudiosetBatchError as problem:
            yield error(f"sbatch, {step.role}", str(problem), "correct `slurm:` of the config")
        else:
            yield ok(f"sbatch, {step.role}", said)


def _sbatch_test(step: Step, settings: Slurm, data: DataDir) -> str:
    script = executor_for(step, settings, data, ()).script(command_line(step))
    argv = ["sbatch", "--test-only"]
    try:
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as problem:
        raise InputRefused("sbatch --test-only did not answer within 60 s") from problem
    said = done.stderr.strip().removeprefix("sbatch: ").replace("\nsbatch: ", "; ")
    if done.returncode != 0:
        raise InputRefused(said or f"exit status {done.returncode}")
    return re.sub(r"^Job \d+ to start", "would start", said) or "accepted"


def check_directives(config: Config, cpu_seconds: float | None = None) -> Iterator[Finding]:
    """What the plain script asks for and `submit` would not."""
    asked, settings = reserved(config, cpu_seconds), config.slurm
    path = Path(__file__).resolve().parents[3] / SCRIPT
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return  # installed without the checkout: there is no plain script to differ from
    found = {match[1]: match[2] or "" for line in text.splitlines() if (match := _DIRECTIVE.match(line))}
    signal = re.search(r"@(\d+)", found.get("signal", ""))
    pairs = {
        "partition": (found.get("partition"), settings.partition),
        "account": (found.get("account"), settings.account),
        "qos": (found.get("qos"), settings.qos),
        "cpus-per-task": (found.get("cpus-per-task"), str(asked.cpus)),
        "mem": (_mem(found.get("mem")), _mem(asked.mem)),
        "time": (_limit(found.get("time")), _limit(settings.time)),
        "signal": (signal[1] if signal else None, str(settings.signal_seconds)),
    }
    differing = [f"{key} {theirs or 'not set'} there, {ours or 'not set'} in the config"
                 for key, (theirs, ours) in pairs.items() if theirs != ours]  # fmt: skip
    if differing:
        yield warning(
            SCRIPT,
            "its #SBATCH lines differ: " + "; ".join(differing),
            "only plain sbatch reads them, `submit` reads the config: edit the one that you use",
        )
    else:
        yield ok(SCRIPT, "its #SBATCH lines say the same as the config")


def _mem(text: str | None) -> str | None:
    """One notation, so that `1G` is `1024M`; what somebody has written into the job script otherwise stays as it is."""
    try:
        return None if text is None else f"{megabytes(text)} MB"
    except ValueError:
        return text


def _limit(text: str | None) -> str | None:
    if text is None:
        return None
    seconds = parse_limit(text)
    return "no limit" if seconds is None else f"{seconds:g} s"
