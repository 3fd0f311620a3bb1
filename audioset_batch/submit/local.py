"""Run the chain on this machine in the foreground: one command per step, and one worker for all shards."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from audioset_batch.errors import Interrupted
from audioset_batch.layout import DataDir
from audioset_batch.record.submission import Role
from audioset_batch.submit.chain import JOB_NAMES, Step, index_ranges
from audioset_batch.worker.stop import StopRequest, stop_on_signals

STOPPED_EARLY: Final = 75
_POLL_SECONDS: Final = 0.1


def arguments(step: Step) -> list[str]:
    """The arguments of `audioset-batch` for a step, with all shards of an array."""
    return [*step.argv, *(("--task", index_ranges(step.tasks)) if step.tasks else ())]


def run_chain(chain: Sequence[Step], data: DataDir, say: Callable[[str], None]) -> dict[Role, int]:
    """Run the steps one after the other. If prep fails, the others are not run.

    Args:
        chain: The steps, from `make_chain`.
        data: The data directory. Each step writes a log in `logs`.
        say: Called with one line when a step has ended.

    Returns:
        Exit statuses of the steps that ran.

    Raises:
        Interrupted: a signal came; the running step was asked to stop and has ended.
    """
    data.logs.mkdir(parents=True, exist_ok=True)
    statuses: dict[Role, int] = {}
    with stop_on_signals() as stop:
        for step in chain:
            log = data.logs / f"{JOB_NAMES[step.role]}-local.log"
            status = statuses[step.role] = _run(arguments(step), log, stop)
            if stop.is_set():
                raise Interrupted(f"stopped by {stop.why}; the same command continues")
            ended = {0: "done", STOPPED_EARLY: "stopped early: run again later"}
            say(f"{step.role}: {ended.get(status, f'ended with status {status}')}" + (f" ({log})" if status else ""))
            if step.role == "prep" and status:
                break
    return statuses


def _run(argv: Sequence[str], log: Path, stop: StopRequest) -> int:
    """Run one command; returns its exit status, 1 if it was killed. A request to stop is passed on as TERM."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "audioset_batch", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as command,
    ):
        while command.poll() is None and not stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(_POLL_SECONDS)
        command.terminate()  # has no effect on a command that has ended
        status = command.wait()
    return status if status >= 0 else 1
