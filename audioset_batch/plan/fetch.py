"""Bring one small public file here: from a URL with retries and resume, from a path or `file://` by copying.

What was received so far is `<target>.part`; it is continued by a range request as long as the server says that the
file is still the same one (`If-Range`). The caller looks at the whole file before it gets its final name.
"""

from __future__ import annotations

import email.message
import errno
import gzip
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.paths import expand_home

_BLOCK: Final = 1 << 18
_RETRIED_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How stubbornly to fetch.

    Attributes:
        retries: Further tries in a row that bring no new byte; a try that brings some starts the count again.
        backoff_seconds: Pause before the first retry; doubles up to 30 s.
        timeout_seconds: Longest silence of the server.
    """

    retries: int = 5
    backoff_seconds: float = 1.0
    timeout_seconds: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = lambda text: None


class NotThere(InputRefused):
    """The source says that it has no such file."""


def join_source(base: str, name: str) -> str:
    """`base`/`name` for a URL (a query is kept) or a path."""
    if is_url(base):
        parts = _parts(base)
        return urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))
    return str(expand_home(base) / name)


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputRefused(f"{url} is no URL: {error}") from error


def is_url(source: str) -> bool:
    """True for http(s) and file URLs; anything else is a path."""
    return re.match(r"(?i)(https?|file)://", source) is not None


def fetch(source: str, target: Path, options: FetchOptions) -> Path:
    """Fetch `source` whole into `<target>.part` and return that path.

    Raises:
        NotThere: there is no such file (404, 410, missing path).
        InputRefused: it could not be had; says what was tried.
        StorageUnusable: it cannot be written here.
    """
    part = target.with_name(f"{target.name}.part")
    local = _local_path(source)
    if local is not None:
        return _copy(local, part)
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(source, part, options)
            _meta(part).unlink(missing_ok=True)
            return part
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is here is no beginning of what is there
                _forget(part)
            elif error.code in (404, 410):
                raise NotThere(f"{source}: not there (HTTP {error.code})") from error
            elif error.code not in _RETRIED_STATUS:
                raise InputRefused(f"{source}: refused with HTTP {error.code} {error.reason}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        except UnicodeError as error:
            raise InputRefused(f"{source}: not a URL: {error}") from error
        failures = 1 if _size(part) > before else failures + 1
        if failures > options.retries:
            raise InputRefused(
                f"{source}: gave up after {failures} tries in a row without progress: {reason}. What came is kept; "
                "the same command continues. Behind a firewall set HTTP_PROXY and HTTPS_PROXY, or copy the file "
                "here by other means"
            )
        options.say(f"{source}: {reason}; {_size(part):,} bytes so far, trying again")
        options.sleep(min(30.0, options.backoff_seconds * 2 ** (failures - 1)))


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


def publish(part: Path, target: Path) -> None:
    """Give a fetched and checked file its final name."""
    try:
        part.replace(target)
    except OSError as error:
        raise StorageUnusable(f"cannot write {target}: {error.strerror}") from error


def _local_path(source: str) -> Path | None:
    if not is_url(source):
        return Path(source)
    parts = _parts(source)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme.lower() == "file" else None


def _copy(source: Path, part: Path) -> Path:
    if not source.exists():
        raise NotThere(f"{source}: no such file")
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageUnusable(f"cannot write {part}: {error.strerror}") from error
        raise InputRefused(f"cannot copy {source} to {part}: {error.strerror or error}") from error
    return part


def _receive(source: str, part: Path, options: FetchOptions) -> None:
    """One request; returns when the file is whole by what the server said of its length."""
    request = urllib.request.Request(source, headers={"Accept-Encoding": "identity", "User-Agent": "audioset-batch"})
    have, validator = _size(part), _validator(part)
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    else:
        _forget(part)
        have = 0
    with urllib.request.build_opener().open(request, timeout=options.timeout_seconds) as response:
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != have:
                _forget(part)
                raise http.client.HTTPException("the server answered with another range than was asked for")
            total = None if match[2] == "*" else int(match[2])
        else:
            have = 0
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            _forget(part)  # a kill here must not leave old bytes beside the mark of a new version
            _remember(part, response.headers)
        with _open(part, have) as file:
            while block := response.read1(_BLOCK):
                _write(file, block, part)
    received = _size(part)
    if total is not None and received != total:
        if received > total:
            _forget(part)
        raise http.client.HTTPException(f"expected {total:,} bytes, {received:,} came")


def _open(part: Path, have: int) -> BinaryIO:
    try:
        file = part.open("r+b" if have else "wb")
        file.seek(have)
    except OSError as error:
        raise StorageUnusable(f"cannot write {part}: {error.strerror}") from error
    return file


def _write(file: BinaryIO, block: bytes, part: Path) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise StorageUnusable(f"cannot write {part}: {error.strerror}") from error


def _meta(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, headers: email.message.Message) -> None:
    """Note what identifies this version of the file; a weak ETag cannot be used for ranges (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    try:
        _meta(part).write_text(json.dumps({"if_range": validator}), encoding="utf-8")
    except OSError as error:
        raise StorageUnusable(f"cannot write {_meta(part)}: {error.strerror}") from error


def _validator(part: Path) -> str:
    try:
        value = json.loads(_meta(part).read_text(encoding="utf-8"))["if_range"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _meta(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
