"""The steps of an update: look, install beside, prove, take. Whatever fails, the yt-dlp in use stays."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from audioset_batch.config import Config
from audioset_batch.config.redact import redact
from audioset_batch.errors import AudiosetBatchError, InputRefused, ShardHeld, StopEarly, UsageError
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.sharedfs.publish import replacing, storage
from audioset_batch.update import packages
from audioset_batch.youtube import versions as ytdlp_versions
from audioset_batch.youtube.versions import HOME_VARIABLE, Home

_KEEP: Final = 3
"""Versions that stay, the one in use among them."""
_KEEP_SECONDS: Final = 30 * 86400.0
"""So long a version stays that a worker has started with: it may run on another node, where nobody sees it."""
_PROOF_SECONDS: Final = 600.0
_WEEK: Final = 7 * 86400.0
_DAY: Final = 86400.0

_log = logging.getLogger(__name__)


def update(config: Config, say: Callable[[str], None], *, pre: bool = False) -> None:
    """Take the newest yt-dlp that there is, if it is newer than the one in use and proves itself.

    Args:
        config: Its probe videos and egresses are those of the proof; nothing is put into its folders.
        say: Called with one line per step.
        pre: Whether nightly builds count.

    Raises:
        InputRefused: it could not be had, or did not prove itself; the one in use stays.
        StopEarly: somebody else is at it.
        StorageUnusable: the folder of versions cannot be written.
        UsageError: the folder of versions lies where others write.
    """
    home = _writable_home(config)
    with _holding(home):
        _update(home, config, say, pre=pre)


def update_if_due(config: Config, say: Callable[[str], None]) -> None:
    """What `youtube.update: weekly` does at the start of a task: look for a newer one a week after the last look.

    The first task that comes does it for all, once a day at most; the others go on with the version that they have. No
    failure ends a task.
    """
    try:
        home = _writable_home(config)
        if not _is_due(home):
            return
        with _holding(home):
            if _is_due(home):
                _update(home, config, say, pre=False)
    except StopEarly as error:
        _log.info("%s", error)
    except (AudiosetBatchError, OSError) as error:
        _log.warning("youtube.update: yt-dlp stays at %s: %s", ytdlp_versions.version_in_use(), error)


def undo() -> str:
    """Go back to the yt-dlp that is installed; returns its version.

    Raises:
        StorageUnusable: the folder of versions cannot be written.
    """
    for home in ytdlp_versions.homes():
        if home.pointer.exists():
            with storage(home.folder):
                home.pointer.unlink(missing_ok=True)
    return ytdlp_versions.installed_version()


def _update(home: Home, config: Config, say: Callable[[str], None], *, pre: bool) -> None:
    ytdlp_versions.decide_again()  # somebody else may have updated since this process began
    used = ytdlp_versions.version_in_use()
    looked = _looked(home)
    _write(home.checked, looked | {"tried_at": time.time()})
    newest = packages.newest_version(pre=pre)
    if ytdlp_versions.order(newest) <= ytdlp_versions.order(used):
        say(f"yt-dlp {used} is in use; the newest {'build' if pre else 'release'} is {newest}")
    else:
        say(f"yt-dlp {newest}: installing it beside {used}, into {home.folder}")
        _take(home, _proven(home, newest, config, say))
        say(f"yt-dlp {newest} is what new tasks and commands take; those that run keep theirs to their end")
    _write(home.checked, {"tried_at": time.time(), "found_at": time.time()})
    _remove_old(home)


def _proven(home: Home, version: str, config: Config, say: Callable[[str], None]) -> Path:
    """The folder of this version, installed and proven."""
    final = home.folder / version
    if final.is_dir():  # of an update that was taken back
        _prove(home, final, config, say)
        return final
    new = home.folder / f".new-{secrets.token_hex(8)}"
    try:
        with storage(home.folder):
            new.mkdir(0o755)
        packages.install(version, new / version)
        _prove(home, new / version, config, say)
        with storage(home.folder):
            (new / version).rename(final)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return final


def _prove(home: Home, folder: Path, config: Config, say: Callable[[str], None]) -> None:
    """Raises InputRefused if the version in `folder` does not work, or others could have changed it."""
    kept = f"{ytdlp_versions.version_in_use()} stays in use"
    problem = home.problem_with(folder)
    if problem is not None:
        raise InputRefused(f"yt-dlp {folder.name} is refused, {kept}: {problem}")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "audioset_batch.update.proof"],
            input=pickle.dumps(config),
            capture_output=True,
            check=False,
            timeout=_PROOF_SECONDS,
            env={**os.environ, **ytdlp_versions.handing_on(folder)},
        )
    except subprocess.TimeoutExpired as error:
        raise InputRefused(
            f"yt-dlp {folder.name} does not prove itself within {_PROOF_SECONDS:.0f} s, {kept}"
        ) from error
    said, complaints = (text.decode(errors="replace").splitlines() for text in (done.stdout, done.stderr))
    if done.returncode != 0:
        why = [line for line in (*complaints, *said[1:]) if line.strip()]
        last = redact(why[-1]) if why else done.returncode
        raise InputRefused(f"yt-dlp {folder.name} does not work here, {kept}: {last}")
    for line in said[1:]:
        say(f"yt-dlp {folder.name}: {redact(line)}")


def _take(home: Home, folder: Path) -> None:
    """From now on new processes take this version."""
    _write(home.pointer, {"version": folder.name, "proven_at": time.time()})
    ytdlp_versions.decide_again()


def _writable_home(config: Config) -> Home:
    homes = ytdlp_versions.homes()
    for home in homes:
        there = next(one for one in (home.folder, *home.folder.parents) if one.exists())
        if os.access(there, os.W_OK | os.X_OK):
            break
    else:
        raise InputRefused(
            f"{' and '.join(str(home.folder) for home in homes)} cannot be written: let {HOME_VARIABLE} name a folder "
            "that only you can write and that all nodes see, here and in the jobs; or let the owner of the "
            "environment update yt-dlp"
        )
    for shared in (config.data_dir, config.egress_dir):
        if shared is not None and home.folder.resolve().is_relative_to(shared.resolve()):
            raise UsageError(
                f"{home.folder} is within {shared}, where others may write: let {HOME_VARIABLE} name another folder"
            )
    with storage(there):
        for folder in reversed([one for one in (home.folder, *home.folder.parents) if not one.exists()]):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # whatever the umask is
    problem = home.problem_with(home.folder)
    if problem is not None:
        raise InputRefused(f"no yt-dlp is put into {home.folder}: {problem}")
    return home


@contextlib.contextmanager
def _holding(home: Home) -> Any:
    """Hold the lease of the folder of versions, which holds on all nodes."""
    try:
        lease = Lease.acquire(home.lease, Holder.current())
    except ShardHeld as error:
        raise StopEarly(f"yt-dlp is being updated already: {error}") from error
    with lease:
        yield


def _is_due(home: Home) -> bool:
    looked = _looked(home)
    now = time.time()
    # A time in the future is of a clock that was wrong.
    return not any(
        0 <= now - looked.get(key, float("-inf")) < pause for key, pause in (("found_at", _WEEK), ("tried_at", _DAY))
    )


def _looked(home: Home) -> dict[str, float]:
    """When somebody looked last, and last had an answer; Unix times."""
    try:
        values = json.loads(home.checked.read_bytes())
        return {key: float(values[key]) for key in ("tried_at", "found_at") if key in values}
    except (OSError, ValueError, TypeError):
        return {}


def _write(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
        temporary.chmod(0o644)  # whatever the umask is


def _remove_old(home: Home) -> None:
    """Versions that are not in use, as far as can be known; and what killed updates left behind."""
    now = time.time()
    for left in home.folder.glob(".new-*"):
        shutil.rmtree(left, ignore_errors=True)  # its maker is dead: we hold the lease
    current = home.current()
    versions = [one for one in home.folder.iterdir() if one.is_dir() and ytdlp_versions.is_version(one.name)]
    versions.sort(key=lambda one: ytdlp_versions.order(one.name), reverse=True)
    for old in versions[_KEEP:]:
        if old != current and now - old.stat().st_mtime > _KEEP_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
