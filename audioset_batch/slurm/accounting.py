"""What jobs have held, from SLURM's accounting (sacct(1))."""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.slurm.queue import ask

_COLUMNS: Final = "--format=JobID,ElapsedRaw,AllocCPUS,AllocTRES"
_MEM: Final = re.compile(r"(?:^|,)mem=(\d+(?:\.\d+)?)([KMGT]?)(?:,|$)")
_MB: Final = {"": 1 / 2**20, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


@dataclass(frozen=True, slots=True)
class JobHeld:
    """What all runs of all tasks of a job have held: CPUs and MiB of memory, each times seconds."""

    core_seconds: float = 0.0
    mb_seconds: float = 0.0


def held(jobs: Sequence[str], since: datetime.datetime | None, seconds: float) -> dict[str, JobHeld]:
    """By job id (of an array the one before `_`); jobs that accounting does not know are left out.

    Args:
        jobs: Ids.
        since: No job was submitted earlier: ids are given out again when a cluster's counter is reset.
        seconds: How long sacct may take.

    Raises:
        InputRefused: there is no accounting, or it does not answer.
    """
    # Without --duplicates only the last run of a job that was requeued is shown.
    argv = ["sacct", "--noheader", "--allocations", "--duplicates", "--parsable2", _COLUMNS, f"--jobs={','.join(jobs)}"]
    if since is not None:
        argv.append(f"--starttime={since.astimezone().strftime('%Y-%m-%dT%H:%M:%S')}")
    found: defaultdict[str, JobHeld] = defaultdict(JobHeld)
    for line in ask(*argv, seconds=seconds).splitlines():
        fields = line.strip().split("|")
        if len(fields) != 4 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            continue
        name, elapsed, cpus = fields[0].partition("_")[0], int(fields[1]), int(fields[2])
        memory = _MEM.search(fields[3])
        mb = float(memory[1]) * _MB[memory[2]] if memory else 0.0
        before = found[name]
        found[name] = JobHeld(before.core_seconds + elapsed * cpus, before.mb_seconds + elapsed * mb)
    return {job: found[job] for job in jobs if job in found}
