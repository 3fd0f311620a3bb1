"""Questions to SLURM by its own commands, from a login node or a job. Every answer is text of one call."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.errors import InputRefused

DEFAULT_MAX_ARRAY_SIZE: Final = 1001
"""SLURM's own default, slurm.conf(5)."""

_TIMEOUT: Final = 60
"""Seconds; a controller under load takes its time, and what it says decides what is submitted."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A line of the queue.

    Attributes:
        array_id: Id of the whole job, the same for all tasks of an array.
        name: As squeue shows it: `12`, `12_3` or `12_[4-9]`.
        state: `RUNNING`, `PENDING` ...
    """

    array_id: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class JobEnd:
    """What accounting says of a job: `TIMEOUT`, `CANCELLED` ...; `exit_code` is `status:signal`."""

    state: str
    exit_code: str


@dataclass(frozen=True, slots=True)
class Partition:
    """What `scontrol show partition` says: its name, if it is the default, state, and most time in SLURM's notation."""

    name: str
    default: bool
    state: str
    max_time: str
    allowed_qos: str
    allowed_accounts: str


def has_slurm() -> bool:
    """True if sbatch and squeue are on the PATH."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def ask(*argv: str, seconds: float = _TIMEOUT) -> str:
    """What a command of SLURM prints.

    Args:
        seconds: How long it may take.

    Raises:
        InputRefused: it is missing, fails or does not answer; with its own words.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise InputRefused(f"{argv[0]} is not on the PATH of this machine") from error
    except subprocess.TimeoutExpired as error:
        raise InputRefused(f"`{' '.join(argv)}` did not answer within {seconds:g} s") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise InputRefused(f"`{' '.join(argv)}`: {said}")
    return done.stdout


def max_array_size() -> int:
    """MaxArraySize of the cluster; the highest index of an array is one less.

    Raises:
        InputRefused: SLURM does not answer.
    """
    match = re.search(r"(?m)^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
    return int(match[1]) if match else DEFAULT_MAX_ARRAY_SIZE


def queued(job_ids: Iterable[str], seconds: float = _TIMEOUT) -> list[QueuedJob]:
    """What of these jobs is still in the queue or running.

    Args:
        seconds: How long squeue may take.

    Raises:
        InputRefused: SLURM does not answer.
    """
    ids = list(job_ids)
    if not ids:
        return []
    try:
        text = ask("squeue", "--noheader", "--format=%F|%i|%T", f"--jobs={','.join(ids)}", seconds=seconds)
    except InputRefused as error:
        if "Invalid job id" in str(error):  # what squeue says of a single job that it has forgotten
            return []
        raise
    lines = (line.strip().split("|") for line in text.splitlines() if line.count("|") == 2)
    return [QueuedJob(array, name, state) for array, name, state in lines]


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs.

    Raises:
        InputRefused: scancel fails.
    """
    if job_ids:
        ask("scancel", *job_ids)


def partitions() -> list[Partition]:
    """The partitions of the cluster.

    Raises:
        InputRefused: SLURM does not answer.
    """
    found = []
    for line in ask("scontrol", "show", "partition", "--oneliner").splitlines():
        facts = dict(part.partition("=")[::2] for part in line.split())
        if "PartitionName" in facts:
            found.append(
                Partition(
                    name=facts["PartitionName"],
                    default=facts.get("Default") == "YES",
                    state=facts.get("State", ""),
                    max_time=facts.get("MaxTime", ""),
                    allowed_qos=facts.get("AllowQos", "ALL"),
                    allowed_accounts=facts.get("AllowAccounts", "ALL"),
                )
            )
    return found


def ended(job_ids: Sequence[str], seconds: float = _TIMEOUT) -> dict[str, JobEnd]:
    """How jobs ended, from accounting: `{"123_4": JobEnd("OUT_OF_MEMORY", "0:125")}`; the unknown are left out.

    Args:
        seconds: How long sacct may take.

    Raises:
        InputRefused: there is no accounting, or it does not answer.
    """
    columns = "--format=JobID,State,ExitCode"
    text = ask(
        "sacct", "--noheader", "--allocations", "--parsable2", columns, f"--jobs={','.join(job_ids)}", seconds=seconds
    )
    lines = (line.strip().split("|") for line in text.splitlines() if line.count("|") == 2)
    return {job: JobEnd(state.partition(" ")[0], code) for job, state, code in lines if state}
