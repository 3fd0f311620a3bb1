"""Sources for the media tests: files in other layouts than YouTube's, and byte sources that count or lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from audioset_batch.standin.timecode import FRAME_RATE, AudioSignal, picture


@dataclass
class MemorySource:
    """Bytes in memory as a `ByteSource`; remembers the ranges asked for."""

    data: bytes
    size: int | None = None
    url_label: str = "memory"
    max_bytes: int = 200_000_000
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> MemorySource:
        data = path.read_bytes()
        return cls(data, len(data))

    def read(self, start: int, stop: int) -> bytes:
        self.ranges.append((start, stop))
        return self.data[start:stop]

    @property
    def bytes_read(self) -> int:
        return sum(max(0, min(stop, len(self.data)) - start) for start, stop in self.ranges)

    @property
    def requests(self) -> int:
        return len(self.ranges)


def decode_all(path: Path) -> tuple[np.ndarray, int]:
    """The audio of a file decoded from its beginning by FFmpeg's own demuxer: (frames, channels) and the rate."""
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(container.streams.audio[0])]
        return np.concatenate(parts, axis=1).T, container.streams.audio[0].rate


def steps16(samples: np.ndarray) -> np.ndarray:
    """Samples in steps of 16 bits, as they are written."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767)


def encode_audio_file(
    path: Path, codec: str, seconds: float, container: str, bursts: bool = False, begin: float = 0, **options: str
) -> Path:
    """The time code through `codec` with the muxer's own defaults but for `options`.

    With `bursts`, noise of a bit rate that varies a lot from second to second instead. With `begin`, the sound starts
    that many seconds after the file does.
    """
    rate = 44100 if codec == "aac" else 48000
    frame_size = {"aac": 1024, "ac3": 1536, "eac3": 1536, "libmp3lame": 1152}.get(codec, 960)
    mono = AudioSignal(rate).slots(0, int(seconds * 2) + 1)[: round(seconds * rate)]
    if bursts:
        random = np.random.default_rng(7)
        loud = random.random(int(seconds) + 1) < 0.4
        mono = (random.standard_normal(len(mono)) * 0.2 * loud[np.arange(len(mono)) // rate]).astype(np.float32)
    with av.open(str(path), "w", format=container, options=options) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = "stereo"
        stream.bit_rate = 128_000
        stream.codec_context.options = {"aac_pns": "0"} if codec == "aac" else {"compression_level": "0"}
        for start in range(0, len(mono), frame_size):
            part = np.stack([mono[start : start + frame_size]] * 2)
            planar = codec != "libopus"
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(part if planar else part.T.reshape(1, -1)),
                format="fltp" if planar else "flt",
                layout="stereo",
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(begin * rate), Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def encode_vp9(path: Path, seconds: float, **options: str) -> Path:
    """Pictures that show their number, as VP9 in WebM with a keyframe every two seconds."""
    with av.open(str(path), "w", format="webm", options=options) as output:
        stream: Any = output.add_stream("libvpx-vp9", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.gop_size = 2 * FRAME_RATE
        stream.codec_context.options = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}
        for number in range(round(seconds * FRAME_RATE)):
            frame = av.VideoFrame.from_ndarray(picture(number, 128, 64), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
