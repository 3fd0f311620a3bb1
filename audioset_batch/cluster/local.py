"""The chain on this machine, through submitit's local executor; runs in the foreground.

What differs from SLURM there is made up for here: it knows no dependencies and no throttle, ends jobs after a time of
its own, and its handlers would keep TERM from the worker. A task is a small process that starts the command, passes
signals on to it alone, and hands back its exit status.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import submitit
from submitit.core.utils import FailedJobError

from audioset_batch.cluster.chain import JOB_NAMES, Step
from audioset_batch.errors import Interrupted
from audioset_batch.layout import DataDir

_FOR_EVER_MINUTES: Final = 10 * 365 * 24 * 60
_POLL_SECONDS: Final = 0.1
_ASK_AGAIN_SECONDS: Final = 2.0
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
STOPPED_EARLY: Final = 75


def run_and_wait(argv: Sequence[str], log: str) -> int:
    """The payload of a local task: run `argv` with its output appended to `log`; returns its exit status."""
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, pass_on)  # in place of submitit's
    with Path(log).open("ab") as output:
        # a session of its own: Ctrl-C reaches it as one TERM, through us
        children.append(
            subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        )
    return children[0].wait()


def _parallel(step: Step) -> int:
    """Tasks at a time: the throttle of the array, but no more than this machine has CPUs for."""
    return max(1, min(step.parallel, len(os.sched_getaffinity(0)) // step.resources.cpus))


class LocalChain:
    """Runs steps one after the other, an array with several tasks at a time.

    Args:
        data: The data directory.
        say: Called with one line per event.
    """

    def __init__(self, data: DataDir, say: Callable[[str], None]) -> None:
        self._data = data
        self._say = say
        self._stopped_by = ""

    def run(self, step: Step) -> dict[int, int]:
        """Run one step to its end; exit statuses by shard (0 for the other roles).

        Raises:
            Interrupted: a signal came; what ran was asked to stop and has ended.
        """
        # submitit runs what is pickled in its folder, so nobody else may be able to write there, as in a shared DATADIR
        with (
            tempfile.TemporaryDirectory(prefix="audioset-batch-", ignore_cleanup_errors=True) as own,
            self._asked_to_stop(),
        ):
            done = self._run(step, list(step.tasks) or [0], submitit.LocalExecutor(own))
        if self._stopped_by:
            raise Interrupted(f"stopped by {self._stopped_by}; the same command continues")
        return done

    def _run(self, step: Step, waiting: list[int], executor: Any) -> dict[int, int]:
        executor.update_parameters(timeout_min=_FOR_EVER_MINUTES, stderr_to_stdout=True)
        self._data.logs.mkdir(parents=True, exist_ok=True)
        running: dict[int, Any] = {}
        done: dict[int, int] = {}
        asked_at = float("-inf")
        parallel = _parallel(step)
        while running or (waiting and not self._stopped_by):
            while waiting and len(running) < parallel and not self._stopped_by:
                task = waiting.pop(0)
                running[task] = self._start(executor, step, task)
            if self._stopped_by and time.monotonic() >= asked_at + _ASK_AGAIN_SECONDS:
                asked_at = time.monotonic()  # again and again: a task may just be starting, and deaf
                for job in running.values():
                    _send_term(job)
            for task, job in list(running.items()):
                if job.done():
                    done[task] = _exit_status(job)
                    del running[task]
                    self._tell(step, task, done[task])
            time.sleep(_POLL_SECONDS)
        return done

    def log(self, step: Step, task: int) -> Path:
        """Where a task writes."""
        return self._data.logs / f"{JOB_NAMES[step.role]}-local{f'_{task}' if task else ''}.log"

    def _start(self, executor: Any, step: Step, task: int) -> Any:
        argv = [sys.executable, "-P", "-m", "audioset_batch", *step.argv]
        if task:
            argv += ["--task", str(task)]
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is ours to pass on
        try:
            return executor.submit(run_and_wait, argv, str(self.log(step, task)))
        finally:
            signal.signal(signal.SIGINT, before)

    def _tell(self, step: Step, task: int, status: int) -> None:
        name = f"{step.role} {task}" if task else step.role
        what = {0: "done", STOPPED_EARLY: "stopped early: run again later"}.get(status, f"ended with status {status}")
        self._say(f"{name}: {what}" + ("" if status == 0 else f" ({self.log(step, task)})"))

    @contextlib.contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """TERM, INT, HUP and USR1: nothing more is started, and what runs is asked to stop."""

        def handle(number: int, _frame: FrameType | None) -> None:
            self._stopped_by = f"signal {signal.Signals(number).name}"

        before = {number: signal.signal(number, handle) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _send_term(job: Any) -> None:
    """submitit's own `cancel` kills after one second, too soon for a worker to finish what is in flight."""
    with contextlib.suppress(OSError):
        job._process.send_signal(signal.SIGTERM)


def _exit_status(job: Any) -> int:
    """What `run_and_wait` returned; 1 if the task, which has ended, died before it could."""
    if not job.paths.result_pickle.exists():  # `result` would wait for it
        return 1
    try:
        return int(job.result())
    except FailedJobError:
        return 1
