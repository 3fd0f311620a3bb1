"""Downloads the released weights and PCA parameters, resuming, and checks their MD5."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.vggish.pca import PCA_NAME
from audioset_batch.vggish.weights import CHECKPOINT_NAME

BASE_URL: Final = "https://storage.googleapis.com/audioset"
_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 60.0
_TRIES: Final = 5

Progress = Callable[[str, int, int], None]
"""Called with (file name, bytes there, bytes in all or 0 if unknown)."""


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """A file of Google's release and its MD5 as hex."""

    name: str
    md5: str


FILES: Final = (
    ReleasedFile(CHECKPOINT_NAME, "d1c7011e6366aa34176bb05c705e31a8"),
    ReleasedFile(PCA_NAME, "c80cae691033abe7c7ecd11ea39fc834"),
)


def fetch_weights(
    folder: Path,
    base_url: str = BASE_URL,
    files: tuple[ReleasedFile, ...] = FILES,
    progress: Progress | None = None,
) -> list[Path]:
    """Bring both files to `folder`; one that is there and right is left alone.

    A download goes on where an earlier one ended. A file gets its name only after its MD5 was right.

    Raises:
        InputRefused: the server cannot be reached, refuses, or sends other bytes than Google released.
        StorageUnusable: `folder` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_fetch(file, folder / file.name, f"{base_url.rstrip('/')}/{file.name}", progress) for file in files]
    except OSError as error:
        raise StorageUnusable(f"{error.filename or folder}: cannot be written: {error.strerror}") from error


def _fetch(file: ReleasedFile, target: Path, url: str, progress: Progress | None) -> Path:
    if target.is_file() and md5_of(target) == file.md5:
        return target
    partial = target.with_name(f"{target.name}.part")
    resumed = partial.is_file() and partial.stat().st_size > 0
    _download(url, partial, progress)
    found = md5_of(partial)
    if found != file.md5 and resumed:
        # The bytes of the earlier download may have been of another file.
        partial.unlink()
        _download(url, partial, progress)
        found = md5_of(partial)
    if found != file.md5:
        size = partial.stat().st_size
        partial.unlink()
        raise InputRefused(
            f"{url}: expected the released file with MD5 {file.md5}, got {size} bytes with MD5 {found}; "
            "a proxy or login page may have answered in its place. Nothing was kept"
        )
    partial.replace(target)
    return target


def _download(url: str, partial: Path, progress: Progress | None) -> None:
    """Append to `partial` until the server says it is whole; a broken connection is taken up again."""
    problem = ""
    for _ in range(_TRIES):
        have = partial.stat().st_size if partial.is_file() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                if response.status != http.client.PARTIAL_CONTENT:
                    have = 0
                length = response.headers.get("Content-Length")
                total = have + int(length) if length else 0
                with partial.open("ab" if have else "wb") as stream:
                    have = _copy(response, stream.write, have, total, partial.name.removesuffix(".part"), progress)
                    stream.flush()
                    os.fsync(stream.fileno())
            if have >= total:
                return
            problem = f"the connection ended after {have} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            raise InputRefused(f"{url}: the server answered {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
    raise InputRefused(
        f"{url}: cannot be fetched: {problem}. What came is kept; run again to go on, or copy the file to "
        f"{partial.parent} from a machine with internet access"
    )


def _copy(
    response: http.client.HTTPResponse,
    write: Callable[[bytes], int],
    have: int,
    total: int,
    name: str,
    progress: Progress | None,
) -> int:
    while chunk := response.read(_CHUNK):
        write(chunk)
        have += len(chunk)
        if progress:
            progress(name, have, total)
    return have


def md5_of(path: Path) -> str:
    """MD5 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
