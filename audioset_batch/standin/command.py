"""Run a command whose only way to YouTube is the stand-in: `python -m audioset_batch.standin -- COMMAND`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audioset_batch.standin.server import Standin

CONTROL_VARIABLE: Final = "STANDIN_CONTROL_URL"
"""Environment variable of the command: where `ControlClient` reaches the stand-in."""

_KEYS: Final = (signal.SIGINT, signal.SIGQUIT)
"""Ctrl-C and Ctrl-\\: a terminal sends them to the command as well."""
_PASSED_ON: Final = (*_KEYS, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def environment(standin: Standin, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`base` for a command that goes through the first egress of `standin` and leaves nothing in the user's caches.

    The folder of this Python comes first in `PATH`, so `audioset-batch` is the one installed beside it.
    """
    kept = {name: value for name, value in base.items() if not name.lower().endswith("_proxy")}
    return {
        **kept,
        **standin.access().env,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), base.get("PATH", os.defpath))),
        "XDG_CACHE_HOME": str(standin.ca_file.with_name("cache")),  # for what yt-dlp learned from player scripts
        CONTROL_VARIABLE: standin.control_url,
    }


def run_command(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command to its end and pass signals on to it. Call it from the main thread.

    Args:
        argv: Program and arguments.
        env: Its whole environment.

    Returns:
        Its exit status as a shell gives it: 128 + N if signal N ended it, 127 if there is no such program, 126 if
        the program cannot be started.
    """
    with _signals_collected() as early:
        try:
            process = subprocess.Popen(argv, env=env)
        except FileNotFoundError:
            print(f"standin: {argv[0]}: expected a program on PATH, found none", file=sys.stderr)  # noqa: T201
            return 127
        except OSError as error:
            print(f"standin: {argv[0]}: cannot be started: {error.strerror}", file=sys.stderr)  # noqa: T201
            return 126

        def pass_on(number: int, _: Any) -> None:
            if number not in _KEYS or not _in_foreground():
                process.send_signal(number)

        for number in _PASSED_ON:
            signal.signal(number, pass_on)
        for earlier in early:
            pass_on(earlier, None)
        status = process.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _signals_collected() -> Iterator[list[int]]:
    """Collect the signals to pass on until other handlers take over; at the end the handlers of before are back."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _PASSED_ON}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """True if this process and its command are the foreground of a terminal."""
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False
