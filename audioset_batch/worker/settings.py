"""Write the settings that a worker runs with, for the report: its config without secrets, and versions."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import platform
import time
from typing import Final

from audioset_batch import __version__
from audioset_batch.config import Config
from audioset_batch.egress import redact_values
from audioset_batch.errors import StorageUnusable
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.publish import atomic_write_json, make_folders, remove_quietly, storage
from audioset_batch.youtube.versions import version_in_use

_STALE_SECONDS: Final = 600.0
_log = logging.getLogger(__name__)


def note_settings(config: Config, data: DataDir) -> None:
    """Write `state/settings/<hash>.json` unless it exists; its modification time says when it was last used.

    The name is a hash of the content, so tasks with the same settings share a file. Nothing depends on this file: if it
    cannot be written, that is only logged.
    """
    values = {
        "versions": {
            "audioset-batch": __version__,
            "yt-dlp": version_in_use(),
            "python": platform.python_version(),
        },
        "config": redact_values(config.model_dump(mode="json", warnings=False)),
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    path = data.settings / f"{digest}.json"
    try:
        with storage(data.root):
            make_folders(path.parent, data.root)
            for stale in path.parent.glob(".*.tmp"):
                if time.time() - stale.stat().st_mtime > _STALE_SECONDS:  # left by a worker that was killed
                    remove_quietly(stale)
            if path.exists():
                os.utime(path)
            else:
                now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                atomic_write_json(path, {"first_used_at": now, **values})
    except (StorageUnusable, OSError) as error:
        _log.warning("settings are not noted: %s", error)
