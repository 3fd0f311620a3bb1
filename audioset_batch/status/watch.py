"""Show the overview repeatedly: on a full screen, or as lines where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from audioset_batch.errors import AudiosetBatchError
from audioset_batch.status.collect import Overview
from audioset_batch.status.colour import coloured
from audioset_batch.status.text import fitting, render

_TICK: Final = 0.25

Show = Callable[[Overview | None, str], None]
"""Shows the last overview (None before the first) and why there is no newer one ("" without an error)."""


def watch(look: Callable[[], Overview], seconds: float, *, most_shards: int) -> None:
    """Show what `look` gives every `seconds` until q or Ctrl-C.

    On a terminal it fills the screen and restores it at the end; elsewhere it prints the text each time. If a later
    look fails, it shows the error and tries again.

    Args:
        look: Called in another thread, so that keys work while a filesystem or SLURM is slow.
        seconds: Time between the starts of two looks.
        most_shards: Maximum number of shards to list.

    Raises:
        AudiosetBatchError: the first look failed.
    """
    console = Console(highlight=False)
    answers: queue.SimpleQueue[Overview | Exception] = queue.SimpleQueue()
    overview: Overview | None = None
    trouble, count = "", 0
    drawn: object = None
    with _signals() as stopped, _view(console, seconds, most_shards) as show, _keys(console) as pressed:
        threading.Thread(target=_look_repeatedly, args=(look, seconds, answers), daemon=True).start()
        while not stopped():
            with contextlib.suppress(queue.Empty):
                answer = answers.get_nowait()
                count += 1
                if isinstance(answer, Overview):
                    overview, trouble = answer, ""
                elif overview is None or not isinstance(answer, AudiosetBatchError):
                    raise answer
                else:
                    trouble = " ".join(str(answer).split())
            if drawn != (count, console.size):  # else it would flicker
                drawn = (count, console.size)
                show(overview, trouble)
            if pressed(_TICK):
                break


def _look_repeatedly(
    look: Callable[[], Overview], seconds: float, answers: queue.SimpleQueue[Overview | Exception]
) -> None:
    while True:
        due = time.monotonic() + seconds
        try:
            answers.put(look())
        except Exception as error:  # noqa: BLE001 - raised or shown by the main thread
            answers.put(error)
        time.sleep(max(0.0, due - time.monotonic()))


def _view(console: Console, seconds: float, most_shards: int) -> AbstractContextManager[Show]:
    if console.is_terminal and not console.is_dumb_terminal:
        return _screen(console, seconds, most_shards)
    return contextlib.nullcontext(lambda overview, trouble: _print(overview, trouble, most_shards))


def _print(overview: Overview | None, trouble: str, most_shards: int) -> None:
    if overview is not None:
        text = f"{trouble}; trying again" if trouble else render(overview, most_shards=most_shards)
        sys.stdout.write(f"{text}\n\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _screen(console: Console, seconds: float, most_shards: int) -> Iterator[Show]:
    with Live(Text(""), console=console, screen=True, auto_refresh=False) as live:
        yield lambda overview, trouble: live.update(
            _fitted(console, overview, trouble, most_shards).append(f"\n\nevery {seconds:g} s; q ends", style="dim"),
            refresh=True,
        )


def _fitted(console: Console, overview: Overview | None, trouble: str, most_shards: int) -> Text:
    if overview is None:
        return Text("looking ...", style="dim")
    lines = max(1, console.height - 2 - bool(trouble))
    text = coloured(fitting(overview, most_shards=most_shards, lines=lines))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text.append(f"\nnot renewed: {trouble}", style="yellow") if trouble else text


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C or TERM came. TERM ends the process after the terminal is restored.

    A KeyboardInterrupt in the middle of drawing might leave the screen as it is, and one in a callback would be lost.
    """
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if signal.SIGTERM in came:
            signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def _keys(console: Console) -> Iterator[Callable[[float], bool]]:
    """Yields a function that waits for q for so many seconds; without a terminal it only waits."""
    if not console.is_terminal or not sys.stdin.isatty():  # a process in the background must not touch its terminal

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield wait
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)

    def pressed(seconds: float) -> bool:
        if not select.select([keyboard], [], [], seconds)[0]:
            return False
        typed = os.read(keyboard, 64)
        return not typed or b"q" in typed.lower()

    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
