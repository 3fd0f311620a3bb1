"""Reopen a written mp4, decode all of it, and report what it contains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.cut_video import VideoClip
from audioset_batch.reasons import Reason

_SOUND_SLACK_SECONDS: Final = 0.06
"""AAC comes in frames of up to 1,024 samples: 64 ms at 16 kHz."""
_WHOLE_SHARE: Final = 0.95
"""A file with a smaller share of its declared pictures is cut off; other programs may declare a few too many."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a decoded video file contains.

    Attributes:
        video_start_seconds: Where in the source its time zero lies; None if the file was only inspected.
        duration_seconds: From the first picture to the end of the last.
        sound_seconds: Duration of the sound, or None.
    """

    video_start_seconds: float | None
    duration_seconds: float
    frames: int
    width: int
    height: int
    bytes: int
    sound_seconds: float | None


def inspect_video(path: Path) -> VideoFacts:
    """Decode the whole file at `path`.

    Raises:
        SegmentTransient: `decode_error` if it does not decode or has no picture.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if not size:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: the file is empty")
    frames, promised, first, end = 0, 0, None, 0.0
    width = height = 0
    samples, rate = 0, 0
    try:
        with path.open("rb") as file, av.open(file, "r", format="mp4") as container:
            streams = [*container.streams.video[:1], *container.streams.audio[:1]]
            promised = container.streams.video[0].frames if container.streams.video else 0
            for picture in container.decode(*streams):
                frame: Any = picture
                if isinstance(picture, av.VideoFrame):
                    frames += 1
                    width, height = frame.width, frame.height
                    first = frame.time if first is None else first
                    end = max(end, frame.time + float(frame.duration * frame.time_base))
                else:
                    samples, rate = samples + frame.samples, frame.sample_rate
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: does not decode: {error}") from error
    if first is None:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: holds no picture")
    if frames < _WHOLE_SHARE * promised:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: {frames} of {promised} pictures decode")
    sound = samples / rate if rate else None
    return VideoFacts(None, end - first, frames, width, height, size, sound)


def verify_video(path: Path, clip: VideoClip) -> VideoFacts:
    """Decode the whole file at `path` and compare it with the clip that was written to it.

    Raises:
        SegmentTransient: `internal` if pictures or sound are missing; and as `inspect_video`.
        OSError: it cannot be read.
    """
    facts = inspect_video(path)
    if facts.bytes != len(clip.data) or facts.frames != clip.frames:
        raise SegmentTransient(
            Reason.INTERNAL,
            f"{path.name}: expected {clip.frames} pictures in {len(clip.data)} bytes, "
            f"found {facts.frames} in {facts.bytes}",
        )
    if (facts.sound_seconds is None) != (clip.sound_seconds is None) or (
        facts.sound_seconds is not None
        and clip.sound_seconds is not None
        and not -0.001 <= facts.sound_seconds - clip.sound_seconds <= 2 * _SOUND_SLACK_SECONDS
    ):
        raise SegmentTransient(
            Reason.INTERNAL,
            f"{path.name}: expected {clip.sound_seconds} s of sound, found {facts.sound_seconds}",
        )
    return VideoFacts(
        clip.start_seconds,
        facts.duration_seconds,
        facts.frames,
        facts.width,
        facts.height,
        facts.bytes,
        facts.sound_seconds,
    )
