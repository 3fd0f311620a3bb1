"""yt-dlp's cache of player scripts, made safe for a process with several threads."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from yt_dlp.cache import Cache
from yt_dlp.version import __version__

from audioset_batch.errors import StorageUnusable
from audioset_batch.sharedfs.publish import atomic_write_json


class ThreadSafeCache(Cache):  # type: ignore[misc]
    """yt-dlp's cache, with the same files.

    yt-dlp's `store` reads the umask by setting it to 0 and back. A file that another thread creates at that moment is
    writable by everybody, and two threads that do so at once may leave the process with umask 0.
    """

    def store(self, section: str, key: str, data: Any, dtype: str = "json") -> None:
        """Store `data`; a cache that cannot be written is not an error."""
        if not self.enabled:
            return
        path = Path(self._get_cache_fn(section, key, dtype))
        with contextlib.suppress(OSError, StorageUnusable, TypeError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(path, {"yt-dlp_version": __version__, "data": data})
