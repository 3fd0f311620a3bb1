"""Make one clip: resolve -> fetch and cut -> convert -> write -> verify, into temporary files."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audioset_batch.config import Config
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.media.convert import convert_audio
from audioset_batch.media.cut_audio import AudioClip, cut_audio
from audioset_batch.media.cut_video import VideoClip, cut_video, write_video
from audioset_batch.media.readers.source import ByteSource, CachingSource, StreamHint
from audioset_batch.media.verify import verify_audio
from audioset_batch.media.verify_video import verify_video
from audioset_batch.media.write import write_audio
from audioset_batch.model import Clip, Segment
from audioset_batch.reasons import Reason
from audioset_batch.sharedfs.publish import storage
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.ranged import label_of
from audioset_batch.youtube.streams import RequestContext, Resolved, Stream

TRY_NEXT_FORMAT: Final = frozenset({Reason.MEDIA_FORBIDDEN, Reason.DECODE_ERROR})
"""With these reasons another format of the same track may work; the others concern the connection or the video."""
MAX_FALLBACKS: Final = 2
_MAX_AD_SECONDS: Final = 180.0


def make_clip(segment: Segment, client: YtDlpClient, config: Config, stem: Path, context: RequestContext) -> Clip:
    """Make the clip of `segment` in files beginning with `stem`.

    Args:
        segment: What to cut.
        client: The client of this thread.
        config: The formats to write.
        stem: Folder and unique beginning of the temporary files' names.
        context: Limits of the attempt.

    Raises:
        SlotExpired: `context.start_by` had passed before.
        EgressBlocked, SegmentUnavailable, SegmentTransient: from the client and the media readers.
        StorageUnusable: the temporary files cannot be written.
    """
    resolved = client.resolve(segment.ytid, context)
    if resolved.audio is None:
        raise SegmentUnavailable(Reason.NO_AUDIO, "no stream has audio")
    if resolved.duration_seconds is not None and segment.start_ms >= resolved.duration_seconds * 1000 + 1000:
        raise SegmentUnavailable(
            Reason.SEGMENT_PAST_END,
            f"the video lasts {resolved.duration_seconds:g} s, the segment starts at {segment.start_ms / 1000:g} s",
        )
    wait_for_ads(resolved, context)
    media = _Reader(segment, client, config, context).read(resolved)
    clip = convert_audio(media.sound, config.audio)
    audio = stem.with_name(f"{stem.name}.{config.audio.format}")
    with storage(audio.parent):
        write_audio(clip, audio, config.audio)
        facts = verify_audio(audio, clip, config.audio)
    columns: dict[str, Any] = {
        "format_id": media.audio.format_id,
        "audio_language": media.audio.language,
        "audio_track": media.audio.track,
        "source_sample_rate": clip.source_sample_rate,
        **facts.columns(),
    }
    video = None
    if media.pictures is not None:
        video = stem.with_name(f"{stem.name}.{config.video.format}")
        columns |= _write_pictures(media.pictures, video)
        if media.video is not media.audio and media.video is not None:
            columns["format_id"] = f"{media.audio.format_id}+{media.video.format_id}"
    return Clip(audio, video, columns)


def wait_for_ads(resolved: Resolved, context: RequestContext) -> None:
    """Wait until the server delivers the media: it answers 403 for the duration of the ads before a video.

    Raises:
        SegmentTransient: `timeout` if the wait would be too long.
    """
    streams = [stream for stream in (resolved.audio, resolved.video) if stream is not None]
    seconds = max(stream.available_at or 0.0 for stream in streams) - time.time()
    if seconds <= 0:
        return
    if seconds > _MAX_AD_SECONDS:
        raise SegmentTransient(Reason.TIMEOUT, f"YouTube shows ads for {seconds:.0f} s before it gives the media")
    context.wait(seconds)


@dataclass(frozen=True, slots=True)
class _Media:
    """The segment's sound and pictures, and the streams that they were read from."""

    sound: AudioClip
    pictures: VideoClip | None
    audio: Stream
    video: Stream | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Fetches and cuts one segment."""

    segment: Segment
    client: YtDlpClient
    config: Config
    context: RequestContext

    def read(self, resolved: Resolved) -> _Media:
        """Read the streams; if a format is refused or cannot be read, try the next ones of the same track."""
        errors: list[SegmentTransient] = []
        while True:
            try:
                return self._read_streams(resolved)
            except SegmentTransient as error:
                errors.append(error)
                following = None
                if error.reason in TRY_NEXT_FORMAT and len(errors) <= MAX_FALLBACKS:
                    following = resolved.without(_stream_of(error, resolved))
                if following is None:
                    if len(errors) == 1:
                        raise
                    raise SegmentTransient(errors[0].reason, "; ".join(one.detail for one in errors)) from error
                resolved = following

    def _read_streams(self, resolved: Resolved) -> _Media:
        audio, video, segment = resolved.audio, resolved.video, self.segment
        assert audio is not None
        source: ByteSource = self.client.open(audio, self.context)
        if video is not None and not audio.segmented:
            source = CachingSource(source)
        pictures = None
        if video is audio:
            # In one file the pictures span more than the sound: fetching them first fetches the sound as well.
            pictures = self._cut_pictures(resolved, source, source, None)
        elif video is not None and self.config.video.cut == "copy":
            # The sound for copied pictures begins before the segment, and includes the segment's sound.
            pictures = self._cut_pictures(resolved, self.client.open(video, self.context), source, None)
        with _as_announced(audio, source):
            cut = cut_audio(source, segment.start_ms, segment.end_ms, hint=_hint(resolved, audio))
        if video is not None and pictures is None:
            pictures = self._cut_pictures(resolved, self.client.open(video, self.context), source, cut)
        return _Media(cut, pictures, audio, video)

    def _cut_pictures(
        self, resolved: Resolved, source: ByteSource, sound_source: ByteSource, sound: AudioClip | None
    ) -> VideoClip:
        assert resolved.audio is not None and resolved.video is not None
        with _as_announced(resolved.video, source):
            return cut_video(
                source,
                self.segment.start_ms,
                self.segment.end_ms,
                self.config.video,
                hint=_hint(resolved, resolved.video),
                sound=sound,
                sound_source=sound_source,
                sound_hint=_hint(resolved, resolved.audio),
            )


def _stream_of(error: SegmentTransient, resolved: Resolved) -> Stream:
    """The stream that an error is about, which its message names."""
    assert resolved.audio is not None
    if resolved.video is not None and re.search(rf"\b{re.escape(label_of(resolved.video))}(?![\w-])", error.detail):
        return resolved.audio if resolved.video is resolved.audio else resolved.video
    return resolved.audio


@contextmanager
def _as_announced(stream: Stream, source: ByteSource) -> Iterator[None]:
    """Accept a permanent reason from a file only if it is the file that YouTube announced.

    Sizes may be estimates of yt-dlp, hence the tolerance of a tenth.
    """
    try:
        yield
    except SegmentUnavailable as error:
        other_kind = error.reason in (Reason.NO_AUDIO, Reason.NO_VIDEO)  # the stream was chosen because it has them
        came, announced = source.size, stream.size
        other_size = came is not None and announced is not None and not 0.9 < came / announced < 1.1
        if not (other_kind or other_size):
            raise
        expected = f"{label_of(stream)} of {announced} bytes, another file of {came} came"
        if not other_size:
            expected = f"{'sound' if error.reason is Reason.NO_AUDIO else 'pictures'} in {label_of(stream)}"
        raise SegmentTransient(Reason.DECODE_ERROR, f"expected {expected}: {error.detail}") from error


def _write_pictures(pictures: VideoClip, path: Path) -> dict[str, Any]:
    """Write and verify the video; returns its columns."""
    with storage(path.parent):
        write_video(pictures, path)
        facts = verify_video(path, pictures)
    return {"video_start_seconds": facts.video_start_seconds, "video_bytes": facts.bytes}


def _hint(resolved: Resolved, stream: Stream) -> StreamHint:
    return StreamHint(
        duration_seconds=resolved.duration_seconds,
        content_length=stream.size,
        has_audio=stream.has_audio,
        has_video=stream.has_video,
    )
