"""FFmpeg's decoders, opened with limits."""

from __future__ import annotations

from typing import Any

import av

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.readers.demux import Track
from audioset_batch.reasons import Reason


def open_decoder(track: Track, label: str) -> av.CodecContext:
    """A decoder for `track`, single-threaded and with a limit on the size of pictures.

    Raises:
        SegmentTransient: `decode_error` if FFmpeg has no such decoder or refuses its configuration.
    """
    try:
        context = av.CodecContext.create(track.codec, "r")
        if track.extradata:
            context.extradata = track.extradata
        if track.kind == "audio":
            audio: Any = context
            audio.sample_rate = track.sample_rate
            audio.layout = {1: "mono", 2: "stereo"}.get(track.channels, f"{max(track.channels, 1)} channels")
        else:
            context.options = {"max_pixels": str(8192 * 4352)}
        context.thread_count = 1
        context.open()
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: cannot decode {track.codec}: {error}") from error
    return context
