"""Requests to stop: signals become a flag that the coordinator looks at."""

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
    """Set once, by a signal or by hand; `why` is for people, `at` the moment of `time.monotonic`."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.why = ""
        self.at = 0.0

    def set(self, why: str) -> None:
        """Ask to stop. The first reason stays."""
        if not self._event.is_set():
            self.why, self.at = why, time.monotonic()
            self._event.set()

    def is_set(self) -> bool:
        """True once somebody asked to stop."""
        return self._event.is_set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """TERM, INT, USR1 (SLURM's warning before the time limit) and HUP set the flag; a second INT ends at once.

    Behind it TERM, USR1 and HUP are ignored, unless they were handled before: what is left is to tell the status, which
    a late signal would replace by its own.
    """
    request = StopRequest()

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.is_set():
            os._exit(130)  # nothing half-done can be lost: unrecorded work is repeated by the next run
        request.set(f"signal {signal.Signals(number).name}")

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:  # else `ignore_term` holds on, up to the very end
                late = handler is signal.SIG_DFL and number != signal.SIGINT
                signal.signal(number, signal.SIG_IGN if late else handler)
