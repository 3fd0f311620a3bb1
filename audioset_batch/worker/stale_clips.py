"""Clips of earlier runs with another config: reported at the start, and replaced if `retry` has reset them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from audioset_batch.config import Config
from audioset_batch.config.schema import Audio, Video
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir
from audioset_batch.model import Segment, SegmentKey
from audioset_batch.record.manifest import Outcome
from audioset_batch.sharedfs.publish import remove_quietly

_AUDIO: Final[tuple[str, ...]] = get_args(Audio.model_fields["format"].annotation)
_VIDEO: Final[tuple[str, ...]] = get_args(Video.model_fields["format"].annotation)


def describe_stale_clips(recorded: Iterable[Outcome], config: Config) -> str:
    """Describe the recorded clips that differ from what the config asks for; "" if there are none."""
    found: Counter[str] = Counter()
    clips = 0
    for clip in recorded:
        differences = _differences(clip, config) if clip.ok else []
        found.update(differences)
        clips += bool(differences)
    if not clips:
        return ""
    counts = ", ".join(f"{count:,} {what}" for what, count in found.most_common())
    return (
        f"{counted(clips, 'recorded clip')} not as this config asks ({counts}), left as recorded. To fetch "
        "them again: audioset-batch retry DATADIR --status ok --reset; those that YouTube no longer has are then "
        "unavailable"
    )


def _differences(clip: Outcome, config: Config) -> list[str]:
    audio, found = config.audio, []
    if clip.audio_path and not clip.audio_path.endswith(f".{audio.format}"):
        found.append(f"not {audio.format}")
    if audio.sample_rate != "keep" and clip.sample_rate not in (None, audio.sample_rate):
        found.append(f"not {audio.sample_rate} Hz")
    if config.video.mode != "none" and not clip.video_path and not clip.video_bytes:
        found.append("without video")
    return found


class StaleFiles:
    """Files of clips that were reset. Their names differ from the new ones if the format has changed."""

    def __init__(self, data: DataDir, known: Mapping[SegmentKey, Outcome]) -> None:
        self._data = data
        self._reset = frozenset(key for key, outcome in known.items() if outcome.reset)

    def remove(self, segment: Segment, columns: Mapping[str, Any]) -> None:
        """Remove the old files of a segment, once the clip with the row of these `columns` is published."""
        if segment.key not in self._reset:
            return
        files = [self._data.audio(segment, one) for one in _AUDIO] + [self._data.video(segment, one) for one in _VIDEO]
        for file in files:
            if self._data.relative(file) not in (columns.get("audio_path"), columns.get("video_path")):
                remove_quietly(file)
