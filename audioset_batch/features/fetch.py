"""`features fetch`: the released archive with resume, or the same by gsutil.

Half a download is `features.tar.gz.part`, with the server's name for that version in `features.tar.gz.part.json`; it
goes on where it stopped if the server still has the same version, and gets its final name when it is whole.
Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`), certificates too (`SSL_CERT_FILE`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from audioset_batch.errors import InputRefused, StopEarly, StorageUnusable, UsageError
from audioset_batch.features.shards import Progress

REGIONS: Final = ("us", "eu", "asia")
BASE_URL: Final = "https://storage.googleapis.com/{region}_audioset/youtube_corpus/v1"
ARCHIVE: Final = "features.tar.gz"
SHA256: Final = "cd95d500ab2422d4233cb822e25cf73033633e2068eab64d39024e85125cb760"
"""As two unrelated public repositories pin it; not confirmed by the publisher, so a difference is only told."""

_READ: Final = 1 << 20
_ATTEMPTS: Final = 6
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


class _TransferError(Exception):
    """The connection failed in a way that another attempt may not."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download.

    Attributes:
        path: The archive.
        size: Bytes.
        sha256: Of the whole file; "" if it was there before.
        as_published: False if the checksum is not the known one; None if it was not computed.
        resumed_at: Bytes that an earlier run had left.
    """

    path: Path
    size: int
    sha256: str
    as_published: bool | None
    resumed_at: int


def archive_url(region: str, base_url: str | None = None) -> str:
    """Where the archive is."""
    return f"{(base_url or BASE_URL.format(region=region)).rstrip('/')}/features/{ARCHIVE}"


def fetch(
    folder: Path,
    region: str = "us",
    *,
    base_url: str | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download the archive into `folder`, going on where an earlier run stopped; does nothing if it is there.

    Raises:
        UsageError: An unknown region.
        InputRefused: The server refuses, or sends something else than asked for.
        StopEarly: The connection keeps failing, or another process is fetching; run it again later.
        StorageUnusable: `folder` cannot be written.
    """
    if region not in REGIONS:
        raise UsageError(f"--region: expected {', '.join(REGIONS)}, got {region!r}")
    target = folder / ARCHIVE
    if target.exists():
        return Fetched(target, target.stat().st_size, "", None, 0)
    part = folder / f"{ARCHIVE}.part"
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(part) as stream:
            resumed_at = os.fstat(stream.fileno()).st_size
            size = _transfer(archive_url(region, base_url), stream, part, progress, sleep)
            os.fsync(stream.fileno())
            digest = _sha256(part)
            part.replace(target)
        _note(part).unlink(missing_ok=True)
    return Fetched(target, size, digest, digest == SHA256, resumed_at)


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK or isinstance(error, PermissionError):
            raise StorageUnusable(
                f"{folder} cannot be written ({error.strerror}): the archive takes 2.4 GB; what has come is kept"
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


def _transfer(url: str, stream: BinaryIO, part: Path, progress: Progress | None, sleep: Callable[[float], None]) -> int:
    """Append to `stream` until it is whole; returns the size."""
    failures = 0
    while True:
        before = os.fstat(stream.fileno()).st_size
        try:
            return _attempt(url, stream, part, progress)
        except _TransferError as error:
            have = os.fstat(stream.fileno()).st_size
            # A broken connection that brought something is no reason to give up.
            failures = 1 if have > before else failures + 1
            if failures == _ATTEMPTS:
                raise StopEarly(
                    f"{url}: {error}; {have:,} bytes are kept in {part}, the same command goes on from there"
                ) from error
        sleep(min(60.0, 2.0**failures))


def _attempt(url: str, stream: BinaryIO, part: Path, progress: Progress | None) -> int:
    have = os.fstat(stream.fileno()).st_size
    version = _read_note(part) if have else None
    if version is None:
        # Without the server's name for the version nothing tells whether the two halves belong together.
        have = 0
        stream.truncate(0)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have and version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    try:
        # A new opener each time: the module's own keeps the proxies of its first use.
        with urllib.request.build_opener().open(request, timeout=60) as response:
            start, size = _place(response, url)
            if start == 0 and have:
                stream.truncate(0)
            elif start != have:
                raise InputRefused(f"{url}: asked for byte {have} on, the server sent from byte {start} on")
            _write_note(part, response)
            _copy(response, stream, start, size, progress)
            return size
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                # The part is as long as the file or longer: a leftover of another version.
                stream.truncate(0)
                raise _TransferError("the part did not fit, starting over") from error
            if error.code >= 500 or error.code in (408, 429):
                raise _TransferError(f"HTTP {error.code} {error.reason}") from error
            raise InputRefused(f"{url}: HTTP {error.code} {error.reason}; try another --region") from error
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
        raise InputRefused(
            f"{url}: the answer has no Content-Length, so its end could not be told; is a proxy in between?"
        )
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


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def rsync(folder: Path, region: str = "us") -> None:
    """Mirror the bucket's feature folder with `gsutil -m rsync`, which resumes by itself.

    Raises:
        UsageError: gsutil is not installed, or an unknown region.
        InputRefused: It failed.
    """
    if region not in REGIONS:
        raise UsageError(f"--region: expected {', '.join(REGIONS)}, got {region!r}")
    program = shutil.which("gsutil")
    if program is None:
        raise UsageError("gsutil is not on PATH: install the Google Cloud CLI, or fetch without --gsutil")
    folder.mkdir(parents=True, exist_ok=True)
    source = f"gs://{region}_audioset/youtube_corpus/v1/features"
    status = subprocess.run([program, "-m", "rsync", "-r", source, str(folder.resolve())], check=False).returncode
    if status:
        raise InputRefused(f"gsutil rsync {source} {folder} ended with status {status}; its messages are above")
