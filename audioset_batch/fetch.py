"""Fetch one published file: from a URL with retries and resume, from a path or a `file://` URL by copying.

Until it is whole and checked, the file is `<target>.part`. `<target>.part.json` says which version of which source that
is; a range request continues it as long as the server still has that version (`If-Range`). Proxies and certificates
come from the environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`).
"""

from __future__ import annotations

import contextlib
import email.message
import errno
import fcntl
import gzip
import hashlib
import http.client
import json
import os
import re
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from audioset_batch.errors import InputRefused, StopEarly, UsageError
from audioset_batch.paths import expand_home
from audioset_batch.sharedfs.publish import atomic_write_text, remove_quietly, storage

_BLOCK: Final = 1 << 18
_LONGEST_PAUSE_SECONDS: Final = 60.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes in all)."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch a file, and what to do when that fails.

    Attributes:
        retries: Further attempts in a row that bring no new byte; an attempt that brings some starts the count again.
        backoff_seconds: Pause before the first retry; doubles up to a minute.
        timeout_seconds: Longest silence of the server.
        length_required: Refuse an answer whose end cannot be told (neither a Content-Length nor chunks). False is for
            files whose content shows whether they are whole.
        keep_refused: Rename a file that the caller refuses to `<target>.refused` instead of removing it.
        advice: What else the user can do if the server refuses or cannot be reached, for error messages.
        progress: Called after each block where the size is known.
        say: Called with a line of text before each retry.
        sleep: Waits between attempts.
    """

    retries: int = 5
    backoff_seconds: float = 1.0
    timeout_seconds: float = 60.0
    length_required: bool = True
    keep_refused: bool = False
    advice: str = ""
    progress: Progress | None = None
    say: Callable[[str], None] = lambda text: None
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A whole file that has not got its final name yet.

    Attributes:
        path: Where it is for now.
        resumed_at: Bytes that an earlier run had left.
    """

    path: Path
    resumed_at: int


class NotThere(InputRefused):
    """The source says that it has no such file."""


class Unreachable(StopEarly):
    """The source could not be reached, or kept breaking off; what has arrived is kept."""


@contextlib.contextmanager
def fetched(sources: str | tuple[str, ...], target: Path, options: FetchOptions) -> Iterator[FetchedFile]:
    """Fetch a file whole; it becomes `target` when the block ends without an error.

    Check the file in the block: if you raise InputRefused there, the file is not taken, and the next fetch starts
    afresh. The folder of `target` must exist.

    Args:
        sources: URL or path of the file; of several, the first that has one.
        target: Its final name; replaced if it is there.
        options: How to fetch it.

    Raises:
        NotThere: No source has such a file (404, 410, missing path).
        InputRefused: A server refuses or sends what cannot be used, or the block raised it.
        Unreachable: The server cannot be reached or keeps breaking off.
        StopEarly: Another process is fetching the same file.
        StorageUnusable: The file cannot be written; what has arrived is kept.
    """
    part = _Part(target)
    refused = target.with_name(f"{target.name}.refused")
    with part.locked():
        _fetch_first((sources,) if isinstance(sources, str) else sources, part, options)
        try:
            yield FetchedFile(part.path, part.resumed_at)
        except InputRefused as error:
            with storage(part.path):
                if not options.keep_refused:
                    part.path.unlink()
                    raise
                part.path.replace(refused)
            raise InputRefused(str(error).replace(str(part.path), str(refused))) from error
        with storage(target):
            part.path.replace(target)
            if options.keep_refused:
                refused.unlink(missing_ok=True)


def join_source(base: str, name: str) -> str:
    """`base`/`name` for a URL (a query is kept) or a path."""
    if is_url(base):
        parts = _parts(base)
        return urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))
    return str(expand_home(base) / name)


def is_url(source: str) -> bool:
    """True for http(s) and file URLs; anything else is a path."""
    return re.match(r"(?i)(https?|file)://", source) is not None


def require_there(source: str) -> None:
    """Refuse a path, also as `file://`, that leads nowhere, before anything is fetched; URLs are not asked.

    Raises:
        UsageError: there is no such file or folder.
    """
    local = _local_path(source)
    if local is not None and not expand_home(local).exists():
        raise UsageError(f"{local}: no such file or folder")


def is_copy(source: str, target: Path) -> bool | None:
    """Whether `target` has the content of `source`, unpacked; None where that cannot be told without fetching it.

    Raises:
        NotThere: `source` is a path without a file.
        InputRefused: it cannot be read.
    """
    local = _local_path(source)
    if local is None or not target.exists():
        return None
    if not local.exists():
        raise NotThere(f"{local}: no such file")
    try:
        with local.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(local) if packed else local.open("rb") as one, target.open("rb") as other:
            while block := one.read(_BLOCK):
                if other.read(len(block)) != block:
                    return False
            return not other.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputRefused(f"{local}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


class _Part:
    """What has arrived of a file, and of which version of which source it is."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.resumed_at = 0
        self._note = target.with_name(f"{target.name}.part.json")
        self._file: BinaryIO

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the file is open."""
        while True:
            with storage(self.path):
                self._file = self._opened()
            with self._file:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise StopEarly(
                        f"{self.path}: another process is fetching it; run this again when that is done"
                    ) from error
                except OSError:
                    pass  # a filesystem without locks
                if self._is_current():
                    self.resumed_at = self.size
                    try:
                        yield
                    finally:
                        self._remove_if_empty()
                    return

    def _opened(self) -> BinaryIO:
        """The file, open for appending; what others have put in its place, such as a link, is removed, not followed."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            try:
                handle = os.open(self.path, flags, 0o666)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
            else:
                found = os.fstat(handle)
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    return os.fdopen(handle, "a+b")
                os.close(handle)
            self.path.unlink(missing_ok=True)

    def _is_current(self) -> bool:
        """False if another process has finished and renamed the file between our opening and locking it."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _remove_if_empty(self) -> None:
        if not self.size and self._is_current():
            for path in (self.path, self._note):
                remove_quietly(path)

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return os.fstat(self._file.fileno()).st_size

    def version_of(self, source: str) -> str:
        """What identifies the version on the server of the bytes here; "" if they cannot be continued from `source`."""
        try:
            note = json.loads(self._note.read_bytes())
            version = note["version"] if note["source"] == _digest(source) else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return version if isinstance(version, str) else ""

    def restart(self, source: str = "", headers: email.message.Message | None = None) -> None:
        """Drop what is here; what comes next is of the version of `source` that `headers` name, if any."""
        self.resumed_at = 0
        with storage(self.path):
            self._file.truncate(0)
            if headers is None:
                self._note.unlink(missing_ok=True)
                return
            etag = headers.get("ETag", "")  # a weak one cannot be used for ranges (RFC 9110, 13.1.5)
            version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
        atomic_write_text(self._note, json.dumps({"source": _digest(source), "version": version}))

    def write(self, block: bytes) -> None:
        """Append to it."""
        with storage(self.path):
            self._file.write(block)
            self._file.flush()

    def complete(self) -> None:
        """Nothing more is to come."""
        with storage(self.path):
            os.fsync(self._file.fileno())
            self._note.unlink(missing_ok=True)


def _digest(source: str) -> str:
    """Tells sources apart in a file that others may read; a URL can hold a password."""
    return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()


def _fetch_first(sources: tuple[str, ...], part: _Part, options: FetchOptions) -> None:
    missing = []
    for source in sources:
        local = _local_path(source)
        try:
            if local is None:
                _download(source, part, options)
            else:
                _copy(local, part)
        except NotThere as error:
            missing.append(str(error))
        else:
            part.complete()
            return
    raise NotThere("; ".join(missing) + _otherwise(options))


def _otherwise(options: FetchOptions) -> str:
    return f"; {options.advice}" if options.advice else ""


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputRefused(f"{url}: not a URL: {error}") from error


def _local_path(source: str) -> Path | None:
    if not is_url(source):
        return Path(source)
    parts = _parts(source)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme.lower() == "file" else None


def _copy(source: Path, part: _Part) -> None:
    try:
        with source.open("rb") as file:
            part.restart()
            while block := file.read(_BLOCK):
                part.write(block)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThere(f"{source}: no such file; expected a URL or the path of a file") from error
    except (OSError, ValueError) as error:
        raise InputRefused(
            f"cannot copy {source} to {part.path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _download(source: str, part: _Part, options: FetchOptions) -> None:
    """Ask until the file is whole."""
    failures = 0
    while True:
        before = part.size
        try:
            _receive(source, part, options)
            return
        except urllib.error.HTTPError as error:
            with error:
                reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # what is here is no beginning of what is there
                part.restart()
            elif error.code in (404, 410):
                raise NotThere(f"{source}: not there (HTTP {error.code})") from error
            elif error.code < 500 and error.code not in (408, 425, 429):
                raise InputRefused(f"{source}: refused with {reason}{_otherwise(options)}") from error
        except (ValueError, http.client.InvalidURL) as error:
            raise InputRefused(f"{source}: not a URL: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        failures = 1 if part.size > before else failures + 1
        if failures > options.retries:
            kept = f"{part.size:,} bytes are kept in {part.path}; the same command continues from there"
            raise Unreachable(
                f"{source}: gave up after {failures} tries in a row without progress: {reason}. "
                f"{kept if part.size else 'Nothing has arrived'}. Behind a firewall, set HTTP_PROXY and HTTPS_PROXY, "
                f"or {options.advice or 'copy the file here by other means'}"
            )
        options.say(f"{source}: {reason}; {part.size:,} bytes so far, trying again")
        options.sleep(min(_LONGEST_PAUSE_SECONDS, options.backoff_seconds * 2 ** (failures - 1)))


def _receive(source: str, part: _Part, options: FetchOptions) -> None:
    """One request; returns when the file is whole by what the server says of its length."""
    request = urllib.request.Request(source, headers={"Accept-Encoding": "identity", "User-Agent": "audioset-batch"})
    have, version = part.size, part.version_of(source)
    if have and version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    # A new opener each time: the module's own keeps the proxies of its first use.
    with urllib.request.build_opener().open(request, timeout=options.timeout_seconds) as response:
        continued = response.status == 206
        total: int | None = None
        length = response.headers.get("Content-Length", "")
        extent = _CONTENT_RANGE.match(response.headers.get("Content-Range", "")) if continued else None
        if continued and (extent is None or int(extent[1]) != have):
            part.restart()
            raise http.client.HTTPException("the server answered with another range than was asked for")
        if extent is not None and extent[2] != "*":
            total = int(extent[2])
        elif length.isdigit():
            total = int(length) + (have if continued else 0)
        elif options.length_required and not response.chunked:
            raise InputRefused(
                f"{source}: the answer has no Content-Length, so its end is unknown; is a proxy in between?"
            )
        if not continued:
            part.restart(source, response.headers)
        while block := response.read1(_BLOCK):
            part.write(block)
            if options.progress and total is not None:
                options.progress(part.size, total)
    if total is not None and part.size != total:
        received = part.size
        if received > total:
            part.restart()
        raise http.client.HTTPException(f"expected {total:,} bytes, {received:,} came")
