"""Files appear whole or not at all, and a filesystem that fails ends the run with a clear word.

A unique temporary file beside the target -> write -> fsync -> `os.replace`. A temporary file left by a kill
never blocks a later try, for no two have the same name.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from audioset_batch.errors import StorageUnusable, UsageError
from audioset_batch.sharedfs.folders import Folder

_ADVICE: Final = {
    errno.ENOSPC: "free space or inodes there",
    errno.EDQUOT: "free some of your quota there",
    errno.EROFS: "it is mounted read-only: ask an admin",
    errno.EIO: "the disk or its server fails: ask an admin",
    errno.ESTALE: "its server has lost it: mount it again",
    errno.ENOTCONN: "it is no longer mounted: mount it again",
    errno.ENODEV: "it is no longer mounted: mount it again",
    errno.ENXIO: "it is no longer mounted: mount it again",
    errno.EHOSTDOWN: "its server does not answer",
    errno.ETIMEDOUT: "its server does not answer",
    errno.EACCES: "give this user permission to read and write there",
    errno.EPERM: "give this user permission to read and write there",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}
"""Errors of the filesystem, not of the file; all others stay an `OSError`."""

_GONE: Final = (errno.ENOENT, errno.ENOTDIR)


@contextmanager
def storage(path: Path, *, any_error: bool = False) -> Iterator[None]:
    """Translate errors of the filesystem that holds `path`, a folder or file that must be usable.

    Args:
        path: The folder or file.
        any_error: Whatever goes wrong means that `path` cannot be used.

    Raises:
        StorageUnusable: full, over quota, read-only, failing, forbidden, or `path` itself has vanished.
            Any other `OSError` is passed on, unless `any_error`.
    """
    try:
        yield
    except OSError as error:
        if not any_error and not _is_unusable(path, error):
            raise
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> StorageUnusable:
    """The error that says which path failed, why, how much is free there, and what to do."""
    where = error.filename if isinstance(error.filename, str) else str(path)
    what = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "make it available again")
    if isinstance(error, PermissionError):
        return StorageUnusable(f"cannot use {where}: {what}; {advice}, then run the same command again")
    return StorageUnusable(f"cannot write {where}: {what} ({_free(path)}); {advice}, then run the same command again")


def is_storage_failure(error: OSError) -> bool:
    """True if the filesystem has failed, whatever was to be done there: full, over quota, read-only, gone."""
    return error.errno in _ADVICE and not isinstance(error, PermissionError)


def _is_unusable(path: Path, error: OSError) -> bool:
    if error.errno in _ADVICE:
        return True
    if error.errno not in _GONE:
        return False
    try:
        return not path.exists()
    except OSError:
        return True


def _free(path: Path) -> str:
    for folder in (path, *path.parents):
        try:
            facts = os.statvfs(folder)
        except OSError:
            continue
        free = facts.f_bavail * facts.f_frsize
        inodes = f", {facts.f_favail:,} inodes" if facts.f_files else ""
        return f"{free / 1e6:,.1f} MB{inodes} free at {folder}"
    return "nothing of it can be reached"


def _temporary_name(name: str) -> str:
    return f".{name[:150]}.{secrets.token_hex(8)}.tmp"


def remove_quietly(path: Path) -> None:
    """Remove a temporary file; if it cannot be, that is no error worth another one's place."""
    with contextlib.suppress(OSError):
        path.unlink()


def atomic_write_bytes(path: Path, data: bytes, mode: int | None = None) -> None:
    """Replace `path` by `data`: readers see the old file or the new one. The folder must exist.

    Args:
        path: The file.
        data: Its content.
        mode: Its permissions; None: what the umask leaves, and in a folder that a group shares what the group needs.

    Raises:
        StorageUnusable: it cannot be written; the old file, if any, is still there.
        UnsafePath: the folder is reached through a link that is not trusted.
    """
    with storage(path.parent), Folder(path.parent, may_be_link=True) as folder:
        try:
            with _new_file(folder, path.name, folder) as file:
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                file.write(data)
        except FileNotFoundError as error:
            if not path.parent.exists():
                raise
            raise _cleared(Path(error.filename), path) from error


@contextmanager
def _new_file(folder: Folder, name: str, target: Folder) -> Iterator[BinaryIO]:
    """A temporary file in `folder`, which becomes `name` in `target` if the block ends well; on the disk by then."""
    temporary = _temporary_name(name)
    try:
        with open(folder.create(temporary), "wb") as file:  # noqa: PTH123 - of a descriptor
            yield file
            file.flush()
            os.fsync(file.fileno())
        folder.rename(temporary, name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.remove(temporary)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of UTF-8."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, data: Any) -> None:
    """`atomic_write_bytes` of indented JSON with a line end.

    Raises:
        ValueError: `data` has NaN or infinity in it, which JSON has not.
    """
    atomic_write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place if the block ends well. The folder must exist.

    Raises:
        StorageUnusable: it cannot be written; the old file, if any, is still there.
    """
    with storage(path.parent):
        temporary = path.with_name(_temporary_name(path.name))
        try:
            yield temporary
            _sync(temporary)
            try:
                temporary.replace(path)
            except FileNotFoundError as error:
                if not path.parent.exists():
                    raise
                raise _cleared(temporary, path) from error
        except BaseException:
            remove_quietly(temporary)
            raise


def make_user_folder(folder: Path) -> None:
    """Make a folder that the user has named, and those above it.

    Raises:
        UsageError: There is a file in its place.
        StorageUnusable: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{folder}: expected a folder or a name for a new one, a file is there") from error
    except OSError as error:
        raise unusable(folder, error) from error


def make_folders(folder: Path, root: Path) -> None:
    """Make `folder` and what is missing above it, but never `root` itself.

    Where a filesystem is no longer mounted, or a data directory was moved, another one in its place would be filled.

    Raises:
        StorageUnusable: it cannot be made, or `root` has vanished.
    """
    made = root
    with storage(root):
        for name in folder.relative_to(root).parts:
            with Folder(made, may_be_link=True) as above:
                above.make_folder(name)
                made /= name
                if not stat.S_ISDIR(above.stat(name).st_mode):  # a file, or a link: is it a trusted one to a folder?
                    try:
                        Folder(made, may_be_link=True).close()
                    except (FileNotFoundError, NotADirectoryError) as error:
                        raise unusable(made, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))) from error


def publish(temporary: Path, final: Path, root: Path, staging: Path | None = None) -> None:
    """Move a finished, verified file to its final name, replacing what is there; makes the folders below `root`.

    The bytes are forced to the disk first, so that a row written afterwards never outlives them. From another
    filesystem (a node's own disk) the file is first copied, in one go, into `staging`, a folder on the filesystem of
    `final`; without one, beside `final`. What has the final name is replaced, a link as such.

    Raises:
        StorageUnusable: it cannot be published; nothing new is under the final name.
        UnsafePath: what was to be published is no file, or a folder is reached through a link that is not trusted.
    """
    try:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(Folder(temporary.parent))
            file = stack.enter_context(open(source.open(temporary.name, os.O_RDONLY), "rb"))  # noqa: PTH123
            if staging is None or os.fstat(file.fileno()).st_dev == staging.stat().st_dev:
                os.fsync(file.fileno())
            opened = stack.pop_all()
    except FileNotFoundError as error:
        raise _cleared(temporary, final) from error
    except OSError as error:
        raise unusable(temporary, error) from error
    with opened, storage(final.parent):
        try:
            _replace(file, source, temporary.name, final, staging)
        except FileNotFoundError:
            make_folders(final.parent, root)
            try:
                _replace(file, source, temporary.name, final, staging)
            except FileNotFoundError as error:
                raise _cleared(temporary, final) from error


def _cleared(temporary: Path, final: Path) -> StorageUnusable:
    return StorageUnusable(
        f"temporary file {temporary} is gone before it could become {final}: something clears that folder"
    )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace(file: BinaryIO, source: Folder, name: str, final: Path, staging: Path | None) -> None:
    with Folder(final.parent, may_be_link=True) as target:
        try:
            source.rename(name, final.name, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if staging is None or not _copied(file, staging, final.name, target):
                _copied(file, final.parent, final.name, target)  # it may be a link to yet another filesystem
            with contextlib.suppress(OSError):
                source.remove(name)


def _copied(file: BinaryIO, beside: Path, name: str, target: Folder) -> bool:
    """Copy the file into `beside`, and from there to its name; False if that is another filesystem."""
    with Folder(beside, may_be_link=True) as folder:
        try:
            with _new_file(folder, name, target) as copy:
                file.seek(0)
                shutil.copyfileobj(file, copy, 1 << 20)
        except OSError as error:
            if error.errno == errno.EXDEV and beside != target.path:
                return False
            raise
    return True
