"""The egresses that the workers of a data directory used last, for those who look without their config."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audioset_batch.adapters import ytdlp_versions
from audioset_batch.config import Config
from audioset_batch.config.schema import Egress
from audioset_batch.layout import DataDir
from audioset_batch.record.settings import read_settings


def egress_config(data: DataDir) -> Config:
    """The defaults, with the names, budgets and folder of the egresses that workers noted; no secrets are in it."""
    default = Config(data_dir=data.root)
    for noted in read_settings(data):
        values: dict[str, Any] = noted["config"]
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
        return default.model_copy(update={"egress": egresses, "egress_dir": Path(folder) if folder else None})
    return default


def ytdlp_version(data: DataDir) -> str:
    """Of the worker that was started last, or of the newer one that a worker would take now; "" if none is known."""
    known = [str(noted.get("versions", {}).get("yt-dlp", "")) for noted in read_settings(data)[:1]]
    with contextlib.suppress(PackageNotFoundError):
        known.append(ytdlp_versions.version_in_use())
    return max(known, key=ytdlp_versions.order, default="")
