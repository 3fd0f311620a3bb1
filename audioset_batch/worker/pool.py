"""Worker processes: start them, hand them jobs, notice when one dies or hangs.

A dead process takes its other segments with it. Nobody can tell whose fault it was, so each of them is a
suspect and runs again alone in a process; the one that was alone when it died is the cause.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from typing import Final

from audioset_batch.config import Config
from audioset_batch.errors import StopEarly
from audioset_batch.worker.messages import Attempt, Job, Waiting
from audioset_batch.worker.oom import die_before_us, memory_limit_mb, oom_kills
from audioset_batch.youtube import versions as ytdlp_versions

_HANG_SLACK: Final = 10.0
"""A try that overruns its timeout by this many seconds hangs in native code: only a kill ends it."""


_START_PAUSES: Final = (0.1, 1.0, 3.0)
_MOST_AT_START: Final = 3
"""So many processes in a row that die as they start are no accident: the node lacks something."""

_PRELOAD: Final = ("audioset_batch.worker.child", "soundfile", "yt_dlp.extractor.youtube")
"""Imported once, by the fork server; this process needs neither yt-dlp nor FFmpeg."""


@dataclass(slots=True)
class _Running:
    job: Job
    alone: bool
    overdue_at: float


@dataclass(slots=True)
class _Process:
    process: ForkServerProcess
    pipe: connection.Connection
    ready: bool = False
    running: dict[int, _Running] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended with jobs in hand.

    Attributes:
        jobs: What it was working on.
        alone: True if there was just one, so that it is the cause.
        at_start: True if the process never got as far as its jobs; none of them is the cause.
        hung: The job that overran its time, if that is why the process was killed.
        why: For people.
    """

    jobs: tuple[Job, ...]
    alone: bool
    at_start: bool
    hung: Job | None
    why: str


def start_fork_server() -> None:
    """Begin to start the fork server, which imports as much as the caller still has to: both at once are sooner done.

    Returns at once; a second call does nothing.
    """
    ytdlp_versions.note_use()
    forkserver.set_forkserver_preload(list(_PRELOAD))
    with _signals_blocked(), ytdlp_versions.handed_on():
        forkserver.ensure_running()
    _expose_fork_server()


def _fork_server_pid() -> int | None:
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid


def _expose_fork_server() -> None:
    """Where memory runs out: first the worker processes, then the fork server; this process tells why, and goes on."""
    if (pid := _fork_server_pid()) is not None:
        die_before_us(pid, 250)


class Pool:
    """`processes` processes with `threads` jobs in flight altogether."""

    def __init__(self, config: Config, processes: int, threads: int) -> None:
        self._config = config
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_PRELOAD))
        share, extra = divmod(threads, processes)
        self._threads = [share + (index < extra) for index in range(processes)]
        self._processes: list[_Process | None] = [None] * processes
        self._died_at_start = 0
        self._oom_kills = oom_kills()

    def __enter__(self) -> Pool:
        return self  # processes start with their first job: a shard with nothing to do costs none

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End all processes and what they are working on; new jobs start new ones."""
        for worker in self._processes:
            if worker is not None:
                worker.pipe.close()
                worker.process.kill()
                worker.process.join()
        self._processes = [None] * len(self._processes)

    def _start(self, index: int) -> _Process:
        for pause in _START_PAUSES:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_serve, args=(theirs, self._config, self._threads[index]), daemon=True
            )
            try:
                with _signals_blocked(), ytdlp_versions.handed_on():  # starts the fork server again if it has died
                    process.start()
                _expose_fork_server()
            except (EOFError, OSError) as error:  # somebody killed the fork server, or there is no memory
                why = error
                ours.close()
                time.sleep(pause)
                continue
            finally:
                theirs.close()
            self._processes[index] = worker = _Process(process, ours)
            return worker
        raise StopEarly(
            f"no worker process can be started ({type(why).__name__}: {why}): give the job more memory or processes, "
            "then run the same command again"
        )

    def pids(self) -> list[int]:
        """The processes that are alive, the fork server's among them."""
        workers = [worker.process.pid for worker in list(self._processes) if worker is not None]
        return [pid for pid in (_fork_server_pid(), *workers) if pid is not None]

    @property
    def in_flight(self) -> list[Job]:
        """Jobs that have not been answered."""
        return [item.job for worker in self._alive() for item in worker.running.values()]

    @property
    def free(self) -> int:
        """How many more jobs could start now."""
        return sum(
            max(0, threads - len(worker.running)) if worker is not None else threads
            for worker, threads in zip(self._processes, self._threads, strict=True)
        )

    def can_take(self, *, alone: bool = False) -> bool:
        """True if a job (one that must run alone) could start now."""
        return self._free(alone) is not None

    def submit(self, job: Job, *, alone: bool = False) -> None:
        """Start a job; only after `can_take`.

        Raises:
            StopEarly: no process can be started for it.
        """
        index = self._free(alone)
        if index is None:
            raise RuntimeError("submit without can_take")
        worker = self._processes[index] or self._start(index)
        running = _Running(job, alone, time.monotonic() + job.timeout + _HANG_SLACK)
        worker.running[job.number] = running
        with contextlib.suppress(OSError):  # it has just died: `wait` tells
            worker.pipe.send(job)

    def wait(self, timeout: float) -> Iterator[Attempt | Death]:
        """What has happened, waiting up to `timeout` seconds for the first of it.

        Raises:
            StopEarly: processes die as soon as they start.
        """
        pipes = {worker.pipe: worker for worker in self._alive()}
        if not pipes:
            time.sleep(timeout)
        for ready in connection.wait(list(pipes), timeout) if pipes else ():
            worker = pipes[ready]  # type: ignore[index]
            try:
                attempt: Attempt | Waiting | str = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._died(worker, hung=None)
                continue
            if isinstance(attempt, str):
                worker.ready, self._died_at_start = True, 0
            elif isinstance(attempt, Waiting):
                if (running := worker.running.get(attempt.number)) is not None:
                    running.overdue_at += attempt.seconds
            elif worker.running.pop(attempt.number, None) is not None:
                yield attempt
        yield from self._hung()

    def _hung(self) -> Iterator[Death]:
        now = time.monotonic()
        for worker in self._alive():
            late = [item.job for item in worker.running.values() if now > item.overdue_at]
            if late:
                yield from self._died(worker, hung=late[0])

    def _died(self, worker: _Process, hung: Job | None) -> Iterator[Death]:
        if hung is not None:
            worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        jobs = tuple(item.job for item in worker.running.values())
        index = self._processes.index(worker)
        self._processes[index] = None
        why = _cause(worker.process, hung)
        shrunk = False
        if hung is None and worker.process.exitcode == -signal.SIGKILL:
            for_memory = self._killed_for_memory()
            shrunk = bool(for_memory) and self._shrink(index)
            why += _memory_words(for_memory) + (f"; going on with {self._size}" if shrunk else "")
        # Who died for the memory that others took was not alone.
        alone = len(jobs) == 1 and not shrunk
        self._died_at_start += not worker.ready and not shrunk
        if jobs:
            yield Death(jobs, alone, not worker.ready, hung, why)
        if self._died_at_start >= _MOST_AT_START:
            raise StopEarly(f"{self._died_at_start} worker processes died one after the other as they started: {why}")

    def _killed_for_memory(self) -> bool | None:
        """Whether the kernel has killed for memory once more than is accounted for; None where it does not tell."""
        kills = oom_kills()
        if kills is None or self._oom_kills is None:
            return None
        if kills <= self._oom_kills:
            return False
        self._oom_kills += 1
        return True

    def _shrink(self, index: int) -> bool:
        """One process less, or the only one with half the jobs; False if it can be no less."""
        if len(self._processes) > 1:
            del self._processes[index], self._threads[index]
            return True
        before = self._threads[0]
        self._threads[0] = max(1, before // 2)
        return self._threads[0] < before

    @property
    def _size(self) -> str:
        """In words."""
        return f"worker.processes={len(self._processes)}, worker.threads={sum(self._threads)}"

    def _alive(self) -> list[_Process]:
        return [worker for worker in self._processes if worker is not None]

    def _free(self, alone: bool) -> int | None:
        """The least busy process with room, or one with nothing to do for a job that must be alone."""
        best: int | None = None
        best_load = 1.0
        for index, worker in enumerate(self._processes):
            running = worker.running if worker is not None else {}
            if any(item.alone for item in running.values()) or (alone and running):
                continue
            load = len(running) / self._threads[index]
            if load < best_load:
                best, best_load = index, load
        return best


def _cause(process: ForkServerProcess, hung: Job | None) -> str:
    if hung is not None:
        return "the try did not end within worker.segment_timeout; its process was killed"
    exitcode = process.exitcode
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"the worker process {process.pid} died of {signal.Signals(-exitcode).name}"
    return f"the worker process {process.pid} ended with exit status {exitcode}"


def _memory_words(for_memory: bool | None) -> str:
    """Of a process that died of KILL; None: nobody knows why."""
    if for_memory is None:
        return " (out of memory?)"
    if not for_memory:
        return " (not for its memory, says the kernel)"
    limit = memory_limit_mb()
    allowed = "" if limit is None else f" of {limit:,} MB"
    return f": out of memory, says the kernel. Give the job more than its limit{allowed} (--mem, slurm.mem)"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """The fork server inherits the mask: the TERM that SLURM sends to every process must not end it."""
    resource_tracker.ensure_running()  # the fork server's start does so too, and it unblocks TERM and INT
    ours = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def default_processes(threads: int) -> int:
    """CPUs that SLURM gave this task, else those this process may use; never more than `threads`."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cpus = int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))
    return max(1, min(cpus, threads))


def _serve(pipe: connection.Connection, config: Config, threads: int) -> None:
    from audioset_batch.worker.child import serve

    serve(pipe, config, threads)
