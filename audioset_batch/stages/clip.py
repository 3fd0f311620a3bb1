"""One try at one segment: resolve -> fetch and cut -> convert -> write -> verify, into temporary files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioset_batch.adapters.media import (
    StreamHint,
    convert_audio,
    cut_audio,
    cut_video,
    verify_audio,
    verify_video,
    write_audio,
)
from audioset_batch.adapters.publish import storage
from audioset_batch.adapters.ytdlp import Resolved, Stream, YtDlpClient
from audioset_batch.config import Config
from audioset_batch.errors import SegmentUnavailable
from audioset_batch.model import Segment
from audioset_batch.reasons import Reason


@dataclass(frozen=True, slots=True)
class Clip:
    """Verified temporary files of one segment, ready to be published.

    Attributes:
        columns: The manifest's columns about the media.
    """

    audio: Path
    video: Path | None
    columns: dict[str, Any] = field(default_factory=dict)


def make_clip(segment: Segment, client: YtDlpClient, config: Config, stem: Path, deadline: float) -> Clip:
    """Make the clip of `segment` in files beginning with `stem`.

    Args:
        segment: What to cut.
        client: This thread's way to YouTube.
        config: Formats and limits.
        stem: Folder and unique beginning of the temporary files' names.
        deadline: A time of `time.monotonic` after which every request fails.

    Raises:
        EgressBlocked, SegmentUnavailable, SegmentTransient: as the stages found.
        StorageUnusable: the temporary files cannot be written.
    """
    resolved = client.resolve(segment.ytid)
    if resolved.audio is None:
        raise SegmentUnavailable(Reason.NO_AUDIO, "no stream has audio")
    if resolved.duration_seconds is not None and segment.start_ms >= resolved.duration_seconds * 1000 + 1000:
        raise SegmentUnavailable(
            Reason.SEGMENT_PAST_END,
            f"the video lasts {resolved.duration_seconds:g} s, the segment starts at {segment.start_ms / 1000:g} s",
        )
    source = client.open(resolved.audio, deadline)
    clip = convert_audio(cut_audio(source, segment.start_ms, segment.end_ms, hint=_hint(resolved, resolved.audio)), config.audio)
    audio = stem.with_name(f"{stem.name}.{config.audio.format}")
    with storage(audio.parent):
        write_audio(clip, audio, config.audio)
        facts = verify_audio(audio, clip, config.audio)
    columns: dict[str, Any] = {}
    video = None
    if resolved.video is not None:
        video = stem.with_name(f"{stem.name}.{config.video.format}")
    return Clip(audio, video, columns)


def _hint(resolved: Resolved, stream: Stream) -> StreamHint:
    return StreamHint(
        container=stream.container,
        codec=stream.codec,
        duration_seconds=resolved.duration_seconds,
        size=stream.size,
    )
