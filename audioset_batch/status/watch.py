"""The overview again and again on a full screen, quietly: redrawn only when it is read anew or the window changes."""

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
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from audioset_batch.errors import AudiosetBatchError
from audioset_batch.status.collect import Overview
from audioset_batch.status.colour import coloured
from audioset_batch.status.text import fitting, render

_TICK: Final = 0.25


def watch(look: Callable[[], Overview], seconds: float, *, most_shards: int) -> None:
    """Show what `look` gives every `seconds` until q or Ctrl-C.

    On a terminal it fills the screen, which comes back as it was; elsewhere the text is printed each time. A look that
    fails later on is told and tried again: filesystems and networks have their moments.

    Args:
        seconds: Between two looks.
        most_shards: List no more than that.

    Raises:
        AudiosetBatchError: the first look failed.
    """
    console = Console(highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal:
            _on_screen(console, look, seconds, most_shards)
        else:
            _line_by_line(look, seconds, most_shards)


def _line_by_line(look: Callable[[], Overview], seconds: float, most_shards: int) -> None:
    text = render(look(), most_shards=most_shards)
    with _ctrl_c() as interrupted:
        while not interrupted():
            sys.stdout.write(f"{text}\n\n")
            sys.stdout.flush()
            end = time.monotonic() + seconds
            while not interrupted() and (left := end - time.monotonic()) > 0:
                time.sleep(min(_TICK, left))
            try:
                text = render(look(), most_shards=most_shards)
            except AudiosetBatchError as error:
                text = f"{error}; trying again"


def _on_screen(console: Console, look: Callable[[], Overview], seconds: float, most_shards: int) -> None:
    looker = _Looker(look)
    overview: Overview | None = None
    trouble = ""
    drawn: tuple[Overview | None, str, object] | None = None
    due = time.monotonic()
    with (
        _ctrl_c() as interrupted,
        _keys() as pressed,
        Live(Text(""), console=console, screen=True, auto_refresh=False) as live,
    ):
        while not interrupted():
            if time.monotonic() >= due and looker.idle:
                due = time.monotonic() + seconds
                looker.begin()
            answer = looker.answer()
            if isinstance(answer, Overview):
                overview, trouble = answer, ""
            elif answer is not None:
                if overview is None:
                    raise answer
                trouble = " ".join(str(answer).split())
            if drawn != (overview, trouble, console.size):
                drawn = (overview, trouble, console.size)
                live.update(_screen(console, overview, trouble, seconds, most_shards), refresh=True)
            if pressed(_TICK):
                return


def _screen(console: Console, overview: Overview | None, trouble: str, seconds: float, most_shards: int) -> Text:
    footer = f"\nevery {seconds:g} s; q ends"
    if overview is None:
        return Text(f"looking ...\n{footer}", style="dim")
    lines = max(1, console.height - 2 - bool(trouble))
    text = coloured(fitting(overview, most_shards=most_shards, lines=lines))
    text.no_wrap, text.overflow = True, "ellipsis"
    if trouble:
        text.append(f"\nnot renewed: {trouble}", style="yellow")
    return text.append(f"\n{footer}", style="dim")


class _Looker:
    """Looks in a thread of its own, so that keys are heard while a filesystem or SLURM takes its time."""

    def __init__(self, look: Callable[[], Overview]) -> None:
        self._look = look
        self._answers: queue.SimpleQueue[Overview | Exception] = queue.SimpleQueue()
        self.idle = True

    def begin(self) -> None:
        self.idle = False
        threading.Thread(target=self._run, daemon=True).start()  # leaving does not wait for it

    def answer(self) -> Overview | Exception | None:
        """What has come since, if anything; an error of this program's own is thrown right here."""
        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            return None
        self.idle = True
        if isinstance(answer, Exception) and not isinstance(answer, AudiosetBatchError):
            raise answer
        return answer

    def _run(self) -> None:
        try:
            self._answers.put(self._look())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that shows it
            self._answers.put(error)


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """A question "was Ctrl-C pressed?".

    An exception in the middle of drawing might not give the screen back, and one in a callback of Python's is lost.
    """
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A question "was q pressed within so many seconds?"; without a keyboard it just waits."""
    if not sys.stdin.isatty():

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
