"""The egresses that the workers of a data directory used last, for those who look without their config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

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
