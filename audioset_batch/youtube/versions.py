"""Which yt-dlp a process imports: the one installed with this package, or a newer one beside it.

    <home>/current.json    names the version that new processes use; replaced atomically
    <home>/2026.11.20/     a version with its dependencies, as `pip install --target` lays it out

A process decides once; its worker processes inherit the decision (`handed_on`). Nothing is imported from a folder
that other users can write.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import UsageError
from audioset_batch.paths import expand_home

HOME_VARIABLE: Final = "AUDIOSET_YTDLP_DIR"
"""Environment variable with another folder for the versions."""

OLD_DAYS: Final = 30
"""Age in days from which a yt-dlp is reported as old: YouTube changes, and yt-dlp follows within days."""

_HANDED_ON: Final = "AUDIOSET_BATCH_YTDLP"
_INSTALLED: Final = "installed"
_NAME: Final = re.compile(r"\d{4}\.\d{1,2}\.\d{1,2}(\.\d+)?(\.?(dev|post)\d*)?\Z")
"""A nightly build calls itself `2026.10.26.220202dev`, and pip says `2026.10.26.220202.dev0`."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of versions.

    Attributes:
        folder: Holds `current.json` and a folder for each version.
        top: The topmost folder that is checked: a user who can write above it can replace this program as well. `/` for
            a folder from the environment variable.
    """

    folder: Path
    top: Path

    @property
    def pointer(self) -> Path:
        """The file that names the current version."""
        return self.folder / "current.json"

    @property
    def checked(self) -> Path:
        """The file whose time says when a newer version was last looked for."""
        return self.folder / "checked.json"

    @property
    def lease(self) -> Path:
        """Lease of the process that updates."""
        return self.folder / "update.lease"

    def current(self) -> Path | None:
        """The folder of the current version; None if there is none, or if it must not be used, which is logged."""
        try:
            version = json.loads(self.pointer.read_bytes())["version"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s is unreadable (%s): the installed yt-dlp is used", self.pointer, error)
            return None
        if not isinstance(version, str) or not is_version(version):
            _log.warning("%s names no version of yt-dlp: the installed one is used", self.pointer)
            return None
        found = self.folder / version
        with contextlib.suppress(OSError):
            list(self.folder.iterdir())  # NFS may have cached that the folder was missing
        problem = self.problem_with(found)
        if problem is not None:
            _log.warning("yt-dlp %s is not used, the installed one is: %s", version, problem)
            return None
        return found

    def problem_with(self, path: Path) -> str | None:
        """Why nothing may be imported from `path`, a version's folder here or this folder; None if it may.

        The folder, the contents of a version's folder, and the folders above must belong to the user or root (in the
        environment: or to its owner), and nobody else may be able to write them. Above this folder a sticky one (/tmp)
        is accepted: nobody can replace the user's own files there.
        """
        above = [self.folder, *self.folder.parents]
        above = above[: above.index(self.top) + 1]
        owners = {0, os.getuid()}
        try:
            if self.top == Path(sys.prefix):
                owners.add(self.top.stat().st_uid)
            inside = [] if path == self.folder else [path, *path.iterdir()]
            for one in [*above, *inside, *([self.pointer] if self.pointer.exists() else [])]:
                found = one.stat() if one in above else one.lstat()
                if stat.S_ISLNK(found.st_mode):
                    return f"{one} is a symbolic link"
                if found.st_uid not in owners:
                    return f"{one} belongs to another user (uid {found.st_uid}), who can change what would be run"
                sticky = one in self.folder.parents and found.st_mode & stat.S_ISVTX
                if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
                    return f"others can write {one} and change what would be run: chmod go-w {one}"
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return None


def homes() -> tuple[Home, ...]:
    """Folders for versions: in the environment, or if that is read-only, in the user's home."""
    if given := os.environ.get(HOME_VARIABLE):
        return (Home(_real(given), Path("/")),)
    python = sys.implementation.cache_tag or "python"
    prefix = Path(sys.prefix)
    of_environment = Home(prefix / "share" / "audioset-batch" / "yt-dlp" / python, prefix)
    # Compiled packages depend on the version of Python, and each environment has its own.
    below = Path("audioset-batch", "yt-dlp", f"{python}-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]}")
    if given := os.environ.get("XDG_DATA_HOME"):
        return of_environment, Home(_real(given) / below, Path("/"))
    try:
        of_user = expand_home("~/.local/share")
    except UsageError:  # a user without a home has no folder of their own
        return (of_environment,)
    return of_environment, Home(of_user / below, of_user)


def _real(given: str) -> Path:
    """The folder with all links resolved, because somebody might exchange them."""
    return Path(os.path.realpath(os.path.expanduser(given)))  # noqa: PTH111 - imported by all: it must not raise


def is_version(name: str) -> bool:
    """True if `name` looks like a version of yt-dlp; it is used as the name of a folder."""
    return _NAME.match(name) is not None


def order(version: str) -> tuple[int, ...]:
    """Sort key for versions: `2026.10.26` before its nightly `2026.10.26.220202.dev0` before `2026.11.1`."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"\.?(?:dev|post)", version)[0]))


def age_days(version: str, today: datetime.date | None = None) -> int | None:
    """Days since the release date that a version begins with; None if it has none."""
    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?!\d)", version)
    try:
        released = None if match is None else datetime.date(*map(int, match.groups()))
    except ValueError:
        return None
    return None if released is None else ((today or datetime.datetime.now(datetime.UTC).date()) - released).days


def age_note(version: str, today: datetime.date | None = None) -> str:
    """A warning about a version that is 30 days old or more; "" for a newer one."""
    age = age_days(version, today)
    if age is None or age < OLD_DAYS:
        return ""
    return f"yt-dlp {version} is {age} days old: run audioset-batch update-yt-dlp"


def installed_version() -> str:
    """The version of the yt-dlp that is installed with this package.

    Raises:
        importlib.metadata.PackageNotFoundError: there is none.
    """
    import importlib.metadata  # takes a while to load

    beside = _folder_in_use()
    path = [one for one in sys.path if beside is None or one != str(beside)]
    found = next(iter(importlib.metadata.distributions(name="yt-dlp", path=path)), None)
    if found is None:
        raise importlib.metadata.PackageNotFoundError("yt-dlp")
    return found.version


def version_in_use() -> str:
    """The version of the yt-dlp that this process imports, or would import.

    Raises:
        importlib.metadata.PackageNotFoundError: there is none.
    """
    beside = _folder_in_use()
    return installed_version() if beside is None else beside.name


def activate() -> None:
    """Make `import yt_dlp` find the version that this process uses. Call it before anything imports yt-dlp."""
    beside = _folder_in_use()
    if beside is not None and str(beside) not in sys.path:
        sys.path.insert(0, str(beside))


def decide_again() -> None:
    """Use the current version from now on, unless yt-dlp was already imported: a process never changes its version."""
    beside = _folder_in_use()
    if "yt_dlp" in sys.modules:
        return
    if beside is not None:
        sys.path[:] = [one for one in sys.path if one != str(beside)]
    _folder_in_use.cache_clear()
    activate()


def note_use() -> None:
    """Mark the version as in use by a worker, so that no update removes it within a month."""
    beside = _folder_in_use()
    if beside is not None:
        with contextlib.suppress(OSError):
            os.utime(beside)


@contextlib.contextmanager
def handed_on() -> Iterator[None]:
    """Make processes started within use the same version. Jobs that they submit later decide for themselves."""
    os.environ.update(handing_on(_folder_in_use()))
    try:
        yield
    finally:
        os.environ.pop(_HANDED_ON, None)


def handing_on(folder: Path | None) -> dict[str, str]:
    """The environment variable that makes a new process use the version in `folder`, or the installed one."""
    return {_HANDED_ON: _INSTALLED if folder is None else str(folder)}


@functools.cache
def _folder_in_use() -> Path | None:
    """The folder of the version that this process uses; None for the installed one."""
    if "yt_dlp" in sys.modules:  # too late to decide
        return None
    handed = os.environ.get(_HANDED_ON)
    if handed is not None:
        return None if handed == _INSTALLED else Path(handed)
    found = [folder for home in homes() if (folder := home.current()) is not None]
    if not found:
        return None
    newest = max(found, key=lambda folder: order(folder.name))
    from importlib.metadata import PackageNotFoundError, version  # takes a while to load

    try:
        installed = version("yt-dlp")
    except PackageNotFoundError:
        return newest
    return newest if order(newest.name) > order(installed) else None
