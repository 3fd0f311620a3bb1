"""Hints of `screen` at which videos are gone. They only affect the order of the queue."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audioset_batch.errors import UnsafePath
from audioset_batch.sharedfs.folders import Folder, read_file
from audioset_batch.sharedfs.publish import storage

_MAX_BYTES: Final = 256 << 20


def read_hints(path: Path) -> dict[str, bool]:
    """Video id -> whether the thumbnail host has a picture of it; invalid lines are skipped.

    Raises:
        StorageUnusable: the file cannot be read.
    """
    hints: dict[str, bool] = {}
    with storage(path.parent):
        try:
            data = read_file(path, _MAX_BYTES)
        except (FileNotFoundError, UnsafePath):
            return hints
    for line in data.splitlines():
        try:
            row = json.loads(line)
            hints[str(row["ytid"])] = bool(row["picture"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return hints


class HintWriter:
    """Appends hints and flushes each, so that a kill loses at most the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with Folder(path.parent, may_be_link=True) as folder:
                fd = folder.open_or_create(path.name, os.O_RDWR | os.O_APPEND)
            self._file = open(fd, "a+b", buffering=0)  # noqa: PTH123,SIM115 - unbuffered
            if self._file.tell():
                self._file.seek(-1, 2)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")  # separate what follows from a torn line

    def append(self, ytid: str, *, picture: bool) -> None:
        """Append one answer.

        Raises:
            StorageUnusable: it cannot be written.
        """
        with storage(self._path.parent):
            self._file.write(json.dumps({"ytid": ytid, "picture": picture}).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
