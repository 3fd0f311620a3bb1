"""`features fetch`: the released archive with resume, or the same by gsutil."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.fetch import FetchOptions, Progress, fetched
from audioset_batch.sharedfs.publish import make_user_folder

REGIONS: Final = ("us", "eu", "asia")
BASE_URL: Final = "https://storage.googleapis.com/{region}_audioset/youtube_corpus/v1"
ARCHIVE: Final = "features.tar.gz"
SHA256: Final = "cd95d500ab2422d4233cb822e25cf73033633e2068eab64d39024e85125cb760"
"""As two unrelated public repositories pin it; not confirmed by the publisher, so a difference is only told."""


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
    make_user_folder(folder)
    options = FetchOptions(advice="try another --region", progress=progress, sleep=sleep)
    with fetched(archive_url(region, base_url), target, options) as arrived, arrived.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    return Fetched(target, size, digest, digest == SHA256, arrived.resumed_at)


def rsync(folder: Path, region: str = "us") -> None:
    """Mirror the bucket's feature folder with `gsutil -m rsync`, which resumes by itself.

    Raises:
        UsageError: Gsutil is not installed, or an unknown region.
        InputRefused: It failed.
    """
    if region not in REGIONS:
        raise UsageError(f"--region: expected {', '.join(REGIONS)}, got {region!r}")
    program = shutil.which("gsutil")
    if program is None:
        raise UsageError("gsutil is not on PATH: install the Google Cloud CLI, or fetch without --gsutil")
    make_user_folder(folder)
    source = f"gs://{region}_audioset/youtube_corpus/v1/features"
    status = subprocess.run([program, "-m", "rsync", "-r", source, str(folder.resolve())], check=False).returncode
    if status:
        raise InputRefused(f"gsutil rsync {source} {folder} ended with status {status}; its messages are above")
