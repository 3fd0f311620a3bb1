"""Read the settings that workers ran with, which `worker.settings` writes."""

from __future__ import annotations

import contextlib
import datetime
import time
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from audioset_batch import untrusted
from audioset_batch.config import Config
from audioset_batch.config.schema import Egress, Slurm, Video, Worker
from audioset_batch.errors import UnsafePath
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import storage

_MAX_BYTES: Final = 1 << 20
_PACE: Final = ("processes", "threads", "hold_seconds", "burst")
_RESERVED: Final = ("cpus_per_task", "mem", "array_parallelism")


def read_settings(data: DataDir) -> list[dict[str, Any]]:
    """Read all settings files, the most recently used first; invalid files are skipped.

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
                            content, facts = folder.read(name, _MAX_BYTES)
                            values = untrusted.load_object(content)
                            if isinstance(values.get("config"), dict):
                                moment = min(facts.st_mtime, time.time())
                                found.append((moment, {**values, "last_used_at": iso_time(moment)}))
        except FileNotFoundError:
            return []
    return [values for _, values in sorted(found, key=lambda item: item[0], reverse=True)]


def egress_config(data: DataDir) -> Config:
    """The default config with what workers have noted: egresses, video mode and SLURM reservation; no secrets."""
    default = Config(data_dir=data.root)
    for noted in read_settings(data):
        values = noted["config"]
        try:
            egresses = tuple(
                Egress(
                    name=one["name"],
                    videos_per_hour=one.get("videos_per_hour"),
                    window_seconds=one.get("window_seconds", 3600),
                )
                for one in values["egress"]
            )
        except (KeyError, TypeError, ValidationError):
            continue
        folder = values.get("egress_dir")
        found = default.model_copy(update={"egress": egresses, "egress_dir": Path(folder) if folder else None})
        with contextlib.suppress(KeyError, TypeError, ValidationError):  # written by a later version
            video = Video.model_validate(values["video"])
            slurm = Slurm.model_validate({key: values["slurm"][key] for key in _RESERVED})
            worker = Worker.model_validate({key: values["worker"][key] for key in _PACE if key in values["worker"]})
            found = found.model_copy(update={"video": video, "slurm": slurm, "worker": worker})
        return found
    return default


def iso_time(moment: float) -> str:
    """Format a Unix time as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")


def unix_time(stamp: object) -> float | None:
    """Unix time of an ISO 8601 stamp; None if it is none."""
    try:
        return datetime.datetime.fromisoformat(str(stamp)).timestamp()
    except (ValueError, OverflowError):
        return None
