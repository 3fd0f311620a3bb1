"""Worker processes: start them, send them jobs, notice when one exits or hangs.

A process that crashes takes all of its jobs with it, and it is unknown which of them caused the crash. Each therefore
becomes a suspect and runs again alone in a process; a job that was alone when its process crashed is the cause.
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
from audioset_batch.worker.messages import Attempt, Job, WaitNotice
from audioset_batch.worker.oom import memory_limit_mb, oom_kills, set_oom_score
from audioset_batch.youtube import versions as ytdlp_versions

_HANG_GRACE_SECONDS: Final = 10.0
"""An attempt that exceeds its timeout by this many seconds hangs in native code: its process is killed."""


_START_BACKOFF_SECONDS: Final = (0.1, 1.0, 3.0)
_MAX_STARTUP_FAILURES: Final = 3
"""After so many processes in a row that exit as they start, the run ends: something is wrong with the node."""

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
class WorkerExit:
    """A process that exited with unfinished jobs.

    Attributes:
        jobs: Its unfinished jobs.
        alone: True if there was only one, which therefore caused the exit.
        failed_at_startup: True if the process did not get as far as its jobs, so that none of them is the cause.
        hung: The job that exceeded its timeout, if the process was killed for that.
        why: The cause, as text.
    """

    jobs: tuple[Job, ...]
    alone: bool
    failed_at_startup: bool
    hung: Job | None
    why: str


def start_fork_server() -> None:
    """Start the fork server in the background, so that its imports overlap with the caller's.

    Returns at once; a second call does nothing.
    """
    ytdlp_versions.note_use()
    forkserver.set_forkserver_preload(list(_PRELOAD))
    with _signals_blocked(), ytdlp_versions.handed_on():
        forkserver.ensure_running()
    _set_fork_server_oom_score()


def _fork_server_pid() -> int | None:
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid


def _set_fork_server_oom_score() -> None:
    """If memory runs out, the kernel is to kill worker processes first, then the fork server, and this process last."""
    if (pid := _fork_server_pid()) is not None:
        set_oom_score(pid, 250)


class Pool:
    """`processes` worker processes that run at most `threads` jobs at a time together."""

    def __init__(self, config: Config, processes: int, threads: int) -> None:
        self._config = config
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_PRELOAD))
        share, extra = divmod(threads, processes)
        self._threads = [share + (index < extra) for index in range(processes)]
        self._processes: list[_Process | None] = [None] * processes
        self._startup_failures = 0
        self._oom_kills = oom_kills()

    def __enter__(self) -> Pool:
        return self  # processes are started for their first job: a shard with nothing to do needs none

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End all processes and their jobs; new jobs start new ones."""
        for worker in self._processes:
            if worker is not None:
                worker.pipe.close()
                worker.process.kill()
                worker.process.join()
        self._processes = [None] * len(self._processes)

    def _start(self, index: int) -> _Process:
        for pause in _START_BACKOFF_SECONDS:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_serve, args=(theirs, self._config, self._threads[index]), daemon=True
            )
            try:
                with _signals_blocked(), ytdlp_versions.handed_on():  # restarts the fork server if it has exited
                    process.start()
                _set_fork_server_oom_score()
            except (EOFError, OSError) as error:  # the fork server was killed, or there is no memory
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
        """The ids of the running processes, including the fork server."""
        workers = [worker.process.pid for worker in list(self._processes) if worker is not None]
        return [pid for pid in (_fork_server_pid(), *workers) if pid is not None]

    @property
    def in_flight(self) -> list[Job]:
        """Jobs without an answer."""
        return [item.job for worker in self._alive() for item in worker.running.values()]

    @property
    def free(self) -> int:
        """Number of further jobs that could start now."""
        return sum(
            max(0, threads - len(worker.running)) if worker is not None else threads
            for worker, threads in zip(self._processes, self._threads, strict=True)
        )

    def can_take(self, *, alone: bool = False) -> bool:
        """True if a job could start now; with `alone`, one that needs a process for itself."""
        return self._free(alone) is not None

    def submit(self, job: Job, *, alone: bool = False) -> None:
        """Start a job. Only call it after `can_take`.

        Raises:
            StopEarly: no process can be started for it.
        """
        index = self._free(alone)
        if index is None:
            raise RuntimeError("submit without can_take")
        worker = self._processes[index] or self._start(index)
        running = _Running(job, alone, time.monotonic() + job.timeout + _HANG_GRACE_SECONDS)
        worker.running[job.number] = running
        with contextlib.suppress(OSError):  # it has just exited: `wait` reports it
            worker.pipe.send(job)

    def wait(self, timeout: float) -> Iterator[Attempt | WorkerExit]:
        """Yield what has happened, after waiting up to `timeout` seconds for the first event.

        Raises:
            StopEarly: processes exit as soon as they start.
        """
        pipes = {worker.pipe: worker for worker in self._alive()}
        if not pipes:
            time.sleep(timeout)
        for ready in connection.wait(list(pipes), timeout) if pipes else ():
            worker = pipes[ready]  # type: ignore[index]
            try:
                attempt: Attempt | WaitNotice | str = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._exited(worker, hung=None)
                continue
            if isinstance(attempt, str):
                worker.ready, self._startup_failures = True, 0
            elif isinstance(attempt, WaitNotice):
                if (running := worker.running.get(attempt.number)) is not None:
                    running.overdue_at += attempt.seconds
            elif worker.running.pop(attempt.number, None) is not None:
                yield attempt
        yield from self._hung()

    def _hung(self) -> Iterator[WorkerExit]:
        now = time.monotonic()
        for worker in self._alive():
            late = [item.job for item in worker.running.values() if now > item.overdue_at]
            if late:
                yield from self._exited(worker, hung=late[0])

    def _exited(self, worker: _Process, hung: Job | None) -> Iterator[WorkerExit]:
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
        # A process that was killed because others used the memory does not count as alone.
        alone = len(jobs) == 1 and not shrunk
        self._startup_failures += not worker.ready and not shrunk
        if jobs:
            yield WorkerExit(jobs, alone, not worker.ready, hung, why)
        if self._startup_failures >= _MAX_STARTUP_FAILURES:
            raise StopEarly(
                f"{self._startup_failures} worker processes died one after the other as they started: {why}"
            )

    def _killed_for_memory(self) -> bool | None:
        """True if the kernel has killed another process for memory; None if it does not report that."""
        kills = oom_kills()
        if kills is None or self._oom_kills is None:
            return None
        if kills <= self._oom_kills:
            return False
        self._oom_kills += 1
        return True

    def _shrink(self, index: int) -> bool:
        """Use one process less, or half the threads of the only one; False if that is impossible."""
        if len(self._processes) > 1:
            del self._processes[index], self._threads[index]
            return True
        before = self._threads[0]
        self._threads[0] = max(1, before // 2)
        return self._threads[0] < before

    @property
    def _size(self) -> str:
        """The size of the pool, as text."""
        return f"worker.processes={len(self._processes)}, worker.threads={sum(self._threads)}"

    def _alive(self) -> list[_Process]:
        return [worker for worker in self._processes if worker is not None]

    def _free(self, alone: bool) -> int | None:
        """Index of the least busy process with room; with `alone`, of an idle one. None if there is none."""
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
    """Text for a process that SIGKILL ended; `for_memory` is None if the cause is unknown."""
    if for_memory is None:
        return " (out of memory?)"
    if not for_memory:
        return " (not for its memory, says the kernel)"
    limit = memory_limit_mb()
    allowed = "" if limit is None else f" of {limit:,} MB"
    return f": out of memory, says the kernel. Give the job more than its limit{allowed} (--mem, slurm.mem)"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals for the fork server, which inherits the mask: the TERM that SLURM sends to all must not end it."""
    resource_tracker.ensure_running()  # otherwise the fork server's start does it, and unblocks TERM and INT
    ours = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def default_processes(threads: int) -> int:
    """Number of CPUs that SLURM allocated to this task, or that this process may use; at most `threads`."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cpus = int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))
    return max(1, min(cpus, threads))


def _serve(pipe: connection.Connection, config: Config, threads: int) -> None:
    from audioset_batch.worker.child import serve

    serve(pipe, config, threads)
