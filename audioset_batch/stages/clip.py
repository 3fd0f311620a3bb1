"""One try at one segment: resolve -> fetch and cut -> convert -> write -> verify, into temporary files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audioset_batch.adapters.media.audio import AudioClip, cut_audio
from audioset_batch.adapters.media.convert import convert_audio
from audioset_batch.adapters.media.source import ByteSource, KeptSource, StreamHint
from audioset_batch.adapters.media.verify import verify_audio
from audioset_batch.adapters.media.verify_video import verify_video
from audioset_batch.adapters.media.video import VideoClip, cut_video, write_video
from audioset_batch.adapters.media.write import write_audio
from audioset_batch.adapters.publish import storage
from audioset_batch.adapters.streams import Resolved, Stream
from audioset_batch.adapters.ytdlp import YtDlpClient
from audioset_batch.config import Config
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.model import Clip, Segment
from audioset_batch.reasons import Reason


def make_clip(
    segment: Segment, client: YtDlpClient, config: Config, stem: Path, deadline: float, start_by: float = math.inf
) -> Clip:
    """Make the clip of `segment` in files beginning with `stem`.

    Args:
        segment: What to cut.
        client: This thread's way to YouTube.
        config: Formats and limits.
        stem: Folder and unique beginning of the temporary files' names.
        deadline: A time of `time.monotonic` after which every request fails.
        start_by: A time of `boot_time` by which the first request has to be made.

    Raises:
        TooLate: `start_by` had passed before.
        EgressBlocked, SegmentUnavailable, SegmentTransient: as the stages found.
        StorageUnusable: the temporary files cannot be written.
    """
    resolved = client.resolve(segment.ytid, deadline, start_by)
    if resolved.audio is None:
        raise SegmentUnavailable(Reason.NO_AUDIO, "no stream has audio")
    if resolved.duration_seconds is not None and segment.start_ms >= resolved.duration_seconds * 1000 + 1000:
        raise SegmentUnavailable(
            Reason.SEGMENT_PAST_END,
            f"the video lasts {resolved.duration_seconds:g} s, the segment starts at {segment.start_ms / 1000:g} s",
        )
    limit = config.worker.max_clip_bytes
    source: ByteSource = client.open(resolved.audio, deadline)
    if resolved.video is not None:
        source = KeptSource(source, limit)
    pictures = None
    if resolved.video is resolved.audio:
        # In one file the pictures span more than the sound: fetched first, they bring the sound along.
        pictures = _cut_pictures(segment, resolved, source, source, None, config)
    elif resolved.video is not None and config.video.cut == "copy":
        # The sound beside copied pictures begins earlier than the segment: it includes the segment's.
        pictures = _cut_pictures(segment, resolved, client.open(resolved.video, deadline), source, None, config)
    with _as_announced(resolved.audio, source):
        cut = cut_audio(source, segment.start_ms, segment.end_ms, hint=_hint(resolved, resolved.audio), max_bytes=limit)
    if resolved.video is not None and pictures is None:
        pictures = _cut_pictures(segment, resolved, client.open(resolved.video, deadline), source, cut, config)
    clip = convert_audio(cut, config.audio)
    audio = stem.with_name(f"{stem.name}.{config.audio.format}")
    with storage(audio.parent):
        write_audio(clip, audio, config.audio)
        facts = verify_audio(audio, clip, config.audio)
    columns: dict[str, Any] = {
        "format_id": resolved.audio.format_id,
        "audio_language": resolved.audio.language,
        "audio_track": resolved.audio.track,
        "source_sample_rate": clip.source_sample_rate,
        **facts.columns(),
    }
    video = None
    if pictures is not None:
        video = stem.with_name(f"{stem.name}.{config.video.format}")
        columns |= _write_pictures(pictures, video, resolved)
    return Clip(audio, video, columns)


def _cut_pictures(
    segment: Segment,
    resolved: Resolved,
    source: ByteSource,
    sound_source: ByteSource,
    sound: AudioClip | None,
    config: Config,
) -> VideoClip:
    assert resolved.audio is not None and resolved.video is not None
    with _as_announced(resolved.video, source):
        return cut_video(
            source,
            segment.start_ms,
            segment.end_ms,
            config.video,
            hint=_hint(resolved, resolved.video),
            sound=sound,
            sound_source=sound_source,
            sound_hint=_hint(resolved, resolved.audio),
            max_bytes=config.worker.max_clip_bytes,
        )


@contextmanager
def _as_announced(stream: Stream, source: ByteSource) -> Iterator[None]:
    """Let a file settle the fate of a segment only if it is the file that YouTube announced.

    Sizes may be estimates of yt-dlp's, hence a tenth of tolerance.
    """
    try:
        yield
    except SegmentUnavailable as error:
        other_kind = error.reason in (Reason.NO_AUDIO, Reason.NO_VIDEO)  # the stream was chosen for having it
        came, announced = source.size, stream.size
        other_size = came is not None and announced is not None and not 0.9 < came / announced < 1.1
        if not (other_kind or other_size):
            raise
        raise SegmentTransient(
            Reason.DECODE_ERROR,
            f"expected format {stream.format_id} of {announced} bytes, another file of {came} came: {error.detail}",
        ) from error


def _write_pictures(pictures: VideoClip, path: Path, resolved: Resolved) -> dict[str, Any]:
    """Write and verify; the columns of the video."""
    assert resolved.audio is not None and resolved.video is not None
    with storage(path.parent):
        write_video(pictures, path)
        facts = verify_video(path, pictures)
    columns: dict[str, Any] = {"video_start_seconds": facts.video_start_seconds, "video_bytes": facts.bytes}
    if resolved.video is not resolved.audio:
        columns["format_id"] = f"{resolved.audio.format_id}+{resolved.video.format_id}"
    return columns


def _hint(resolved: Resolved, stream: Stream) -> StreamHint:
    return StreamHint(
        duration_seconds=resolved.duration_seconds,
        content_length=stream.size,
        has_audio=stream.has_audio,
        has_video=stream.has_video,
    )
