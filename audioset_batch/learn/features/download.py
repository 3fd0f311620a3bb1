"""Downloads of large published files that go on where they stopped.

Half a download is `<name>.part`, with the server's name for that version in `<name>.part.json`; it goes on where it
stopped if the server still has the same version, and gets its final name when it is whole and accepted.
Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`), certificates too (`SSL_CERT_FILE`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from audioset_batch.errors import InputRefused, StopEarly, StorageUnusable, UsageError

_READ: Final = 1 << 20
_ATTEMPTS: Final = 6
_ATTEMPTS_IN_VAIN: Final = 3
"""If not one byte has come: most likely there is no way to the server from here."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes in all)."""


class _TransferError(Exception):
    """The connection failed in a way that another attempt may not."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A finished download.

    Attributes:
        size: Bytes.
        resumed_at: Bytes that an earlier run had left.
    """

    size: int
    resumed_at: int


def download(
    url: str,
    target: Path,
    *,
    accept: Callable[[Path], None] = lambda part: None,
    advice: str = "",
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Downloaded:
    """Download `url` to `target`, going on where an earlier run stopped.

    Args:
        url: Of the file.
        target: Its final name; replaced if it is there. The folder is made.
        accept: Looks at the whole file before it gets its name. If it raises InputRefused, nothing is kept.
        advice: What to do if the server refuses or cannot be reached, for error messages.
        progress: Told after each block.
        sleep: Waits between attempts.

    Raises:
        InputRefused: The server refuses, sends something else than asked for, or `accept` does not want it.
        StopEarly: The connection keeps failing, or another process is fetching; run it again later.
        StorageUnusable: The folder cannot be written.
        UsageError: There is a file in its place.
    """
    part = target.with_name(f"{target.name}.part")
    transfer = _Transfer(url, part, advice, progress)
    with _storage(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as stream:
            resumed_at = os.fstat(stream.fileno()).st_size
            size = transfer.run(stream, sleep)
            os.fsync(stream.fileno())
            try:
                accept(part)
            except InputRefused:
                part.unlink()
                _note(part).unlink(missing_ok=True)
                raise
            part.replace(target)
        _note(part).unlink(missing_ok=True)
    return Downloaded(size, resumed_at)


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, (NotADirectoryError, FileExistsError)):
            raise UsageError(f"{error.filename or folder}: expected a folder, a file is there") from error
        if error.errno in _FULL_DISK or isinstance(error, PermissionError):
            raise StorageUnusable(
                f"{error.filename or folder} cannot be written ({error.strerror}); what has come is kept"
            ) from error
        raise


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    with part.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StopEarly(f"{part}: another process is fetching into it; run this again when it is done") from error
        yield stream


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


@dataclass(frozen=True, slots=True)
class _Transfer:
    """Fills one `.part` file."""

    url: str
    part: Path
    advice: str
    progress: Progress | None

    def run(self, stream: BinaryIO, sleep: Callable[[float], None]) -> int:
        """Append to `stream` until it is whole; returns the size."""
        failures, anything = 0, False
        while True:
            before = os.fstat(stream.fileno()).st_size
            try:
                return self._attempt(stream)
            except _TransferError as error:
                have = os.fstat(stream.fileno()).st_size
                # A broken connection that brought something is no reason to give up.
                failures = 1 if have > before else failures + 1
                anything |= have > before
                if failures == (_ATTEMPTS if anything else _ATTEMPTS_IN_VAIN):
                    raise StopEarly(
                        f"{self.url}: {error}; {have:,} bytes are kept in {self.part}, the same command goes on from "
                        f"there{self._otherwise()}"
                    ) from error
            sleep(min(60.0, 2.0**failures))

    def _otherwise(self) -> str:
        return f"; or {self.advice}" if self.advice else ""

    def _attempt(self, stream: BinaryIO) -> int:
        have = os.fstat(stream.fileno()).st_size
        version = _read_note(self.part) if have else None
        if version is None:
            # Without the server's name for the version nothing tells whether the two halves belong together.
            have = 0
            stream.truncate(0)
        try:
            request = urllib.request.Request(self.url, headers={"Accept-Encoding": "identity"})
        except ValueError as error:
            raise InputRefused(f"{self.url}: expected a URL, e.g. https://...: {error}") from error
        if have and version:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", version)
        try:
            # A new opener each time: the module's own keeps the proxies of its first use.
            with urllib.request.build_opener().open(request, timeout=60) as response:
                start, size = _place(response, self.url)
                if start == 0 and have:
                    stream.truncate(0)
                elif start != have:
                    raise InputRefused(f"{self.url}: asked for byte {have} on, the server sent from byte {start} on")
                _write_note(self.part, response)
                _copy(response, stream, start, size, self.progress)
                return size
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and have:
                    # The part is as long as the file or longer: a leftover of another version.
                    stream.truncate(0)
                    raise _TransferError("the part did not fit, starting over") from error
                if error.code >= 500 or error.code in (408, 429):
                    raise _TransferError(f"HTTP {error.code} {error.reason}") from error
                raise InputRefused(f"{self.url}: HTTP {error.code} {error.reason}{self._otherwise()}") from error
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise _TransferError(str(getattr(error, "reason", "") or error or type(error).__name__)) from error


def _place(response: http.client.HTTPResponse, url: str) -> tuple[int, int]:
    """(first byte of this answer, size of the whole file)."""
    if response.status == 206:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None:
            raise InputRefused(f"{url}: partial answer without a usable Content-Range")
        return int(match[1]), int(match[2])
    length = response.headers.get("Content-Length", "")
    if not length.isdigit():
        raise InputRefused(f"{url}: the answer has no Content-Length, so its end is unknown; is a proxy in between?")
    return 0, int(length)


def _read_note(part: Path) -> str | None:
    try:
        version = json.loads(_note(part).read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) and version else None


def _write_note(part: Path, response: http.client.HTTPResponse) -> None:
    # A weak ETag must not be used with If-Range (RFC 9110, 13.1.5).
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    _note(part).write_text(json.dumps({"version": version}))


def _copy(
    response: http.client.HTTPResponse, stream: BinaryIO, start: int, size: int, progress: Progress | None
) -> None:
    have = start
    try:
        while block := response.read1(_READ):
            stream.write(block)
            have += len(block)
            if progress:
                progress(have, size)
    finally:
        stream.flush()
    if have != size:
        raise _TransferError(f"the connection ended after {have:,} of {size:,} bytes")
