"""The clock of a shared filesystem: the one clock that all nodes agree on.

It is read by creating a file and looking at the time that the file's server gave it. Between two readings it is
carried on by the boot clock, which goes on while a process is stopped or the machine sleeps.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Final

from audioset_batch.sharedfs.folders import Folder

_MAX_AGE_SECONDS: Final = 60.0
"""Age of a measurement after which the clock measures again."""


def boot_time() -> float:
    """Seconds of a clock that never jumps and counts suspended time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def read_clock(folder: Path) -> float:
    """Unix time by the clock of the filesystem that holds `folder`, from a file that exists for an instant.

    NFS clients also see other nodes' changes in `folder` after this, for they look again at what they change.

    Raises:
        OSError: no file can be made there.
    """
    with Folder(folder, may_be_link=True) as opened:
        return read_clock_in(opened)


def read_clock_in(folder: Folder) -> float:
    """`read_clock` in a folder that is open already.

    Raises:
        OSError: no file can be made there.
    """
    name = f".clock.{secrets.token_hex(8)}.tmp"
    fd = folder.create(name)
    try:
        os.utime(fd)  # an exclusive create over NFS may have kept its verifier where the times belong
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)
        folder.remove(name)


class FsClock:
    """Time of a filesystem, measured now and then and carried on in between.

    Args:
        folder: Where the probe files are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset: float | None = None
        self._measured_at = 0.0

    def now(self) -> float:
        """Unix time; touches the filesystem only when the last measurement is old.

        Raises:
            OSError: a measurement was due and failed.
        """
        if self._offset is None or boot_time() - self._measured_at > _MAX_AGE_SECONDS:
            return self.measure()
        return boot_time() + self._offset

    def measure(self) -> float:
        """Unix time, measured now: never later than the true time, earlier by a tick and a round trip at most.

        Raises:
            OSError: no file can be made in the folder.
        """
        measured = read_clock(self._folder)
        self._measured_at = boot_time()
        self._offset = measured - self._measured_at
        return measured
