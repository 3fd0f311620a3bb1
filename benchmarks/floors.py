"""What no downloader can do without: the encoded bytes of the clip, and the CPU of decoding it and encoding FLAC."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import av
import numpy as np
import soundfile
from workload import CLIP_SECONDS, Clip

from audioset_batch.standin import default_cache
from audioset_batch.standin.synth import SourceSpec, synthesise

_OPUS: Final = 251
_REPEATS: Final = 15


def floors(clips: Sequence[Clip]) -> dict[str, float]:
    """Kilobytes of the Opus packets of a clip (mean), and CPU seconds of decoding and encoding one (medians)."""
    decode, encode = _cpu_seconds(synthesise(default_cache(), SourceSpec(_OPUS, float(CLIP_SECONDS))))
    return {
        "kilobytes_per_clip": statistics.mean(_packet_bytes(clip.length, clip.start) for clip in clips) / 1000,
        "decode_cpu_seconds": decode,
        "encode_cpu_seconds": encode,
        "cpu_seconds_per_clip": decode + encode,
    }


@lru_cache
def _packets(length: int) -> list[tuple[float, int]]:
    """Time (seconds) and size of each packet of the audio of a video."""
    with av.open(str(synthesise(default_cache(), SourceSpec(_OPUS, float(length))))) as container:
        stream = container.streams.audio[0]
        return [
            (float(packet.pts * packet.time_base), packet.size)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.time_base is not None
        ]


def _packet_bytes(length: int, start: float) -> int:
    return sum(size for at, size in _packets(length) if start <= at < start + CLIP_SECONDS)


def _cpu_seconds(path: Path) -> tuple[float, float]:
    decode, encode = [], []
    for _ in range(_REPEATS):
        clock = time.process_time()
        with av.open(io.BytesIO(path.read_bytes()), "r") as container:
            planes = [frame.to_ndarray() for frame in container.decode(audio=0)]
        samples = np.concatenate(planes, axis=1).T
        decode.append(time.process_time() - clock)
        clock = time.process_time()
        soundfile.write(io.BytesIO(), samples, 48_000, format="FLAC", subtype="PCM_16")
        encode.append(time.process_time() - clock)
    return statistics.median(decode), statistics.median(encode)
