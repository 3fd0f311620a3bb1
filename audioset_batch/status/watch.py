"""The overview again and again on a full screen, quietly: redrawn only when it is read anew."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text


def watch(look: Callable[[int], str], seconds: float) -> None:
    """Show `look(lines)` every `seconds` until q or Ctrl-C.

    On a terminal it fills the screen, which comes back as it was; elsewhere the text is printed each time.

    Args:
        look: Gives the text, made for so many lines.
        seconds: Between two looks.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                sys.stdout.write(f"{look(1000)}\n\n")
                sys.stdout.flush()
                time.sleep(seconds)
        return
    with (
        contextlib.suppress(KeyboardInterrupt),
        _keys() as pressed,
        Live(Text(""), console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            text = Text(look(console.height - 2), no_wrap=True, overflow="ellipsis")
            text.append(f"\n\nevery {seconds:g} s; q ends", style="dim")
            live.update(text, refresh=True)
            if pressed(seconds):
                return


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A question "was q pressed within so many seconds?"; without a keyboard it just waits."""
    if not sys.stdin.isatty():

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield wait
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], left)[0] and sys.stdin.read(1) in ("q", "Q", ""):
                return True
        return False

    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
