"""A small shared value with compare-and-swap, on any filesystem that nodes share; no server, no flock.

A register is a folder (it may hold other files) with files `<name>.<version>`, version 1, 2, 3 ... The value is that
of the highest version. A swap from version b links a complete file to the name b + 1, which only one can. Old
versions are removed in ascending order, so a name that is free because it was removed is told from one that was
never made: the version before it is gone as well. Hence a swap counts if, and only if, the link was made and version
b is still there *afterwards*; however long its process was stopped in between. It is known by a nonce with which each
file begins: after a swap that came too late the name b may exist again, even with the inode of before. What such a swap
has made is removed, by itself or by the next one; nobody looks at it. The highest version is never removed.

Without hard links (FAT, some FUSE filesystems) the file is created exclusively and then written; a version that stays
incomplete for `_TORN_SECONDS` is then passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.adapters.fsclock import read_clock

_TORN_SECONDS: Final = 2.0
_LEFTOVER_SECONDS: Final = 3600.0
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_END: Final = b"\n"
_NONCE_BYTES: Final = 8
DATA_AT: Final = 2 * _NONCE_BYTES + 1
"""Where the value begins in a file: behind the nonce, in hexadecimal, and a space."""


@dataclass(frozen=True, slots=True)
class Version:
    """One value: its number, its file's inode and nonce, the bytes (they end with a line end), and the file's mtime."""

    number: int
    inode: int
    nonce: bytes
    data: bytes
    mtime: float


class Register:
    """See the module.

    Args:
        folder: Made by the first swap.
        name: Beginning of the files' names, without a dot.
        keep: Older versions that stay after a swap.
    """

    def __init__(self, folder: Path, name: str, keep: int = 0) -> None:
        self.folder = folder
        self._name = name
        self._keep = keep

    def path(self, number: int) -> Path:
        """The file of one version."""
        return self.folder / f"{self._name}.{number}"

    def numbers(self) -> list[int]:
        """Versions that exist, ascending; [] without a folder.

        Raises:
            OSError: the folder cannot be listed.
        """
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - names alone are wanted
        except FileNotFoundError:
            return []
        return self.numbers_among(names)

    def numbers_among(self, names: list[str]) -> list[int]:
        """Versions whose files are among `names`, ascending."""
        parts = (name.partition(".") for name in names)
        return sorted(int(tail) for head, _, tail in parts if head == self._name and tail.isascii() and tail.isdigit())

    def read(self) -> Version | None:
        """The current value, or None if there is none.

        Raises:
            OSError: it cannot be read.
        """
        torn: set[int] = set()
        waited = 0.0
        while numbers := [n for n in self.numbers() if n not in torn]:
            version = self._load(numbers[-1])
            if version is None:
                with contextlib.suppress(OSError):
                    read_clock(self.folder)  # a change of ours makes NFS list the folder afresh
            elif version.data.endswith(_END):
                return version
            elif waited < _TORN_SECONDS:
                time.sleep(0.02)
                waited += 0.02
            else:
                torn.add(numbers[-1])  # its writer died before it was complete; the version before is the value
                waited = 0.0
        return None

    def _load(self, number: int) -> Version | None:
        try:
            with self.path(number).open("rb") as file:
                facts = os.fstat(file.fileno())
                content = file.read()
                return Version(number, facts.st_ino, content[:DATA_AT], content[DATA_AT:], facts.st_mtime)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ESTALE:  # NFS: removed on another node between lookup and read
                return None
            raise

    def swap(self, basis: Version | None, data: bytes) -> Version | None:
        """Make `data` the value if the value is still `basis`; None if it is not.

        Raises:
            OSError: it cannot be written; then it is not the value.
        """
        if not data.endswith(_END) or _END in data[:-1]:
            raise ValueError("a value is one line with its line end")
        self.folder.mkdir(exist_ok=True)
        numbers = self.numbers()
        above = 0 if basis is None else basis.number
        number = above + 1
        if numbers and numbers[-1] > above and self._torn_only(numbers, above):
            number = numbers[-1] + 1
        created = self._create(number, data)
        if created is None:
            return None
        if basis is None:
            confirmed = not any(n > number for n in self.numbers())
        else:
            confirmed = self._nonce(basis.number) == basis.nonce
        if not confirmed:
            if basis is not None:  # else it may be a first value that was built upon already
                with contextlib.suppress(OSError):
                    self.path(number).unlink()
            return None
        self._prune(number, created.mtime)
        return created

    def _torn_only(self, numbers: list[int], above: int) -> bool:
        """True if all versions above are incomplete: `read` has waited for them already."""
        loaded = [self._load(n) for n in numbers if n > above]
        return all(version is not None and not version.data.endswith(_END) for version in loaded)

    def _nonce(self, number: int) -> bytes | None:
        try:
            with self.path(number).open("rb") as file:
                return file.read(DATA_AT)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ESTALE:
                return None
            raise

    def _create(self, number: int, data: bytes) -> Version | None:
        """Make the file of `number` with `data` in it unless it exists."""
        temporary = self.folder / f".{self._name}.{secrets.token_hex(8)}.tmp"
        nonce = secrets.token_hex(_NONCE_BYTES).encode("ascii") + b" "
        try:
            inode, mtime = _write_new(temporary, nonce + data)
            try:
                os.link(temporary, self.path(number))
            except FileExistsError:
                # Over NFS a link that was made may be answered with an error when the first answer got lost.
                if temporary.stat().st_nlink != 2:
                    return None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                try:
                    inode, mtime = _write_new(self.path(number), nonce + data)
                except FileExistsError:
                    return None
            return Version(number, inode, nonce, data, mtime)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _prune(self, number: int, now: float) -> None:
        """Remove old versions in ascending order, and temporary files that a kill left behind."""
        with contextlib.suppress(OSError):
            names = os.listdir(self.folder)  # noqa: PTH208 - names alone are wanted
            for old in self.numbers_among(names):
                if old < number - self._keep:
                    self.path(old).unlink(missing_ok=True)
            for name in names:
                path = self.folder / name
                if name.startswith(".") and name.endswith(".tmp") and path.stat().st_mtime < now - _LEFTOVER_SECONDS:
                    path.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> tuple[int, float]:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        facts = os.fstat(fd)
        return facts.st_ino, facts.st_mtime
    finally:
        os.close(fd)
