"""What a run needs of the cluster: tasks, CPUs and memory, worked out from the budgets of the egresses.

The budget limits the pace, not the cores: 300 videos an hour keep a core busy for some minutes of each hour. What is
reserved beyond the need is charged all the same.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from audioset_batch.config.schema import Config, Egress
from audioset_batch.humanize import counted

_AUDIO_CPU_SECONDS: Final = 0.3
"""Per segment, start-ups and waiting threads included; 0.26 measured at 300 an hour, 0.08 without a budget."""
_PICTURES_CPU_SECONDS: Final = 6.0
"""For ten seconds of 1080p, encoded by x264 at `veryfast`; in proportion to the pixels."""
_PICTURES_HEIGHT: Final = 1080
_COPIED_CPU_SECONDS: Final = 0.3
_TRUST: Final = 10
"""How far a measured figure may be from the estimate; what is further off is no measurement."""
_BURST_SECONDS: Final = 3.0
"""From one resolve of a burst to the next (`egress.slots`)."""
_BUSY: Final = 0.8
"""Share of a CPU that is planned for."""
_MOST_CPUS: Final = 4
"""Of one task: more tasks find a place sooner than larger ones."""
_TASK_MB: Final = 550
_PROCESS_MB: Final = 50
_ENCODER_MB: Final = 350
"""One encoder at 1080p, with the pictures that it holds."""
_UNLIMITED_TASKS: Final = 10
"""Tasks where no budget limits the pace."""
_FACTORS: Final = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a run requests from SLURM.

    Attributes:
        tasks: Array tasks at the same time.
        cpus: Of one task.
        mem: Of one task, in sbatch's notation.
        videos_per_hour: All budgets together; None if one egress has none.
        cpu_seconds: That a segment takes.
        held: Share of the time for which a task has its node; less than 1 with `worker.burst`.
    """

    tasks: int
    cpus: int
    mem: str
    videos_per_hour: float | None
    cpu_seconds: float
    held: float = 1.0

    @property
    def mem_mb(self) -> int:
        """Memory of one task, MiB."""
        return megabytes(self.mem)

    def core_hours(self, segments: float) -> float | None:
        """Core-hours reserved until so many segments are resolved; None without a budget."""
        if not self.videos_per_hour:
            return None
        return self.held * self.tasks * self.cpus * segments / self.videos_per_hour

    def gb_hours(self, segments: float) -> float | None:
        """GiB-hours of memory, likewise."""
        if not self.videos_per_hour:
            return None
        return self.held * self.tasks * self.mem_mb / 1024 * segments / self.videos_per_hour


def budget_of(config: Config) -> float | None:
    """Videos per hour of all egresses together; None if one has no budget."""
    rates = [
        None if egress.per_hour is None else egress.per_hour * kept_of_the_rate(egress, config.worker.burst)
        for egress in config.egress
    ]
    return None if None in rates else sum(rate or 0.0 for rate in rates)


def kept_of_the_rate(egress: Egress, burst: float) -> float:
    """The share of an egress's budget that `worker.burst` leaves: slots are so much further apart."""
    return egress.window_seconds / (egress.window_seconds + burst)


def _held(config: Config) -> float:
    """With a burst: while the old slots are used, one every few seconds behind each egress."""
    if not config.worker.burst or budget_of(config) is None:
        return 1.0
    rates = [(one.per_hour or 0.0) * kept_of_the_rate(one, config.worker.burst) for one in config.egress]
    return min(1.0, max(rates) * _BURST_SECONDS / 3600)


def needed(config: Config, cpu_seconds: float | None = None) -> Reservation:
    """What the budgets need.

    Args:
        config: Budgets, video mode, segments in flight.
        cpu_seconds: That a segment takes, if it has been measured.
    """
    estimate = estimated_cpu_seconds(config)
    seconds = min(max(cpu_seconds or estimate, estimate / _TRUST), estimate * _TRUST)
    rate = budget_of(config)
    if rate is None:
        tasks, cpus = _UNLIMITED_TASKS, _MOST_CPUS
    else:
        busy = rate * seconds / 3600 / _BUSY
        cpus = max(1, min(_MOST_CPUS, math.ceil(busy)))
        tasks = max(1, math.ceil(busy / cpus))
    processes = cpus if config.worker.processes == "auto" else config.worker.processes
    return Reservation(tasks, cpus, f"{needed_mb(config, processes)}M", rate, seconds, _held(config))


def needed_mb(config: Config, processes: int) -> int:
    """Memory of one task with so many worker processes, MiB."""
    memory = _TASK_MB + _PROCESS_MB * processes
    if _encodes(config):
        memory += _ENCODER_MB * min(2 * processes, config.worker.threads)
    return memory


def reserved(config: Config, cpu_seconds: float | None = None) -> Reservation:
    """What `slurm:` of the config asks for; `auto` is what is needed."""
    slurm, need = config.slurm, needed(config, cpu_seconds)
    return Reservation(
        need.tasks if slurm.array_parallelism == "auto" else slurm.array_parallelism,
        need.cpus if slurm.cpus_per_task == "auto" else slurm.cpus_per_task,
        need.mem if slurm.mem == "auto" else slurm.mem,
        need.videos_per_hour,
        need.cpu_seconds,
        need.held,
    )


def estimated_cpu_seconds(config: Config) -> float:
    """CPU seconds of one segment, from the video mode."""
    if config.video.mode == "none":
        return _AUDIO_CPU_SECONDS
    if not _encodes(config):
        return _AUDIO_CPU_SECONDS + _COPIED_CPU_SECONDS
    height = config.video.max_height or _PICTURES_HEIGHT
    return _AUDIO_CPU_SECONDS + _PICTURES_CPU_SECONDS * (height / _PICTURES_HEIGHT) ** 2


def excess(asked: Reservation, need: Reservation) -> str:
    """What to change where more than twice the need is asked for; "" where it is not."""
    if need.videos_per_hour is None:
        return ""
    lines = []
    if asked.tasks * asked.cpus > 2 * need.tasks * need.cpus:
        lines.append(
            f"{counted(asked.tasks, 'task')} of {counted(asked.cpus, 'CPU')} are asked for, and the budgets keep "
            f"{need.tasks} of {need.cpus} busy: slurm.array_parallelism: auto, slurm.cpus_per_task: auto"
        )
    if asked.tasks * asked.mem_mb > 2 * need.tasks * need.mem_mb:
        lines.append(
            f"{asked.tasks} x {asked.mem_mb} MB of memory are asked for, {need.tasks} x {need.mem_mb} MB are needed: "
            "slurm.mem: auto"
        )
    return "; ".join(lines)


def cost_line(asked: Reservation, segments: float) -> str:
    """What resolving so many segments reserves and uses, in one line; "" without a budget."""
    cores, memory = asked.core_hours(segments), asked.gb_hours(segments)
    if cores is None or memory is None or not segments:
        return ""
    used = segments * asked.cpu_seconds / 3600
    return (
        f"{amount(cores)} core-hours and {amount(memory)} GB-hours reserved "
        f"({amount(1000 * cores / segments)} core-hours per 1,000 segments), {amount(used)} core-hours used"
    )


def megabytes(text: str) -> int:
    """MiB of an amount in sbatch's notation, such as `4G`; without a unit it is MiB.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text.upper())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory: expected a number and K, M, G or T")
    return max(1, round(int(match[1]) * _FACTORS[match[2]]))


def _encodes(config: Config) -> bool:
    return config.video.mode != "none" and config.video.cut == "exact"


def amount(value: float) -> str:
    """Hours for people: two digits, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
