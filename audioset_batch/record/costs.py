"""What a data directory has cost so far: core-hours and GB-hours held and used."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from audioset_batch.config.reservation import Reservation, amount, excess
from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.record.usage import TaskUsage, read_usage
from audioset_batch.slurm import accounting as slurm_accounting
from audioset_batch.slurm.accounting import JobHeld

_SACCT_TIMEOUT_SECONDS: Final = 10.0
"""Seconds to wait for sacct; the user sees an empty screen meanwhile."""
_MAX_JOBS: Final = 500
_NEGLIGIBLE_HOURS: Final = 1.0
"""Core-hours or GB-hours beyond the need that are ignored, such as those of start-ups."""


@dataclass(frozen=True, slots=True)
class Costs:
    """All tasks of a data directory together.

    Attributes:
        source: Source of the held hours: `sacct`, or the clocks of the `tasks`; "" if no task ran under SLURM.
        held_core_hours, held_gb_hours: What SLURM allocated, times how long it was held; GB of 1024 MB.
        used_core_hours: CPU time of all processes.
        segments, clips: Rows written, and those of them that are ok.
        tasks: Their usage records.
    """

    source: Literal["sacct", "tasks", ""] = ""
    held_core_hours: float = 0.0
    held_gb_hours: float = 0.0
    used_core_hours: float = 0.0
    segments: int = 0
    clips: int = 0
    tasks: Sequence[TaskUsage] = ()

    def per_1000_clips(self, hours: float) -> float | None:
        """These hours per 1,000 clips; None without a clip."""
        return 1000 * hours / self.clips if self.clips else None

    def to_json(self, asked: Reservation, need: Reservation, left: int) -> dict[str, Any]:
        """The figures for scripts: the cost so far, and the expected cost of the segments that are left."""
        hours = {
            "held_core_hours": self.held_core_hours,
            "held_gb_hours": self.held_gb_hours,
            "used_core_hours": self.used_core_hours,
        }
        return {
            "source": self.source,
            "segments": self.segments,
            "clips": self.clips,
            **{name: _rounded(value) for name, value in hours.items()},
            **{f"{name}_per_1000_clips": _rounded(self.per_1000_clips(value)) for name, value in hours.items()},
            "cpu_seconds_per_segment": _rounded(need.cpu_seconds),
            "expected_core_hours": _rounded(asked.core_hours(left)),
            "expected_gb_hours": _rounded(asked.gb_hours(left)),
            "warning": warning(self, asked, need, left),
        }


def read_costs(data: DataDir, *, ask_slurm: bool = True) -> Costs:
    """Read the costs from SLURM's accounting for the jobs that it knows, else from the tasks' usage records.

    Args:
        data: The data directory.
        ask_slurm: Whether to ask sacct, which may take ten seconds.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    tasks = read_usage(data)
    jobs = _jobs(tasks)
    known = _query_sacct(jobs, tasks) if ask_slurm else {}
    held = [known.get(job) or _held_by_own_clocks(of_job) for job, of_job in jobs.items()]
    held += [JobHeld(task.core_seconds, task.mb_seconds) for task in tasks if not task.job_id]
    core_seconds = sum(one.core_seconds for one in held)
    return Costs(
        source="sacct" if known else "tasks" if core_seconds else "",
        held_core_hours=core_seconds / 3600,
        held_gb_hours=sum(one.mb_seconds for one in held) / 1024 / 3600,
        used_core_hours=sum(task.cpu_seconds for task in tasks) / 3600,
        segments=sum(task.segments for task in tasks),
        clips=sum(task.clips for task in tasks),
        tasks=tasks,
    )


def _jobs(tasks: Sequence[TaskUsage]) -> dict[str, list[TaskUsage]]:
    jobs: dict[str, list[TaskUsage]] = {}
    for task in tasks:
        if task.job_id:
            jobs.setdefault(_job(task), []).append(task)
    return jobs


def _held_by_own_clocks(tasks: Sequence[TaskUsage]) -> JobHeld:
    """What one job held. Runs in parallel within a task hold its CPUs only once."""
    largest: dict[str, JobHeld] = {}
    for task in tasks:
        now, before = JobHeld(task.core_seconds, task.mb_seconds), largest.get(task.job_id)
        largest[task.job_id] = now if before is None or now.core_seconds > before.core_seconds else before
    held = largest.values()
    return JobHeld(sum(one.core_seconds for one in held), sum(one.mb_seconds for one in held))


def _query_sacct(jobs: Mapping[str, Sequence[TaskUsage]], tasks: Sequence[TaskUsage]) -> dict[str, JobHeld]:
    if not jobs or shutil.which("sacct") is None:
        return {}
    newest = sorted(jobs, key=int)[-_MAX_JOBS:]
    began = [task.began for task in tasks if task.job_id and task.began is not None]
    try:
        since = min(began) - datetime.timedelta(days=30) if began else None  # the job may have waited in the queue
        return slurm_accounting.held(newest, since, _SACCT_TIMEOUT_SECONDS)
    except (InputRefused, OverflowError, ValueError):  # invalid times
        return {}


def warning(costs: Costs, asked: Reservation, need: Reservation, left: int) -> str:
    """A warning if more than twice the need was held, or will be for the segments that are left; else ""."""
    return too_much_held(costs, need) or (excess(asked, need) if costs.source and left else "")


def too_much_held(costs: Costs, need: Reservation) -> str:
    """What to change if more than twice the need was held; "" if it was not, or if there is nothing to change."""
    core_hours, gb_hours = need.core_hours(costs.segments), need.gb_hours(costs.segments)
    if core_hours is None or gb_hours is None or not costs.tasks:
        return ""
    over = [
        f"{amount(held)} {unit} were held and {amount(needed)} needed"
        for held, needed, unit in (
            (costs.held_core_hours, core_hours, "core-hours"),
            (costs.held_gb_hours, gb_hours, "GB-hours"),
        )
        if held > max(2 * needed, needed + _NEGLIGIBLE_HOURS)
    ]
    change = _what_to_change(_latest_job(costs.tasks), need)
    return f"{', '.join(over)}: {', '.join(change)}" if over and change else ""


def _latest_job(tasks: Sequence[TaskUsage]) -> list[TaskUsage]:
    """The tasks of the latest job; settings of earlier ones may have been changed since."""
    known = [task for task in tasks if task.job_id and task.updated is not None]
    latest = max(known, key=lambda task: task.updated_at, default=None)
    return [] if latest is None else [task for task in known if _job(task) == _job(latest)]


def _job(task: TaskUsage) -> str:
    return task.job_id.partition("_")[0]


def _what_to_change(tasks: Sequence[TaskUsage], need: Reservation) -> list[str]:
    change: list[str] = []
    if not tasks:
        return change
    if max(task.cpus for task in tasks) > need.cpus:
        change.append(f"--cpus-per-task={need.cpus} (slurm.cpus_per_task: auto)")
    if max(task.mem_mb for task in tasks) > 2 * need.mem_mb:
        change.append(f"--mem={need.mem} (slurm.mem: auto)")
    began = [task.began for task in tasks if task.began is not None]
    ended = [task.updated for task in tasks if task.updated is not None]
    span = (max(ended) - min(began)).total_seconds() if began and ended else 0.0
    if span > 0 and sum(task.seconds for task in tasks) > 2 * need.tasks * span:
        change.append(f"--array=...%{need.tasks} (slurm.array_parallelism: auto)")
    return change


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def cost_so_far(costs: Costs) -> str:
    """The cost so far in one line; "" if nothing is known."""
    if not costs.segments and not costs.held_core_hours:
        return ""
    used = f"{amount(costs.used_core_hours)} core-hours used"
    if not costs.source:
        each = costs.per_1000_clips(costs.used_core_hours)
        return used + ("" if each is None else f" ({amount(each)} per 1,000 clips)")
    each = costs.per_1000_clips(costs.held_core_hours)
    per = "" if each is None else f" ({amount(each)} core-hours per 1,000 clips)"
    by = "by sacct" if costs.source == "sacct" else "by the tasks' own clocks"
    held = f"{amount(costs.held_core_hours)} core-hours and {amount(costs.held_gb_hours)} GB-hours held{per}"
    return f"{held}, {used}; {by}"
