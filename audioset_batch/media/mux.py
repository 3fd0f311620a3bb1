"""Write the streams of an mp4: pictures encoded or copied, and sound as AAC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np

from audioset_batch.config.schema import Video
from audioset_batch.media.cut_audio import AudioClip
from audioset_batch.media.readers.demux import Sample, Track, UnexpectedLayout

_TICKS: Final = 90_000
_AAC_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_FRAME: Final = 1024
_START_CODE: Final = b"\0\0\0\1"


def open_output(buffer: io.BytesIO) -> Any:
    """Open an mp4 for writing, with its index in front of the media, so that readers can stream the file."""
    return av.open(
        buffer,
        "w",
        format="mp4",
        options={"movflags": "+faststart"},
        # At the end FFmpeg moves the media back, for which it opens what it has written a second time.
        io_open=lambda *_: io.BytesIO(buffer.getvalue()),
    )


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """An H.264 stream in an output container."""

    stream: Any
    width: int
    height: int

    def encode(self, frame: Any, time: Fraction) -> list[Any]:
        """Packets for a picture shown at `time` seconds of the file."""
        scaled = frame.reformat(width=self.width, height=self.height, format="yuv420p")
        scaled.pts = round(time * _TICKS)
        scaled.time_base = Fraction(1, _TICKS)
        scaled.pict_type = 0  # the encoder chooses its own keyframes
        packets: list[Any] = self.stream.encode(scaled)
        return packets

    def flush(self) -> list[Any]:
        """The packets that the encoder still has buffered."""
        packets: list[Any] = self.stream.encode(None)
        return packets


def picture_encoder(output: Any, first: Any, video: Video, usual: Fraction) -> PictureEncoder:
    """Add an H.264 stream for pictures like `first`, scaled down to `video.max_height`, with even sides."""
    width, height = first.width, first.height
    if video.max_height is not None and height > video.max_height:
        width, height = round(width * video.max_height / height), video.max_height
    width, height = max(width // 2 * 2, 2), max(height // 2 * 2, 2)
    rate = 1 / usual if video.frame_rate == "keep" else Fraction(video.frame_rate)
    stream = output.add_stream("libx264", rate=rate.limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, _TICKS)
    context.thread_count = 1  # workers run one process per CPU
    context.options = {"crf": str(video.crf), "preset": video.preset}
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        value = getattr(first, name, None)
        if isinstance(value, int):
            setattr(context, name, value)
    return PictureEncoder(stream, width, height)


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """An AAC stream in an output container, and its content, which starts at the file's time zero."""

    stream: Any
    clip: AudioClip

    @classmethod
    def add(cls, output: Any, clip: AudioClip | None) -> SoundTrack | None:
        """Add the stream; None without a clip."""
        if clip is None:
            return None
        rate = clip.sample_rate if clip.sample_rate in _AAC_RATES else 48000
        stream = output.add_stream("aac", rate=rate)
        channels = clip.samples.shape[1]
        stream.codec_context.layout = "mono" if channels == 1 else "stereo"
        stream.codec_context.format = "fltp"
        stream.codec_context.bit_rate = 64_000 * min(channels, 2) + 64_000
        stream.codec_context.thread_count = 1
        # Takes a third of the time of the default coder; the quality differs little at these bit rates.
        stream.codec_context.options = {"aac_coder": "fast"}
        return cls(stream, clip)

    def write(self, output: Any) -> None:
        """Encode and mux the whole clip."""
        channels = self.clip.samples.shape[1]
        layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
        # Interleaved, because PyAV cannot make a planar frame of eight channels.
        interleaved = np.ascontiguousarray(self.clip.samples).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = self.clip.sample_rate
        frame.pts, frame.time_base = 0, Fraction(1, self.clip.sample_rate)
        context = self.stream.codec_context
        resampler = av.AudioResampler("fltp", context.layout.name, context.sample_rate, _AAC_FRAME)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(self.stream.encode(part))
        output.mux(self.stream.encode(None))


@dataclass(frozen=True, slots=True)
class H264Copy:
    """A stream of copied packets in an output container.

    The muxer cannot be given a decoder configuration, but takes one from the first packet if that is in the byte stream
    format of H.264 (Annex B). The packets are therefore passed in that format.
    """

    stream: Any
    track: Track
    length_size: int
    parameter_sets: bytes

    @classmethod
    def add(cls, output: Any, track: Track, usual: Fraction) -> H264Copy:
        """Add the stream.

        Raises:
            UnexpectedLayout: the source's decoder configuration is damaged.
        """
        stream = output.add_mux_stream(
            "h264",
            rate=(1 / usual).limit_denominator(1001),
            width=track.width,
            height=track.height,
        )
        stream.time_base = track.time_base
        return cls(stream, track, *_parameter_sets(track.extradata))

    def packets(self, samples: list[Sample], zero: int) -> Iterator[Any]:
        """The samples as packets; tick `zero` becomes the file's time zero."""
        first = True
        for sample in samples:
            data = _annex_b(sample.data, self.length_size)
            packet = av.Packet(self.parameter_sets + data if first else data)
            packet.stream = self.stream
            packet.pts, packet.dts = sample.pts - zero, sample.dts - zero
            packet.time_base = self.track.time_base
            packet.is_keyframe = sample.key
            if sample.duration:
                packet.duration = sample.duration
            first = False
            yield packet


def _parameter_sets(avcc: bytes) -> tuple[int, bytes]:
    """Bytes of a NAL unit's length, and the parameter sets in Annex B (ISO/IEC 14496-15, 5.3.3.1)."""
    try:
        sets = []
        at = 5
        for mask in (0x1F, 0xFF):
            count = avcc[at] & mask
            at += 1
            for _ in range(count):
                size = int.from_bytes(avcc[at : at + 2], "big")
                sets.append(_START_CODE + avcc[at + 2 : at + 2 + size])
                at += 2 + size
        return (avcc[4] & 3) + 1, b"".join(sets)
    except IndexError as error:
        raise UnexpectedLayout("a damaged avcC") from error


def _annex_b(data: bytes, length_size: int) -> bytes:
    parts = []
    at = 0
    while at + length_size <= len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        parts += [_START_CODE, data[at : at + size]]
        at += size
    return b"".join(parts)
