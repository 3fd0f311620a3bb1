"""Notes that the job is about to end, so that the work can be saved between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopSignal:
    """Set by a signal, read between steps, where the work can be saved."""

    def __init__(self) -> None:
        self.signal_name = ""

    def __bool__(self) -> bool:
        return bool(self.signal_name)

    @property
    def is_preemption(self) -> bool:
        """True for the signals by which SLURM announces the end of a job; Ctrl-C is none."""
        return self.signal_name in (signal.SIGTERM.name, signal.SIGUSR1.name)

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal handler; the second Ctrl-C does not wait for the end of the step."""
        if self.signal_name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signal() -> Iterator[StopSignal]:
    """TERM, USR1 and Ctrl-C set the request while the block runs; in another thread than the main one nothing does."""
    request = StopSignal()
    try:
        previous = {number: signal.signal(number, request.note) for number in _SIGNALS}
    except ValueError:
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
