"""Submit a chain to SLURM: refuse a second one, keep a record of the jobs, leave nothing half submitted."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence

from audioset_batch.config.schema import Slurm
from audioset_batch.errors import AudiosetBatchError, InputRefused, ShardHeld, StopEarly
from audioset_batch.layout import DataDir
from audioset_batch.record.submission import Submission, SubmittedJob, read_submission, write_submission
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.sharedfs.publish import atomic_write_text, storage
from audioset_batch.slurm import queue as slurm
from audioset_batch.slurm.job import JobIdentity
from audioset_batch.submit.chain import Step
from audioset_batch.submit.script import command_line, executor_for

_log = logging.getLogger(__name__)


def dry_run(chain: Sequence[Step], settings: Slurm, data: DataDir) -> str:
    """The scripts that `submit_chain` would submit; ids that are not known yet are words such as ARRAY_JOB_ID."""
    names = _placeholders(chain)
    scripts = []
    for step, name in zip(chain, names, strict=True):
        executor = executor_for(step, settings, data, [names[i] for i in step.after])
        scripts.append(f"# ----- {name}\n{executor.script(command_line(step))}")
    return "\n".join(scripts)


def _placeholders(chain: Sequence[Step]) -> list[str]:
    arrays = sum(step.role == "array" for step in chain)
    number = 0
    names = []
    for step in chain:
        number += step.role == "array"
        suffix = f"_{number}" if step.role == "array" and arrays > 1 else ""
        names.append(f"{step.role.upper()}{suffix}_JOB_ID")
    return names


def submit_chain(chain: Sequence[Step], settings: Slurm, data: DataDir, config_name: str) -> Submission:
    """Submit every step; the record is written after each, so that a kill in between leaves no unknown job.

    The caller holds `submitting`.

    Raises:
        InputRefused: SLURM refused a step; those before it are cancelled.
        StorageUnusable: the data directory cannot be written.
    """
    with storage(data.root):
        for folder in (data.submissions, data.logs):  # without the folder of its log a job fails without a word
            folder.mkdir(parents=True, exist_ok=True)
    _clear_old_scripts(data)
    submission = Submission.begin(config_name)
    try:
        for step in chain:
            after = [submission.jobs[i].job_id for i in step.after]
            executor = executor_for(step, settings, data, after)
            job_id = executor.submit_script(command_line(step))
            submission = submission.with_job(SubmittedJob(step.role, job_id, step.tasks, step.offset))
            write_submission(data, submission)
            script = data.submissions / f"{job_id}_submission.sh"  # a copy to look at; SLURM has its own
            atomic_write_text(script, executor.script(command_line(step)))
    except AudiosetBatchError as error:
        ids = [job.job_id for job in submission.jobs]
        if not ids:
            raise
        slurm.cancel(ids)
        raise InputRefused(f"{error}\n  the jobs submitted before it were cancelled: {', '.join(ids)}") from error
    return submission


def _clear_old_scripts(data: DataDir) -> None:
    """Scripts of the submission before: SLURM has its own copies."""
    for path in data.submissions.glob("*_submission.sh"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def submitting(data: DataDir) -> Iterator[None]:
    """Nobody else submits for this data directory meanwhile, and no chain is under way.

    Raises:
        StopEarly: one is; says which jobs, or which process.
        InputRefused: there are jobs to ask about and SLURM does not answer.
        StorageUnusable: the data directory cannot be written.
    """
    job = JobIdentity.from_environment()
    with storage(data.root):
        data.submissions.mkdir(parents=True, exist_ok=True)
    try:
        lease = Lease.acquire(data.submit_lease, Holder.current(job.job_id, job.restart_count))
    except ShardHeld as error:
        raise StopEarly(
            f"another submit for {data.root} is under way ({str(error).partition(' by ')[2]}); nothing was started"
        ) from error
    with lease:
        running = running_jobs(data)
        if running:
            raise StopEarly(running)
        yield


def running_jobs(data: DataDir) -> str:
    """What to tell a user about an earlier submission that is still in the queue; "" if there is none.

    Raises:
        InputRefused: there are jobs to ask about and SLURM does not answer.
    """
    submission = read_submission(data)
    if submission is None or not submission.jobs:
        return ""
    if shutil.which("squeue") is None:
        _log.warning("jobs of %s may still run, but there is no squeue here to ask", submission.submitted_at)
        return ""
    queued = slurm.queued(job.job_id for job in submission.jobs)
    if not queued:
        return ""
    lines = []
    for job in submission.jobs:
        mine = [one for one in queued if one.array_id == job.job_id]
        if mine:
            states = ", ".join(f"{one.name} {one.state.lower()}" for one in mine[:8])
            lines.append(f"  {job.role}: {states}" + (f" and {len(mine) - 8} more" if len(mine) > 8 else ""))
    there = {one.array_id for one in queued}  # squeue has an order of its own
    ids = " ".join(job.job_id for job in submission.jobs if job.job_id in there)
    return "\n".join(
        [
            f"the jobs submitted at {submission.submitted_at} for {data.root} are not over; nothing was submitted:",
            *lines,
            f"  wait for them, or end them first: scancel {ids}",
        ]
    )
