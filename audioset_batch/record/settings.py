"""The settings that workers ran with, as `worker.settings` noted them."""

from __future__ import annotations

import contextlib
import datetime
import time
from typing import Any, Final

from audioset_batch.adapters import untrusted
from audioset_batch.adapters.publish import storage
from audioset_batch.adapters.sharedfs import Folder
from audioset_batch.errors import UnsafePath
from audioset_batch.layout import DataDir

_MOST_BYTES: Final = 1 << 20


def read_settings(data: DataDir) -> list[dict[str, Any]]:
    """The settings that `worker.settings` noted, those used last in front; files that are no settings are left out.

    Raises:
        StorageUnusable: the folder cannot be read.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    with storage(data.root):
        try:
            with Folder(data.settings) as folder:
                for name in folder.names():
                    if name.endswith(".json") and not name.startswith("."):
                        with contextlib.suppress(ValueError, FileNotFoundError, UnsafePath):
                            content, facts = folder.read(name, _MOST_BYTES)
                            values = untrusted.load_object(content)
                            if isinstance(values.get("config"), dict):
                                moment = min(facts.st_mtime, time.time())
                                found.append((moment, {**values, "last_used_at": iso_time(moment)}))
        except FileNotFoundError:
            return []
    return [values for _, values in sorted(found, key=lambda item: item[0], reverse=True)]


def iso_time(moment: float) -> str:
    """A Unix time in UTC, ISO 8601."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")
