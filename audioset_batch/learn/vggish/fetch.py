"""Downloads the released weights and PCA parameters, resuming, and checks their MD5."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused
from audioset_batch.fetch import FetchOptions, fetched
from audioset_batch.learn.vggish.pca import PCA_NAME
from audioset_batch.learn.vggish.weights import CHECKPOINT_NAME
from audioset_batch.sharedfs.publish import make_user_folder

BASE_URL: Final = "https://storage.googleapis.com/audioset"

NamedProgress = Callable[[str, int, int], None]
"""Called with (file name, bytes there, bytes in all)."""


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
    progress: NamedProgress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """Bring both files to `folder`; one that is there and right is left alone.

    A download goes on where an earlier one ended. A file gets its name only after its MD5 was right.

    Raises:
        InputRefused: The server refuses, or sends other bytes than Google released.
        StopEarly: The server cannot be reached, or another process is fetching; run it again later.
        StorageUnusable: `folder` cannot be written.
    """
    return [_fetch(file, folder, f"{base_url.rstrip('/')}/{file.name}", progress, sleep) for file in files]


def _fetch(
    file: ReleasedFile, folder: Path, url: str, progress: NamedProgress | None, sleep: Callable[[float], None]
) -> Path:
    target = folder / file.name
    if target.is_file() and md5_of(target) == file.md5:
        return target

    make_user_folder(folder)
    options = FetchOptions(
        advice=f"copy {file.name} to {folder} from a machine with internet access",
        progress=partial(progress, file.name) if progress else None,
        sleep=sleep,
    )
    with fetched(url, target, options) as arrived:
        found = md5_of(arrived.path)
        if found != file.md5:
            raise InputRefused(
                f"{url}: expected the released file with MD5 {file.md5}, got {arrived.path.stat().st_size} bytes with "
                f"MD5 {found}; a proxy or login page may have answered in its place. Nothing was kept"
            )
    return target


def md5_of(path: Path) -> str:
    """MD5 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
