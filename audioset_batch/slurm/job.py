"""What SLURM tells a running job about itself, and asking it to run the job again.

The `SLURM_*` variables are documented in sbatch(1); a job that requeues itself gets TERM at once.
"""

from __future__ import annotations

import datetime
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
_COMMAND_TIMEOUT: Final = 60.0
_SHORTEST_DELAY: Final = 2
_BEGIN_TIME_SECONDS: Final = 20.0
"""For setting the begin time of a job that is requeued: SLURM kills its last run after KillWait, 30 s by default."""
_PATIENCE: Final = 100.0
"""For jobs that SLURM warns two minutes before their end."""
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
_FINAL: Final = ("invalid job id", "permission denied", "presently disabled", "invalid user")
"""Words of scontrol that no later try would change (slurm_errno); all others may be those of a busy controller."""
_REQUEUED: Final = ("PENDING", "REQUEUED", "CONFIGURING")
_OVER: Final = ("TIMEOUT", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "COMPLETED")
"""States from which SLURM runs no job again by itself; a cancelled one was ended by its user."""
_TIME_IS_OVER: Final = "TimeLimit"
"""Reason of a job that is being ended at its time limit; its state is COMPLETING until its processes are gone."""
_WHOLE_LINE: Final = ("Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment", "SubmitLine")
"""What `scontrol show job` prints on a line of its own, spaces and all."""
_DURATION: Final = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)")
_FROM_ENVIRONMENT: Final = {
    "JobName": "SLURM_JOB_NAME",
    "Partition": "SLURM_JOB_PARTITION",
    "Account": "SLURM_JOB_ACCOUNT",
    "QOS": "SLURM_JOB_QOS",
    "Reservation": "SLURM_JOB_RESERVATION",
    "CPUs/Task": "SLURM_CPUS_PER_TASK",
    "MinMemoryNode": "SLURM_MEM_PER_NODE",
    "MinMemoryCPU": "SLURM_MEM_PER_CPU",
    "WorkDir": "SLURM_SUBMIT_DIR",
}
_OPTIONS: Final = {
    "JobName": "job-name",
    "Partition": "partition",
    "Account": "account",
    "QOS": "qos",
    "Reservation": "reservation",
    "Features": "constraint",
    "ExcNodeList": "exclude",
    "Licenses": "licenses",
    "TimeLimit": "time",
    "CPUs/Task": "cpus-per-task",
    "MinMemoryNode": "mem",
    "MinMemoryCPU": "mem-per-cpu",
}
"""Facts of a job, and the options of sbatch that ask for the same."""


class RequeueFailed(Exception):
    """The job cannot be put back into the queue; says why.

    Attributes:
        uncertain: SLURM was asked and did not confirm it, so that it may have done it all the same.
    """

    def __init__(self, why: str, *, uncertain: bool = False) -> None:
        super().__init__(why)
        self.uncertain = uncertain


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

    @property
    def index(self) -> int | None:
        """In the array; None for a plain job."""
        index = self.job_id.partition("_")[2]
        return int(index) if index.isdigit() else None


def given(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """CPUs and MiB of this job on this node (sbatch(1)); 0 where SLURM does not say."""

    def number(*names: str) -> int:
        found = (environ.get(name, "") for name in names)
        return next((int(value) for value in found if value.isascii() and value.isdecimal() and len(value) < 10), 0)

    cpus = number("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK")
    return cpus, number("SLURM_MEM_PER_NODE") or number("SLURM_MEM_PER_CPU") * cpus


class BatchJob:
    """The job that this process runs in, and what SLURM last said of it.

    Args:
        identity: Its name; outside SLURM there is nothing to ask.
        environ: Instead of the process's.
    """

    def __init__(self, identity: JobIdentity, environ: Mapping[str, str] | None = None) -> None:
        self.identity = identity
        env = os.environ if environ is None else environ
        self._facts = {fact: env[name] for fact, name in _FROM_ENVIRONMENT.items() if env.get(name)}
        for fact, name in (("StartTime", "SLURM_JOB_START_TIME"), ("EndTime", "SLURM_JOB_END_TIME")):
            if env.get(name, "").isdigit():
                moment = datetime.datetime.fromtimestamp(int(env[name]))
                self._facts[fact] = moment.isoformat(timespec="seconds")
        self._looked_at = time.monotonic()

    def look_in_background(self) -> None:
        """Ask SLURM once, without waiting for it: at the end it may not answer."""
        if self.identity.job_id and shutil.which("scontrol") is not None:
            threading.Thread(target=self.look, name="scontrol", daemon=True).start()

    def look(self, seconds: float = _COMMAND_TIMEOUT) -> str:
        """Ask SLURM about the job; returns why that failed, or ""."""
        shown, why = _run("scontrol", "show", "job", self.identity.job_id, seconds=seconds)
        if why:
            return why
        self._facts, self._looked_at = self._facts | _facts(shown), time.monotonic()
        return ""

    def fact(self, name: str) -> str:
        """As `scontrol show job` calls it; "" where it is not known or not set."""
        value = self._facts.get(name, "")
        return "" if value in ("(null)", "N/A", "Unknown", "NONE", "None") else value

    @property
    def may_come_back(self) -> bool:
        """False outside SLURM, and where SLURM is known not to run the job again: interactive, or `--no-requeue`."""
        return bool(self.identity.job_id) and self.fact("BatchFlag") != "0" and self.fact("Requeue") != "0"

    @property
    def seconds_left(self) -> float | None:
        """Until the time limit, as far as is known; by SLURM's clock: this node's may differ by minutes."""
        try:
            now = time.time()
            if self.fact("StartTime"):
                run = _DURATION.fullmatch(self.fact("RunTime"))
                parts = {name: int(value or 0) for name, value in run.groupdict().items()} if run else {}
                ran = datetime.timedelta(**parts).total_seconds() + time.monotonic() - self._looked_at
                now = datetime.datetime.fromisoformat(self.fact("StartTime")).timestamp() + ran
            return datetime.datetime.fromisoformat(self.fact("EndTime")).timestamp() - now
        except (ValueError, OverflowError):
            return None

    @property
    def submitted(self) -> tuple[Path | None, list[str]]:
        """The script, if it is still there, and its arguments, as far as SLURM tells them apart."""
        words = self.fact("Command").split(" ")  # the path may have spaces, too
        for count in range(1, len(words) + 1):
            path = Path(self.fact("WorkDir"), " ".join(words[:count]))
            if path.is_absolute() and seen(path.is_file):
                return path, words[count:]
        return None, []

    @property
    def options(self) -> list[str]:
        """Of sbatch, asking for what this job has, as far as it is known."""
        found = [f"--{option}={self.fact(name)}" for name, option in _OPTIONS.items() if self.fact(name)]
        # What was given with `%%` is shown so, a `%` of the folder from which the job was submitted as it is.
        given = Path(self.fact("StdOut")).parent
        folder = next((one for one in (given, Path(str(given).replace("%%", "%"))) if seen(one.is_dir)), None)
        if given.is_absolute() and folder is not None and folder != Path("/dev"):
            name = "%x-%j.log" if self.identity.index is None else "%x-%A_%a.log"
            found.append(f"--output={str(folder).replace('%', '%%')}/{name}")
        return found


def seen(check: Callable[[], bool]) -> bool:
    """What `Path.is_file` and its like say; False also where the filesystem refuses to tell."""
    try:
        return check()
    except OSError:
        return False


def requeue(job: BatchJob, delay_seconds: float, patience: float, trouble: Callable[[str], None]) -> bool:
    """Have SLURM run this batch job again, not before `delay_seconds` from now; tries until that is done.

    Returns False, after logging why, where that must not be: outside a batch job, for a job that was cancelled or is
    being preempted (SLURM requeues that one itself), for a copy of one that runs elsewhere. The caller must already
    ignore TERM.

    A request that SLURM did not answer may have been granted all the same. It is repeated only while SLURM says that
    the job runs as before; a job that waits in the queue already is not requeued twice (SLURM refuses that). A job that
    is completing may be on its way to the queue or to its end: it is requeued if SLURM takes a begin time for it.

    Args:
        job: The job.
        delay_seconds: See above.
        patience: Seconds to go on trying.
        trouble: Called once, when the first try has failed, with the reason.

    Raises:
        RequeueFailed: SLURM refuses, or has not done it in time.
    """
    identity = job.identity
    if not identity.job_id:
        return False
    if shutil.which("scontrol") is None:
        raise RequeueFailed("scontrol is not on the PATH of this node")
    give_up_at = time.monotonic() + patience
    asked = told = False
    for pause in _pauses():
        why = job.look(_within(give_up_at))
        if not why:
            state = job.fact("JobState") or "unknown"
            again = (job.fact("Restarts") or str(identity.restart_count)) != str(identity.restart_count)
            if asked and (again or state in _REQUEUED):
                _begin_after(job, delay_seconds)
                return True
            if asked and state == "COMPLETING":
                if _begin_after(job, delay_seconds):
                    return True
                raise RequeueFailed(f"SLURM says only that job {identity.job_id} is ending", uncertain=True)
            if not _is_ours(job, state, again=again):
                return False
            if job.fact("Requeue") == "0":
                raise RequeueFailed(f"job {identity.job_id} was submitted with --no-requeue")
            asked = True
            why = _run("scontrol", "requeue", identity.job_id, seconds=_within(give_up_at))[1]
            if not why:
                _begin_after(job, delay_seconds)
                return True
        if any(words in why.lower() for words in _FINAL):
            raise RequeueFailed(why)
        if time.monotonic() + pause >= give_up_at:
            raise RequeueFailed(f"SLURM did not do it within {patience:.0f} s ({why})", uncertain=asked)
        if not told:
            told = True
            trouble(why)
            _log.warning("SLURM does not requeue job %s (%s); it is asked again", identity.job_id, why)
        time.sleep(pause)
    raise AssertionError("unreachable")


def ignore_term() -> None:
    """Ignore the signals that ask to stop: SLURM sends TERM to a job that requeues itself."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def requeue_or_tell(delay_seconds: float = 0.0) -> None:
    """`requeue` of the job that this process runs in, which must have nothing left to stop.

    Where that fails, the log says so.
    """
    ignore_term()
    job = BatchJob(JobIdentity.from_environment())
    try:
        requeue(job, delay_seconds, _PATIENCE, lambda _: None)
    except RequeueFailed as failure:
        if failure.uncertain:
            _log.error(
                "perhaps not requeued: %s. If squeue -j %s does not show the job, submit it again; it continues where "
                "it stopped",
                failure,
                job.identity.job_id,
            )
        else:
            _log.error("not requeued: %s. Submit the same job again; it continues where it stopped", failure)


def _is_ours(job: BatchJob, state: str, *, again: bool) -> bool:
    """False if SLURM deals with the job itself, or it is no batch job.

    Raises:
        RequeueFailed: it is over, and SLURM will not run it again.
    """
    batch = job.fact("BatchFlag") == "1"
    if batch and (state in _OVER or (state == "COMPLETING" and job.fact("Reason") == _TIME_IS_OVER)):
        raise RequeueFailed(f"job {job.identity.job_id} has ended: {job.fact('Reason') or state}")
    if state != "RUNNING":
        _log.info("not requeued: SLURM says that job %s is %s", job.identity.job_id, state)
        return False
    if again:
        _log.info("not requeued: job %s was started again elsewhere; this is a copy from before", job.identity.job_id)
        return False
    return batch


def _begin_after(job: BatchJob, delay_seconds: float) -> bool:
    """Set the begin time of the job, which is requeued now; False if SLURM does not take it.

    Without it the job starts when SLURM likes, after some two minutes: too early does no harm, for it looks at what it
    waits for before it asks anybody.
    """
    job_id = job.identity.job_id
    give_up_at = time.monotonic() + _BEGIN_TIME_SECONDS
    due = time.monotonic() + delay_seconds
    for pause in _pauses():
        # A start in the second in which the job's last run ends is refused for good ("Job credential revoked").
        left = max(_SHORTEST_DELAY, round(due - time.monotonic()))
        start = f"StartTime=now+{left}"
        why = _run("scontrol", "update", f"JobId={job_id}", start, seconds=_within(give_up_at))[1]
        if not why:
            _log.info("requeued job %s, to start in %d s at the earliest", job_id, left)
            return True
        if any(words in why.lower() for words in _FINAL) or time.monotonic() + pause >= give_up_at:
            break
        time.sleep(pause)
    _log.warning("job %s: its begin time is not set (%s); it may start earlier than it has to", job_id, why)
    return False


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]


def _within(give_up_at: float) -> float:
    return max(1.0, min(_COMMAND_TIMEOUT, give_up_at - time.monotonic()))


def _facts(shown: str) -> dict[str, str]:
    """What `scontrol show job` says, by its names."""
    found: dict[str, str] = {}
    for line in shown.splitlines():
        name, _, value = line.strip().partition("=")
        if name in _WHOLE_LINE:
            found[name] = value
        else:
            found |= dict(part.partition("=")[::2] for part in line.split() if "=" in part)
    return found


def _run(*argv: str, seconds: float) -> tuple[str, str]:
    """What a command prints, and why it failed, "" if it did not."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return "", f"{' '.join(argv[:2])} did not answer within {seconds:.0f} s"
    except OSError as error:
        return "", f"{' '.join(argv[:2])}: {error}"
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        return "", f"{' '.join(argv[:2])}: {said}"
    return done.stdout, ""
