"""The chain as values: which commands run after which, with which shards and resources. Nothing is started here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.config import Config
from audioset_batch.config.reservation import reserved
from audioset_batch.config.schema import Slurm
from audioset_batch.record.submission import Role
from audioset_batch.slurm.times import parse_limit

JOB_NAMES: Final[dict[Role, str]] = {
    "prep": "audioset-prep",
    "array": "audiosetdl",
    "download": "audiosetdl",
    "merge": "audioset-merge",
    "report": "audioset-report",
}
_SHORT: Final = "01:00:00"
_TABLE_MEM: Final = "6G"
"""For merge, with all of AudioSet as a single shard; 12 shards of 50,000 segments take 0.4 GB."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one task: CPUs, memory and time limit in sbatch's notation."""

    cpus: int
    mem: str
    time: str


@dataclass(frozen=True, slots=True)
class Step:
    """One job of the chain.

    Attributes:
        argv: Arguments of `audioset-batch`; those of the array lack the number of the shard.
        tasks: Shards of the array, or of the single job `download`; () for the other roles.
        offset: Shard = array index + offset.
        after: Positions in the chain of the steps to wait for.
        only_if_ok: Wait for their success; otherwise only for their end.
        parallel: Tasks of the array that run at the same time.
    """

    role: Role
    argv: tuple[str, ...]
    resources: Resources
    tasks: tuple[int, ...] = ()
    offset: int = 0
    after: tuple[int, ...] = ()
    only_if_ok: bool = False
    parallel: int = 1

    @property
    def array(self) -> tuple[int, ...]:
        """Shards of which each is a task of its own."""
        return self.tasks if self.role == "array" else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a chain is made from.

    Attributes:
        root: The data directory, absolute.
        prep: Subsets to prepare first; () for none.
        shards: Into how many shards prep splits.
        tasks: Shards that have work left.
        segments: Segments that are left in them; 0 where prep comes first.
        cpu_seconds: That a segment takes, if it has been measured.
        worker_options: `--config`, `--set` and the like, with absolute paths.
        single_job: One job for all shards in place of an array.
    """

    root: Path
    prep: tuple[str, ...]
    shards: int
    tasks: tuple[int, ...]
    worker_options: tuple[str, ...]
    segments: int = 0
    cpu_seconds: float | None = None
    single_job: bool = False


def make_chain(plan: Plan, config: Config, max_array_size: int) -> list[Step]:
    """Prep (if asked for), the array in pieces that the cluster takes or a single job, merge, report.

    Merge waits for the end of the array, not for its success: one failed task would hold it back for ever. The array
    alone wants success, of prep: without shards there is nothing to do. Pieces of the array run one after the other, so
    that `array_parallelism` holds over all of them.
    """
    slurm = config.slurm
    root = str(plan.root)
    steps: list[Step] = []
    if plan.prep:
        argv = ("prep", root, "--split", str(plan.shards), "--subsets", ",".join(plan.prep))
        steps.append(Step("prep", (*argv, "--base-url", config.source.base_url), _short(slurm, cpus=1, mem="4G")))
    worker = ("worker", *plan.worker_options, "--data-dir", root)
    asked = reserved(config, plan.cpu_seconds)
    resources = Resources(asked.cpus, asked.mem, slurm.time)
    if plan.single_job:
        role: Role = "download"
        worker += ("--task", index_ranges(plan.tasks))
        parts = [(0, plan.tasks)] if plan.tasks else []
    else:
        role, parts = "array", pieces(plan.tasks, max_array_size)
    for offset, tasks in parts:
        before = steps[-1] if steps else None
        steps.append(
            Step(
                role,
                worker,
                resources,
                tasks,
                offset,
                after=(len(steps) - 1,) if before else (),
                only_if_ok=before is not None and before.role == "prep",
                parallel=asked.tasks,
            )
        )
    everything = tuple(range(len(steps)))
    steps.append(Step("merge", ("merge", root), _short(slurm, cpus=2, mem=_TABLE_MEM), after=everything))
    steps.append(Step("report", ("report", root), _short(slurm, cpus=1, mem=_TABLE_MEM), after=(len(steps) - 1,)))
    return steps


def pieces(tasks: Sequence[int], max_array_size: int) -> list[tuple[int, tuple[int, ...]]]:
    """(offset, shards) of each array; an index is 1 to `max_array_size` - 1, the highest that SLURM takes."""
    room = max(1, max_array_size - 1)
    found: dict[int, list[int]] = {}
    for task in tasks:
        found.setdefault((task - 1) // room * room, []).append(task)
    return [(offset, tuple(part)) for offset, part in sorted(found.items())]


def index_ranges(numbers: Sequence[int]) -> str:
    """`(1, 2, 3, 7) -> "1-3,7"`, as `--array` wants it."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def _short(slurm: Slurm, *, cpus: int, mem: str) -> Resources:
    limit = parse_limit(slurm.time)
    most = parse_limit(_SHORT)
    assert most is not None
    return Resources(cpus, mem, slurm.time if limit is not None and limit < most else _SHORT)
