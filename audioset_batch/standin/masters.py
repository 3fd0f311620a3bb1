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


@dataclass(frozen=True, slots=True)
class AudioCoding:
    """How one audio stream is encoded."""

    codec: str
    rate: int
    channels: int
    bit_rate: int
    silent: bool = False
    sound: str = ""

    @property
    def samples_per_packet(self) -> int:
        """AAC frames are 1,024 samples, Opus packets 20 ms."""
        return 1024 if self.codec == "aac" else self.rate // 50

    @property
    def name(self) -> str:
        """For file names."""
        silence = "-silent" if self.silent else ""
        return (
            f"{self.codec}-{self.rate}-{self.channels}ch-{self.bit_rate}{silence}{'-' * bool(self.sound)}{self.sound}"
        )

    def configure(self, context: Any) -> None:
        """Set up an encoder, or a container's stream of it."""
        context.layout = "mono" if self.channels == 1 else "stereo"
        context.format = "fltp" if self.codec == "aac" else "flt"
        context.bit_rate = self.bit_rate
        context.time_base = Fraction(1, self.rate)
        # The cheapest settings: what matters is the layout and the time code.
        # Noise substitution is off: its noise depends on all frames decoded before, so no cut could equal the whole.
        context.options = {"aac_coder": "fast", "aac_pns": "0"} if self.codec == "aac" else {"compression_level": "0"}


@dataclass(frozen=True, slots=True)
class VideoCoding:
    """How one video stream is encoded."""

    width: int
    height: int

    @property
    def name(self) -> str:
        """For file names."""
        return f"h264-{self.width}x{self.height}"

    def configure(self, context: Any) -> None:
        """Set up an encoder, or a container's stream of it."""
        context.width, context.height = self.width, self.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, FRAME_RATE)
        context.framerate = Fraction(FRAME_RATE)
        context.gop_size = GOP_FRAMES
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
    elif coding.sound:
        # Few sources share one, so it is made no longer than needed.
        length = math.ceil(seconds)
    else:
        length = next((one for one in _LENGTHS_SECONDS if one >= seconds), _LENGTHS_SECONDS[-1])
    path = cache / f"master-v{FORMAT_VERSION}-{coding.name}-{length}s.npz"
    repeats = length == _LENGTHS_SECONDS[-1] and not coding.sound
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
    signal = SoundSignal(coding.rate, coding.sound) if coding.sound else AudioSignal(coding.rate)
    packets: list[Any] = []
    for first in range(0, round(seconds / SLOT_SECONDS), _CHUNK_SLOTS):
        mono = signal.slots(first, _CHUNK_SLOTS)
        if coding.silent:
            mono = np.zeros_like(mono)
        # The right channel is half as loud, so that a test can tell the two apart.
        channels = np.stack([mono, mono / 2] if coding.channels == 2 else [mono])
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
    context: Any = av.CodecContext.create("libx264", "w")
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
