"""What SLURM tells a running job about itself, and asking it to run the job again.

The `SLURM_*` variables are documented in sbatch(1); a job that requeues itself gets TERM at once.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_log = logging.getLogger(__name__)
_COMMAND_TIMEOUT: Final = 60
_SHORTEST_DELAY: Final = 2


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Who is running: `job_id` is `123_4` in an array, `123` otherwise, "" outside SLURM."""

    job_id: str = ""
    restart_count: int = 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> JobIdentity:
        """Read `SLURM_*`; unset variables mean that there is no SLURM."""
        env = os.environ if environ is None else environ
        job_id = env.get("SLURM_JOB_ID", "")
        array, task = env.get("SLURM_ARRAY_JOB_ID", ""), env.get("SLURM_ARRAY_TASK_ID", "")
        if array and task:
            job_id = f"{array}_{task}"
        restarts = env.get("SLURM_RESTART_COUNT", "0")
        return cls(job_id, int(restarts) if restarts.isdigit() else 0)


def requeue(job: JobIdentity, delay_seconds: float) -> bool:
    """Ask SLURM to run this batch job again, not before `delay_seconds` from now.

    Returns False, after logging why, where that cannot or must not be: outside a batch job, for a job that was
    cancelled or is being preempted (SLURM requeues that one itself), or when scontrol refuses. The caller must
    already ignore TERM.
    """
    if not job.job_id or shutil.which("scontrol") is None:
        return False
    shown = _run(["scontrol", "show", "job", "--oneliner", job.job_id])
    if shown is None:
        return False
    facts = dict(part.partition("=")[::2] for part in shown.split())
    state = facts.get("JobState", "unknown")
    if state != "RUNNING":
        _log.info("not requeued: SLURM says that job %s is %s", job.job_id, state)
        return False
    if facts.get("BatchFlag") != "1":
        return False
    if facts.get("Restarts", str(job.restart_count)) != str(job.restart_count):
        _log.info("not requeued: job %s was started again elsewhere; this is a copy from before", job.job_id)
        return False
    if facts.get("Requeue") == "0":
        _log.warning("not requeued: job %s was submitted with --no-requeue; submit it again", job.job_id)
        return False
    if _run(["scontrol", "requeue", job.job_id]) is None:
        return False
    # A start in the second in which the job's last run ends is refused for good ("Job credential revoked").
    start = f"StartTime=now+{max(_SHORTEST_DELAY, round(delay_seconds))}"
    _run(["scontrol", "update", f"JobId={job.job_id}", start])
    _log.info("requeued job %s, to start in %d s at the earliest", job.job_id, round(delay_seconds))
    return True


def _run(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s: %s", " ".join(argv), error)
        return None
    if done.returncode != 0:
        _log.warning("%s: %s", " ".join(argv), done.stderr.strip() or f"exit status {done.returncode}")
        return None
    return done.stdout
