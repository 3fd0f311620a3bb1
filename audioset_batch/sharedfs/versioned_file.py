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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from audioset_batch.errors import UnsafePath
from audioset_batch.sharedfs.clock import read_clock
from audioset_batch.sharedfs.folders import Folder

_TORN_SECONDS: Final = 2.0
_LEFTOVER_SECONDS: Final = 3600.0
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_END: Final = b"\n"
_NONCE_BYTES: Final = 8
_MOST_BYTES: Final = 1 << 16
_MOST_VERSIONS: Final = 10**12
DATA_AT: Final = 2 * _NONCE_BYTES + 1
"""Where the value begins in a file: behind the nonce, in hexadecimal, and a space."""


@dataclass(frozen=True, slots=True)
class Version:
    """One value: its number, its file's inode and nonce, the bytes (they end with a line end), and the file's times.

    `changed_at` is the ctime, which no user can set. The inode is 0 where something else has the name and cannot be
    set aside.
    """

    number: int
    inode: int
    nonce: bytes
    data: bytes
    mtime: float
    changed_at: float = field(default=0.0, compare=False)


class AtomicVersionedFile:
    """A value in a folder that all nodes share, replaced by compare-and-swap.

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
            with Folder(self.folder) as folder:
                return self.numbers_among(folder.names())
        except FileNotFoundError:
            return []

    def numbers_among(self, names: list[str]) -> list[int]:
        """Versions whose files are among `names`, ascending."""
        tails = (tail for head, _, tail in (name.partition(".") for name in names) if head == self._name)
        numbers = (int(tail) for tail in tails if tail.isascii() and tail.isdigit() and tail[0] != "0")
        return sorted(number for number in numbers if number <= _MOST_VERSIONS)

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
            elif version.inode and waited < _TORN_SECONDS:
                time.sleep(0.02)
                waited += 0.02
            else:
                torn.add(numbers[-1])  # its writer died before it was complete; the version before is the value
                waited = 0.0
        return None

    def _load(self, number: int) -> Version | None:
        """One version; None if it is gone. What is no file of ours is set aside, or else counts as incomplete."""
        name = f"{self._name}.{number}"
        try:
            with Folder(self.folder) as folder:
                try:
                    content, facts = folder.read(name, _MOST_BYTES)
                except UnsafePath as error:
                    return None if folder.set_aside(name, error) else Version(number, 0, b"", b"", 0.0)
                nonce, data = content[:DATA_AT], content[DATA_AT:]
                return Version(number, facts.st_ino, nonce, data, facts.st_mtime, facts.st_ctime)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ESTALE:  # NFS: removed on another node between lookup and read
                return None
            raise

    def earlier(self, version: Version) -> Iterator[Version]:
        """Complete versions before one that is there, the latest first.

        Raises:
            OSError: they cannot be read.
        """
        for number in reversed(self.numbers()):
            if number < version.number:
                found = self._load(number)
                if found is not None and found.data.endswith(_END):
                    yield found

    def set_aside(self, version: Version, why: object) -> None:
        """Rename a version that nobody understands, once a later one has taken its place."""
        with contextlib.suppress(OSError), Folder(self.folder) as folder:
            folder.set_aside(f"{self._name}.{version.number}", why)

    def swap(self, basis: Version | None, data: bytes) -> Version | None:
        """Make `data` the value if the value is still `basis`; None if it is not.

        Raises:
            OSError: it cannot be written; then it is not the value.
        """
        if not data.endswith(_END) or _END in data[:-1]:
            raise ValueError("a value is one line with its line end")
        with Folder(self.folder.parent, may_be_link=True) as parent:
            parent.make_folder(self.folder.name)
        numbers = self.numbers()
        above = 0 if basis is None else basis.number
        number = above + 1
        if numbers and numbers[-1] > above and self._torn_only(numbers, above):
            number = numbers[-1] + 1
        if number > _MOST_VERSIONS:
            raise UnsafePath(f"{self.path(number - 1)} has a number that nobody reaches by counting: remove it")
        with Folder(self.folder) as folder:
            created = self._create(folder, number, data)
            if created is None:
                return None
            if basis is None:
                confirmed = not any(n > number for n in self.numbers())
            else:
                confirmed = self._nonce(basis.number) == basis.nonce
            if not confirmed:
                if basis is not None:  # else it may be a first value that was built upon already
                    with contextlib.suppress(OSError):
                        folder.remove(f"{self._name}.{number}")
                return None
            self._prune(folder, number, created.mtime)
            return created

    def _torn_only(self, numbers: list[int], above: int) -> bool:
        """True if all versions above are incomplete: `read` has waited for them already."""
        loaded = [self._load(n) for n in numbers if n > above]
        return all(version is not None and not version.data.endswith(_END) for version in loaded)

    def _nonce(self, number: int) -> bytes | None:
        version = self._load(number)
        return None if version is None else version.nonce

    def _create(self, folder: Folder, number: int, data: bytes) -> Version | None:
        """Make the file of `number` with `data` in it unless it exists."""
        temporary, name = f".{self._name}.{secrets.token_hex(8)}.tmp", f"{self._name}.{number}"
        nonce = secrets.token_hex(_NONCE_BYTES).encode("ascii") + b" "
        try:
            inode, mtime = _write_new(folder, temporary, nonce + data)
            try:
                folder.link(temporary, name)
            except FileExistsError:
                # Over NFS a link that was made may be answered with an error when the first answer got lost.
                if folder.stat(temporary).st_nlink != 2:
                    return None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                try:
                    inode, mtime = _write_new(folder, name, nonce + data)
                except FileExistsError:
                    return None
            return Version(number, inode, nonce, data, mtime)
        finally:
            with contextlib.suppress(OSError):
                folder.remove(temporary)

    def _prune(self, folder: Folder, number: int, now: float) -> None:
        """Remove old versions in ascending order, and temporary files that a kill left behind."""
        with contextlib.suppress(OSError):
            names = folder.names()
            for old in self.numbers_among(names):
                if old < number - self._keep:
                    folder.remove(f"{self._name}.{old}")
            for name in names:
                temporary = name.startswith(".") and name.endswith(".tmp")
                if temporary and folder.stat(name).st_mtime < now - _LEFTOVER_SECONDS:
                    folder.remove(name)


def _write_new(folder: Folder, name: str, data: bytes) -> tuple[int, float]:
    fd = folder.create(name)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.path / name))
        facts = os.fstat(fd)
        return facts.st_ino, facts.st_mtime
    finally:
        os.close(fd)
