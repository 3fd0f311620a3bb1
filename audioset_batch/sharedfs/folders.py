"""Files in folders that other users can write: whatever is planted there, nothing is read or written elsewhere.

A `Folder` is opened component by component. A symbolic link on the way is followed only where its owner is trusted: the
user, root, or who `trusted_owners` names. The folder itself and the files in it are never reached through a link: files
are opened relative to the folder's descriptor, without waiting for a FIFO, and must be regular. Nothing is kept open
between two operations, so that a folder that was moved or unmounted is noticed.

Where an admin shares a folder with a group (setgid and group-writable), what is made in it is writable for the group
whatever the umask says; everywhere else nothing is.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audioset_batch.errors import UnsafePath

_DIRECTORY: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SEARCH: Final = _DIRECTORY | os.O_PATH
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOST_LINKS: Final = 40
_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a file",
}
_log = logging.getLogger(__name__)
_trusted: frozenset[int] = frozenset({0})


def trust_owners(uids: Iterable[int]) -> None:
    """Follow the directory links of these users, too; called once, when the config is known."""
    global _trusted
    _trusted = frozenset({0, *uids})


def is_trusted(uid: int) -> bool:
    """True for this user, root and the `trusted_owners`."""
    return uid in _trusted | {os.geteuid()}


class Folder:
    """An open folder that others may write; a context manager. Names are of files in it, without a slash.

    Args:
        path: The folder.
        may_be_link: True if the last component of `path`, too, may be a link with a trusted owner.

    Raises:
        UnsafePath: it is reached through a link that is not trusted.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, may_be_link: bool = False) -> None:
        self.path = path
        self.fd = _open_folder(path, may_be_link=may_be_link)
        """Allows to look up names in it; listing it needs the permission to read it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def names(self) -> list[str]:
        """What is in it.

        Raises:
            OSError: it cannot be listed.
        """
        with self._naming(""):
            fd = os.open(".", os.O_RDONLY | _DIRECTORY, dir_fd=self.fd)
            try:
                return os.listdir(fd)  # noqa: PTH208 - of a descriptor
            finally:
                os.close(fd)

    def stat(self, name: str) -> os.stat_result:
        """Facts about an entry itself, never about what it points at.

        Raises:
            OSError: there is none, or the filesystem fails.
        """
        with self._naming(name):
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a regular file that is there; `flags` are an access mode and, if need be, `O_APPEND`.

        Raises:
            UnsafePath: it is no regular file.
            OSError: it is not there, or cannot be opened.
        """
        try:
            fd = os.open(name, flags | _FILE, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                with contextlib.suppress(OSError):
                    self._insist_on_a_file(name, self.stat(name))
            error.filename = str(self.path / name)
            raise
        try:
            self._insist_on_a_file(name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def create(self, name: str, flags: int = os.O_WRONLY) -> int:
        """A descriptor of a file that is made now.

        Raises:
            OSError: something has this name already (`FileExistsError`), or it cannot be made.
        """
        with self._naming(name):
            fd = os.open(name, flags | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=self.fd)
            self._share(fd, 0o660)
            return fd

    def open_or_create(self, name: str, flags: int) -> int:
        """As `open`; makes the file where it is missing.

        Raises:
            UnsafePath, OSError: as `open` and `create`.
        """
        while True:
            try:
                return self.open(name, flags)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    return self.create(name, flags)

    def read(self, name: str, most: int) -> tuple[bytes, os.stat_result]:
        """The content of a file and facts about it.

        Raises:
            UnsafePath: it is no regular file, or longer than `most` bytes.
            OSError: it is not there, or cannot be read.
        """
        fd = self.open(name, os.O_RDONLY)
        with open(fd, "rb") as file, self._naming(name):  # noqa: PTH123 - of a descriptor
            content = file.read(most + 1)
            if len(content) > most:
                raise UnsafePath(f"{self.path / name} is longer than the {most:,} bytes that such a file may have")
            return content, os.fstat(fd)

    def read_end(self, name: str, most: int) -> bytes:
        """The last lines of a file, as far as they fit into `most` bytes.

        Raises:
            UnsafePath: it is no regular file.
            OSError: it is not there, or cannot be read.
        """
        fd = self.open(name, os.O_RDONLY)
        with open(fd, "rb") as file, self._naming(name):  # noqa: PTH123 - of a descriptor
            begin = max(0, os.fstat(fd).st_size - most)
            file.seek(begin)
            end = file.read(most)
            return end[end.find(b"\n") + 1 :] if begin else end

    def make_folder(self, name: str) -> None:
        """Make a folder unless something has that name.

        Raises:
            OSError: it cannot be made.
        """
        with self._naming(name), contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=self.fd)
            with contextlib.suppress(OSError):
                fd = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=self.fd)
                try:
                    self._share(fd, 0o2770)
                finally:
                    os.close(fd)

    def make_own_folder(self) -> Path:
        """Make a folder with a random name into which nobody else can write; returns its path.

        Raises:
            OSError: it cannot be made.
        """
        name = f"tmp{secrets.token_hex(8)}"
        with self._naming(name):
            os.mkdir(name, 0o700, dir_fd=self.fd)
        return self.path / name

    def link(self, name: str, other: str) -> None:
        """Give a file a second name.

        Raises:
            OSError: it cannot be done, or something has that name (`FileExistsError`).
        """
        with self._naming(other):
            os.link(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def rename(self, name: str, other: str, folder: Folder | None = None) -> None:
        """Move an entry, a link as such, to another name, here or in `folder`, in the place of what is there.

        Raises:
            OSError: it cannot be done.
        """
        with self._naming(name):
            os.replace(name, other, src_dir_fd=self.fd, dst_dir_fd=(folder or self).fd)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it is there.

        Raises:
            OSError: it cannot be removed.
        """
        with self._naming(name), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def remove_tree(self, name: str) -> None:
        """Remove a folder with all that is in it, following no link; a file or link in its place as such.

        Raises:
            OSError: something cannot be removed.
        """
        with self._naming(name), contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=self.fd)
            else:
                self.remove(name)

    def set_aside(self, name: str, why: object) -> bool:
        """Rename what cannot be trusted to `damaged.<random>.<name>`, and say so; False if it cannot be renamed."""
        aside = f"damaged.{secrets.token_hex(4)}.{name}"[:200]
        try:
            self.rename(name, aside)
        except OSError as error:
            _log.warning("%s: %s; it cannot be set aside: %s", self.path / name, why, error.strerror)
            return False
        _log.warning("%s: %s; set aside as %s", self.path / name, why, aside)
        return True

    def _share(self, fd: int, mode: int) -> None:
        """Let the group of a folder that is shared with it write what was made; the umask may have kept it out."""
        facts = os.fstat(self.fd)
        if facts.st_mode & stat.S_ISGID and facts.st_mode & stat.S_IWGRP:
            others = facts.st_mode & (0o005 if mode & 0o100 else 0o004)
            with contextlib.suppress(OSError):  # a filesystem without modes
                os.fchmod(fd, mode | others)

    def _insist_on_a_file(self, name: str, facts: os.stat_result) -> None:
        if not stat.S_ISREG(facts.st_mode):
            raise UnsafePath(
                f"{self.path / name} is {kind_of(facts)} of user {facts.st_uid}, expected a regular file: links and "
                "special files in shared folders are not followed. Remove it, then run the same command again"
            )

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Name the whole path in errors."""
        try:
            yield
        except OSError as error:
            error.filename = str(self.path / name)
            raise


def kind_of(facts: os.stat_result) -> str:
    """`a symbolic link`, `a FIFO` ..."""
    return _KINDS.get(stat.S_IFMT(facts.st_mode), "something unknown")


def read_file(path: Path, most: int) -> bytes:
    """The content of a file in a shared folder (which may be a trusted link).

    Raises:
        UnsafePath: it is no regular file, is longer than `most` bytes, or lies behind a link that is not trusted.
        OSError: it is not there, or cannot be read.
    """
    with Folder(path.parent, may_be_link=True) as folder:
        return folder.read(path.name, most)[0]


def _open_folder(path: Path, *, may_be_link: bool) -> int:
    """Walk down from the root, as the kernel does, and look at each link before it is followed."""
    left = [*reversed(path.absolute().parts[1:])]
    links = 0
    fd = os.open("/", _SEARCH)
    try:
        while left:
            name = left.pop()
            try:
                below = os.open(name, _SEARCH, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR) or links == _MOST_LINKS:
                    raise
                links += 1
                target = _target(fd, name, path, followed=bool(left) or may_be_link)
                if target is None:
                    raise
                left += reversed([part for part in target.split("/") if part])
                below = os.open("/" if target.startswith("/") else ".", _SEARCH, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return fd


def _target(folder: int, name: str, path: Path, *, followed: bool) -> str | None:
    """Where a trusted link leads; None if it is no link.

    Raises:
        UnsafePath: it must not be followed.
    """
    link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:  # what is looked at and read is this very link, whatever takes its name meanwhile
        facts = os.fstat(link)
        if not stat.S_ISLNK(facts.st_mode):
            return None
        target = os.readlink("", dir_fd=link)
    finally:
        os.close(link)
    if not followed:
        raise UnsafePath(
            f"{path} is a symbolic link of user {facts.st_uid}, expected a directory: links in shared folders are not "
            "followed. Remove it, then run the same command again"
        )
    if not is_trusted(facts.st_uid):
        raise UnsafePath(
            f"{path}: its component {name} is a symbolic link of user {facts.st_uid}, who could lead you anywhere. "
            "Name the folder that it points at (realpath), or list the user in `trusted_owners` of your config"
        )
    return target
