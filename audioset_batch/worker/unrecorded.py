"""Find clips that were published but not recorded: after a kill, or if the manifest was removed."""

from __future__ import annotations

import logging
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audioset_batch.config import Config
from audioset_batch.layout import DataDir
from audioset_batch.model import Segment, SegmentKey
from audioset_batch.plan.verify_files import Found, verify
from audioset_batch.record.manifest import Outcome

_log = logging.getLogger(__name__)


class UnrecordedClips:
    """Looks for files of segments without a row, before they are resolved. Costs one `lstat` for each segment.

    Args:
        data: The data directory.
        config: Only files that match it are used.
        known: Outcomes in the shard's manifest.
    """

    def __init__(self, data: DataDir, config: Config, known: Mapping[SegmentKey, Outcome]) -> None:
        self._data = data
        self._config = config
        self._known = known
        self._checked: set[SegmentKey] = set()

    def columns(self, segment: Segment) -> dict[str, Any] | None:
        """The manifest columns of a clip that exists, is valid and matches the config; None if it has to be made."""
        config = self._config
        if segment.key in self._known or segment.key in self._checked or config.output.layout != "files":
            return None
        self._checked.add(segment.key)
        audio = self._data.audio(segment, config.audio.format)
        video = self._data.video(segment, config.video.format) if config.video.mode != "none" else None
        if not all(_is_file(path) for path in (audio, video) if path is not None):
            return None
        verdict = verify(Found(audio, video))
        rate = config.audio.sample_rate
        if verdict.broken or (rate != "keep" and verdict.columns["sample_rate"] != rate):
            return None
        _log.info("%s was published without a row; recorded as it is", audio.name)
        paths = {"audio_path": self._data.relative(audio)}
        if video is not None:
            paths["video_path"] = self._data.relative(video)
        return verdict.columns | paths


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
