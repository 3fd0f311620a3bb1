"""Synthesised sources in the file layouts of YouTube, whose content tells its own time.

    249 to 251      Opus 48 kHz in WebM; cues in front, one about every 10 s; CodecDelay 6.5 ms
    139, 140, 258   AAC in fragmented MP4; one `sidx` in front, fragments of about 10 s; edit list for the priming
    328, 380        E-AC-3 and AC-3 5.1 in the same
    18              640 x 360 H.264 and AAC in progressive MP4; `moov` in front
    17, 36          MPEG-4 part 2 pictures and AAC mono in 3GP; `moov` in front
    134, 136        640 x 360, 1280 x 720 H.264 alone in fragmented MP4; one `sidx` in front, a keyframe every 5 s
    hls.py's        the same packets in MPEG-TS segments, one after the other in a file, with an index beside it

The first call for a kind of file encodes (seconds); every other file is those packets written into a container.
"""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from audioset_batch.standin.formats import FORMATS, HLS_FORMATS, Format
from audioset_batch.standin.hls import write_index
from audioset_batch.standin.masters import (
    FORMAT_VERSION,
    AudioCoding,
    Packets,
    VideoCoding,
    audio_packets,
    video_packets,
    write_atomically,
)
from audioset_batch.standin.sounds import is_sound
from audioset_batch.standin.timecode import FRAME_RATE, MARKS

ITAGS: Final = (*FORMATS, *HLS_FORMATS)

_Item = tuple[float, Any]
_FRAGMENTED: Final = "+dash+delay_moov+global_sidx"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One file to synthesise.

    Attributes:
        itag: YouTube's number of the format, one of `ITAGS`.
        seconds: Duration; the file ends with the packet in which this lies.
        channels: 1 or 2; the right channel is half as loud.
        silent: Digital silence instead of the time code.
        edit_list: False leaves the edit list out of an MP4 file: its audio then starts with 1,024 samples (23.2 ms)
            of encoder priming that nothing declares.
        bit_rate: Of the audio, bit/s.
        sound: Name of a sound of `sounds.py`, instead of the time code.
        mark: Which audio track the time code says it is; 0 for none.
    """

    itag: int
    seconds: float
    channels: int = 2
    silent: bool = False
    edit_list: bool = True
    bit_rate: int = 128_000
    sound: str = ""
    mark: int = 0

    def __post_init__(self) -> None:
        if self.itag not in ITAGS:
            raise ValueError(f"itag {self.itag}: expected one of {ITAGS}")
        if self.seconds <= 0 or self.channels not in (1, 2):
            raise ValueError(f"expected seconds > 0 and 1 or 2 channels, got {self.seconds} and {self.channels}")
        if not 0 <= self.mark <= MARKS:
            raise ValueError(f"mark {self.mark}: expected 0 to {MARKS}")
        if self.sound and not is_sound(self.sound):
            raise ValueError(f"{self.sound!r} is no sound")

    @property
    def file_name(self) -> str:
        """Its name in the cache folder; equal specs have equal names."""
        parts = [f"v{FORMAT_VERSION}", str(self.itag), f"{self.seconds:g}s", f"{self.channels}ch", str(self.bit_rate)]
        parts += ["silent"] * self.silent + ["noedit"] * (not self.edit_list)
        parts += [self.sound] * bool(self.sound) + [f"mark{self.mark}"] * bool(self.mark)
        return "-".join(parts) + self.format.suffix

    @property
    def format(self) -> Format:
        """The format of its itag."""
        return HLS_FORMATS[self.itag] if self.itag in HLS_FORMATS else FORMATS[self.itag]

    @property
    def audio(self) -> AudioCoding | None:
        """How its audio is encoded, if it has any."""
        sound = self.format.sound
        if sound is None:
            return None
        channels, bit_rate = sound.channels or self.channels, sound.bit_rate or self.bit_rate
        return AudioCoding(sound.codec, sound.rate, channels, bit_rate, self.silent, self.sound, self.mark)

    @property
    def video(self) -> VideoCoding | None:
        """How its video is encoded, if it has any."""
        sight = self.format.sight
        return None if sight is None else VideoCoding(sight.width, sight.height, sight.codec)


def synthesise(cache: Path, spec: SourceSpec) -> Path:
    """The file of `spec` in the folder `cache`, made if it is not there; safe with several processes at once."""
    path = cache / spec.file_name
    if not path.exists():
        write = _write_segments if spec.format.suffix == ".ts" else _write
        write_atomically(path, lambda temporary: write(cache, spec, temporary))
    return path


def _write_segments(cache: Path, spec: SourceSpec, path: Path) -> None:
    """The segments one after the other, and before that the index, so that a file that is there has one."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        written = Path(folder) / "playlist.m3u8"
        _write(cache, spec, written)
        write_index(cache / spec.file_name, written.read_text(encoding="utf-8"))
        written.with_suffix(".ts").replace(path)


def _write(cache: Path, spec: SourceSpec, path: Path) -> None:
    options, container = _muxer(spec)
    with av.open(str(path), "w", format=container, options=options) as output:
        tracks = []
        if (video := spec.video) is not None:
            stream: Any = output.add_stream(video.codec)
            video.configure(stream.codec_context)
            tracks.append(_track(stream, cache, video, spec))
        if (audio := spec.audio) is not None:
            stream = output.add_stream(audio.codec, rate=audio.rate)
            audio.configure(stream.codec_context)
            tracks.append(_track(stream, cache, audio, spec))
        output.start_encoding()
        _mux(output, tracks)


def _muxer(spec: SourceSpec) -> tuple[dict[str, str], str]:
    if spec.format.suffix == ".ts":
        return {"hls_time": "5", "hls_list_size": "0", "hls_flags": "single_file", "hls_segment_type": "mpegts"}, "hls"
    if spec.format.suffix == ".webm":
        # One cue per cluster; without video the muxer starts a cluster every `cluster_time_limit` ms.
        return {"cues_to_front": "1", "cluster_time_limit": "10010", "cluster_size_limit": "5000000"}, "webm"
    options = {"use_editlist": "1" if spec.edit_list else "0"}
    if spec.format.muxed:
        return options | {"movflags": "+faststart"}, spec.format.suffix.removeprefix(".")
    if spec.format.sight is None:
        return options | {"movflags": _FRAGMENTED, "frag_duration": "9980000"}, "mp4"
    return options | {"movflags": f"{_FRAGMENTED}+frag_keyframe"}, "mp4"


def _track(stream: Any, cache: Path, coding: AudioCoding | VideoCoding, spec: SourceSpec) -> Iterator[_Item]:
    """The packets of one stream up to the source's end, each with its decoding time in seconds."""
    if isinstance(coding, AudioCoding):
        packets = audio_packets(cache, coding, spec.seconds)
        rate, duration = coding.rate, coding.samples_per_packet
        count = math.ceil((spec.seconds * rate - int(packets.pts[0])) / duration)
        shift = 0 if spec.edit_list else -int(packets.pts[0])
    else:
        packets = video_packets(cache, coding)
        rate, duration, shift = FRAME_RATE, 1, 0
        count = _whole_pictures(packets, math.ceil(spec.seconds * FRAME_RATE))
    time_base = Fraction(1, rate)
    for data, pts, dts, keyframe in itertools.islice(packets.stream(), count):
        packet = av.Packet(data)
        packet.stream = stream
        packet.time_base = time_base
        packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
        packet.is_keyframe = keyframe
        yield dts / rate, packet


def _whole_pictures(packets: Packets, limit: int) -> int:
    """The most packets, at most `limit`, that leave no picture without those that it refers to."""
    best = highest = 0
    for count, (_, pts, _, _) in enumerate(itertools.islice(packets.stream(), limit), start=1):
        highest = max(highest, pts)
        if highest + 1 == count:
            best = count
    return best


def _mux(output: Any, tracks: list[Iterator[_Item]]) -> None:
    for _, packet in heapq.merge(*tracks, key=lambda item: item[0]):
        output.mux_one(packet)
