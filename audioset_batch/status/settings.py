"""The yt-dlp version that the workers of a data directory use."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError

from audioset_batch.layout import DataDir
from audioset_batch.record.settings import read_settings
from audioset_batch.youtube import versions as ytdlp_versions


def ytdlp_version(data: DataDir) -> str:
    """The version of the last worker, or a newer one that a worker would use now; "" if unknown."""
    known = [str(noted.get("versions", {}).get("yt-dlp", "")) for noted in read_settings(data)[:1]]
    with contextlib.suppress(PackageNotFoundError):
        known.append(ytdlp_versions.version_in_use())
    return max(known, key=ytdlp_versions.order, default="")
