"""Turn signals into a flag that asks the worker to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class StopRequest:
    """A flag that is set once.

    Attributes:
        why: What asked to stop, as text.
        at: When, as a time of `time.monotonic`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.why = ""
        self.at = 0.0

    def set(self, why: str) -> None:
        """Ask to stop. A later call changes nothing."""
        if not self._event.is_set():
            self.why, self.at = why, time.monotonic()
            self._event.set()

    def is_set(self) -> bool:
        """True once `set` was called."""
        return self._event.is_set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Set the flag on TERM, INT, USR1 (SLURM's warning before the time limit) and HUP; a second INT exits at once.

    On leaving, TERM, USR1 and HUP are ignored unless they had handlers before: a late signal would otherwise replace
    the exit status.
    """
    request = StopRequest()

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.is_set():
            os._exit(130)  # safe: the next run repeats work that is not recorded
        request.set(f"signal {signal.Signals(number).name}")

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:  # else `ignore_term` was called, and stays in effect
                late = handler is signal.SIG_DFL and number != signal.SIGINT
                signal.signal(number, signal.SIG_IGN if late else handler)
