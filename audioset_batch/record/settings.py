"""The settings that workers ran with, as `worker.settings` noted them."""

from __future__ import annotations

import datetime
import json
from typing import Any

from audioset_batch.adapters.publish import storage
from audioset_batch.layout import DataDir


def read_settings(data: DataDir) -> list[dict[str, Any]]:
    """The settings that `worker.settings` noted, those used last in front; files that are no settings are left out.

    Raises:
        StorageUnusable: the folder cannot be read.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    with storage(data.root):
        for path in data.settings.glob("*.json"):
            try:
                values = json.loads(path.read_bytes())
                moment = path.stat().st_mtime
            except (ValueError, FileNotFoundError):
                continue
            if isinstance(values, dict) and isinstance(values.get("config"), dict):
                found.append((moment, {**values, "last_used_at": iso_time(moment)}))
    return [values for _, values in sorted(found, key=lambda item: item[0], reverse=True)]


def iso_time(moment: float) -> str:
    """A Unix time in UTC, ISO 8601."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")
