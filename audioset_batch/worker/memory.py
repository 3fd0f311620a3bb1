"""Check whether this task has enough memory."""

from __future__ import annotations

from audioset_batch.slurm.job import given
from audioset_batch.worker.oom import memory_limit_mb


def memory_shortage(needed_mb: int) -> str:
    """A warning if SLURM or a control group allows less than `needed_mb` MiB; "" if it is enough."""
    _, by_slurm = given()
    limits = [limit for limit in (by_slurm or None, memory_limit_mb()) if limit is not None]
    if not limits or min(limits) >= needed_mb:
        return ""
    return (
        f"this task may use {min(limits):,} MB of memory and needs about {needed_mb:,} MB. Where it runs out, the "
        f"kernel kills worker processes; give it more (--mem={needed_mb}M, slurm.mem: auto)"
    )
