"""Encoded packets of the time code: encoded once per codec, kept on disk, repeated for longer sources.

A master holds the first packets of an endless stream. The content has a period that is a whole number of packets,
so that packets of one period repeated with later timestamps are a valid stream of any length.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from audioset_batch.standin.sounds import SoundSignal
from audioset_batch.standin.timecode import (
    AUDIO_PERIOD_SECONDS,
    FRAME_RATE,
    SLOT_SECONDS,
    VIDEO_PERIOD_SECONDS,
    AudioSignal,
    picture,
)

FORMAT_VERSION: Final = 3
"""Part of every cached file's name: raise it when the content changes."""

GOP_FRAMES: Final = 125
"""Pictures between keyframes: 5 s, as YouTube's."""

_LENGTHS_SECONDS: Final = (70, 330, AUDIO_PERIOD_SECONDS)
"""A short source does not wait for the encoding of a long master."""
_AUDIO_LEAD_PACKETS: Final = 50
"""Packets before the part that repeats: the first ones hold the encoder's start."""
_CHUNK_SLOTS: Final = 20


_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1"}
_LEVELS: Final = {1: (1.0,), 2: (1.0, 0.5), 6: (1.0, 0.5, 0.5, 0.0, 0.25, 0.25)}
"""Of each channel: the right one is half as loud as the left, so that a test can tell the two apart."""
_SAMPLES_PER_PACKET: Final = {"aac": 1024, "ac3": 1536, "eac3": 1536}
_ENCODER_OPTIONS: Final = {"aac": {"aac_coder": "fast", "aac_pns": "0"}, "libopus": {"compression_level": "0"}}


@dataclass(frozen=True, slots=True)
class AudioCoding:
    """How one audio stream is encoded."""

    codec: str
    rate: int
    channels: int
    bit_rate: int
    silent: bool = False
    sound: str = ""
    mark: int = 0

    @property
    def samples_per_packet(self) -> int:
        """AAC frames are 1,024 samples, those of AC-3 and E-AC-3 1,536, Opus packets 20 ms."""
        return _SAMPLES_PER_PACKET.get(self.codec, self.rate // 50)

    @property
    def usual(self) -> bool:
        """Whether many sources are encoded so."""
        return not self.sound and not self.mark and (self.codec, self.rate) in (("aac", 44_100), ("libopus", 48_000))

    @property
    def name(self) -> str:
        """For file names."""
        parts = [self.codec, str(self.rate), f"{self.channels}ch", str(self.bit_rate)]
        parts += ["silent"] * self.silent + [self.sound] * bool(self.sound) + [f"mark{self.mark}"] * bool(self.mark)
        return "-".join(parts)

    def configure(self, context: Any) -> None:
        """Set up an encoder, or a container's stream of it."""
        context.layout = _LAYOUTS[self.channels]
        context.format = "flt" if self.codec == "libopus" else "fltp"
        context.bit_rate = self.bit_rate
        context.time_base = Fraction(1, self.rate)
        # The cheapest settings: what matters is the layout and the time code.
        # Noise substitution is off: its noise depends on all frames decoded before, so no cut could equal the whole.
        context.options = _ENCODER_OPTIONS.get(self.codec, {})


@dataclass(frozen=True, slots=True)
class VideoCoding:
    """How one video stream is encoded."""

    width: int
    height: int
    codec: str = "libx264"

    @property
    def name(self) -> str:
        """For file names."""
        return f"{'h264' if self.codec == 'libx264' else self.codec}-{self.width}x{self.height}"

    def configure(self, context: Any) -> None:
        """Set up an encoder, or a container's stream of it."""
        context.width, context.height = self.width, self.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, FRAME_RATE)
        context.framerate = Fraction(FRAME_RATE)
        context.gop_size = GOP_FRAMES
        if self.codec != "libx264":
            return
        context.thread_count = 2
        context.options = {
            "preset": "ultrafast",
            "bf": "2",
            "crf": "30",
            "sc_threshold": "0",
            "x264-params": f"open-gop=0:b-adapt=0:keyint={GOP_FRAMES}:min-keyint={GOP_FRAMES}",
        }


@dataclass(frozen=True, slots=True)
class Packets:
    """A master: packet k is `data[offsets[k]:offsets[k + 1]]`; pts and dts count samples, or pictures.

    Attributes:
        lead: Packets before the repeating part.
        period: Packets in the repeating part; 0 where the master is too short to repeat.
        shift: What a repetition adds to pts and dts.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    pts: npt.NDArray[np.int64]
    dts: npt.NDArray[np.int64]
    keyframe: npt.NDArray[np.bool_]
    lead: int
    period: int
    shift: int

    def stream(self) -> Iterator[tuple[bytes, int, int, bool]]:
        """Endless (data, pts, dts, keyframe); ends where the master is too short to repeat."""
        data = self.data.tobytes()
        offsets, pts, dts = self.offsets.tolist(), self.pts.tolist(), self.dts.tolist()
        keyframe = self.keyframe.tolist()
        count = self.lead + self.period if self.period else len(pts)
        for k in range(count):
            yield data[offsets[k] : offsets[k + 1]], pts[k], dts[k], keyframe[k]
        shift = 0
        while self.period:
            shift += self.shift
            for k in range(self.lead, count):
                yield data[offsets[k] : offsets[k + 1]], pts[k] + shift, dts[k] + shift, keyframe[k]


def audio_packets(cache: Path, coding: AudioCoding, seconds: float) -> Packets:
    """The packets of at least the first `seconds` of the audio."""
    if coding.silent:
        length = _LENGTHS_SECONDS[0]
    elif not coding.usual:
        # Few sources share one, so it is made no longer than needed.
        length = math.ceil(seconds)
    else:
        length = next((one for one in _LENGTHS_SECONDS if one >= seconds), _LENGTHS_SECONDS[-1])
    path = cache / f"master-v{FORMAT_VERSION}-{coding.name}-{length}s.npz"
    repeats = length == _LENGTHS_SECONDS[-1] and coding.usual
    if not path.exists():
        _save(path, _encode_audio(coding, length + 2))
    if coding.silent:
        # Nothing changes in silence: any whole number of packets repeats.
        return _load(path, lead=_AUDIO_LEAD_PACKETS, period=1000, shift=1000 * coding.samples_per_packet)
    shift = AUDIO_PERIOD_SECONDS * coding.rate
    return _load(path, _AUDIO_LEAD_PACKETS, shift // coding.samples_per_packet if repeats else 0, shift)


def video_packets(cache: Path, coding: VideoCoding) -> Packets:
    """The packets of the picture, repeating."""
    path = cache / f"master-v{FORMAT_VERSION}-{coding.name}-{VIDEO_PERIOD_SECONDS}s.npz"
    if not path.exists():
        _save(path, _encode_video(coding))
    frames = VIDEO_PERIOD_SECONDS * FRAME_RATE
    return _load(path, lead=0, period=frames, shift=frames)


def write_atomically(path: Path, write: Any) -> None:
    """Call `write(temporary path)` beside `path` and rename; several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode_audio(coding: AudioCoding, seconds: int) -> list[Any]:
    context: Any = av.CodecContext.create(coding.codec, "w")
    context.sample_rate = coding.rate
    coding.configure(context)
    signal = SoundSignal(coding.rate, coding.sound) if coding.sound else AudioSignal(coding.rate, coding.mark)
    packets: list[Any] = []
    for first in range(0, round(seconds / SLOT_SECONDS), _CHUNK_SLOTS):
        mono = signal.slots(first, _CHUNK_SLOTS)
        if coding.silent:
            mono = np.zeros_like(mono)
        channels = np.stack([mono * np.float32(level) for level in _LEVELS[coding.channels]])
        planar = context.format.is_planar
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(channels if planar else channels.T.reshape(1, -1)),
            format=context.format.name,
            layout=context.layout.name,
        )
        frame.sample_rate = coding.rate
        frame.time_base = Fraction(1, coding.rate)
        frame.pts = round(first * SLOT_SECONDS * coding.rate)
        packets += context.encode(frame)
    return packets + list(context.encode(None))


def _encode_video(coding: VideoCoding) -> list[Any]:
    context: Any = av.CodecContext.create(coding.codec, "w")
    coding.configure(context)
    packets: list[Any] = []
    for number in range(VIDEO_PERIOD_SECONDS * FRAME_RATE):
        frame = av.VideoFrame.from_ndarray(picture(number, coding.width, coding.height), format="yuv420p")
        frame.time_base = Fraction(1, FRAME_RATE)
        frame.pts = number
        packets += context.encode(frame)
    return packets + list(context.encode(None))


def _save(path: Path, packets: list[Any]) -> None:
    sizes = [packet.size for packet in packets]

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(
                file,
                data=np.frombuffer(b"".join(bytes(packet) for packet in packets), np.uint8),
                offsets=np.cumsum([0, *sizes], dtype=np.int64),
                pts=np.array([packet.pts for packet in packets], np.int64),
                dts=np.array([packet.dts for packet in packets], np.int64),
                keyframe=np.array([packet.is_keyframe for packet in packets], bool),
            )

    write_atomically(path, write)


def _load(path: Path, lead: int, period: int, shift: int) -> Packets:
    with np.load(path) as stored:
        return Packets(**{key: stored[key] for key in stored.files}, lead=lead, period=period, shift=shift)
