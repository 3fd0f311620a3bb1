"""Read files without a usable index with FFmpeg's demuxers: more bytes and requests, just as exact.

The format is always given, as found in the first bytes: FFmpeg's probing also accepts playlists, which open whatever
files and addresses a hostile server writes into them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import av

from audioset_batch.errors import AudiosetBatchError
from audioset_batch.media.readers.demux import Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.source import RangeReader
from audioset_batch.media.readers.webm import opus_frames, opus_grid

_BLOCK: Final = 64 << 10
_MAX_BLOCK: Final = 1 << 20
_KEEP: Final = 16 << 20
_MAX_PACKETS: Final = 2_000_000
_PROBE: Final = 1 << 20
_SOUND: Final = frozenset({"opus", "vorbis", "aac", "mp3", "mp3float", "flac", "ac3", "eac3", "amrnb", "amrwb"})
_PICTURES: Final = frozenset({"h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4", "h263"})
_DECODERS: Final = _SOUND | _PICTURES
_BEFORE_ALL: Final = Fraction(-10)
"""Seconds; before any priming, so that a seek there finds the first packet."""
_ROUNDED_TO_ZERO_MS: Final = 2


class RangeFile(io.RawIOBase):
    """A seekable file over a `RangeReader`, read in blocks that grow in sequential reads, with a small cache.

    FFmpeg goes on after an error, and PyAV prints all but the first. The first error is therefore kept for `check`, and
    the file appears to end there.
    """

    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._at = 0
        self._next = 0  # where the last block ended
        self._block = _BLOCK
        self._kept = 0
        self._error: AudiosetBatchError | OSError | None = None

    def check(self) -> None:
        """Raise the error of a failed read, if there was one."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2:
            offset += self._size()
        elif whence == 1:
            offset += self._at
        self._at = max(offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        if self._error is not None:
            return b""
        try:
            return self._read(size)
        except (AudiosetBatchError, OSError) as error:
            self._error = error
            return b""

    def _read(self, size: int) -> bytes:
        end = self._size()
        stop = min(self._at + (_MAX_BLOCK if size < 0 else size), end)
        if stop <= self._at:
            return b""
        if not self._reader.has(self._at, stop):
            self._block = min(self._block * 2, _MAX_BLOCK) if self._at == self._next else _BLOCK
            reach = min(max(stop, self._at + self._block), end)
            if self._kept > _KEEP:
                self._reader.clear()
                self._kept = 0
            self._kept += len(self._reader.read_range(self._at, reach))
            self._next = reach
        data = self._reader.read_range(self._at, stop)
        self._at += len(data)
        return data

    def _size(self) -> int:
        return self._reader.size or 0


class GenericMedia:
    """A file opened by FFmpeg."""

    def __init__(self, reader: RangeReader, container_format: str) -> None:
        if reader.size is None:
            raise UnexpectedLayout("the size of the stream is not known")
        self._format = container_format
        self._file = RangeFile(reader)
        try:
            self._container: Any = av.open(self._file, "r", format=container_format, options={"probesize": str(_PROBE)})
            self._file.check()
        except (av.FFmpegError, ValueError, OverflowError) as error:
            self._file.check()
            raise UnexpectedLayout(f"FFmpeg cannot open it: {error}") from error
        self._streams: dict[int, Any] = {}
        self._tracks: list[Track] = []
        self._firsts: dict[int, int] = {}
        for stream in self._container.streams:
            track = describe_stream(stream)
            if track is not None:
                self._tracks.append(track)
                self._streams[stream.index] = stream
        if not self._tracks:
            raise UnexpectedLayout(f"no track that can be decoded ({_names(self._container)})")

    @property
    def tracks(self) -> Sequence[Track]:
        return self._tracks

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        return None

    def first_sample_time(self, track: Track) -> Fraction | None:
        stream = self._streams[track.number]
        return None if stream.start_time is None else stream.start_time * Fraction(stream.time_base)

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        try:
            found = [self._read(wanted) for wanted in ranges]
        except av.FFmpegError as error:
            self._file.check()
            raise UnexpectedLayout(f"FFmpeg cannot read it: {error}") from error
        self._file.check()
        return found

    def _read(self, wanted: TrackRange) -> list[Sample]:
        stream = self._streams[wanted.track.number]
        lo = wanted.start - (wanted.preroll if wanted.track.kind == "audio" else 0)
        samples: list[Sample] = []
        if wanted.track.codec == "opus" and self._format == "matroska":
            self._first_pts(stream)
        for target in (lo, _BEFORE_ALL) if lo > 0 else (_BEFORE_ALL,):
            self._seek(stream, target)
            samples = self._collect(stream, wanted)
            starts_at_key = samples and (wanted.track.kind == "audio" or samples[0].key)
            if starts_at_key and samples[0].pts * wanted.track.time_base <= max(lo, Fraction(0)):
                break
        return samples

    def _seek(self, stream: Any, target: Fraction) -> None:
        self._container.seek(int(target / Fraction(stream.time_base)), stream=stream, backward=True)

    def _first_pts(self, stream: Any) -> int:
        """Presentation time of the stream's first packet, in ticks."""
        if stream.index not in self._firsts:
            self._seek(stream, _BEFORE_ALL)
            self._firsts[stream.index] = next((p.pts for p in self._container.demux(stream) if p.pts is not None), 0)
        return self._firsts[stream.index]

    def _collect(self, stream: Any, wanted: TrackRange) -> list[Sample]:
        base = wanted.track.time_base
        opus_in_ms = wanted.track.codec == "opus" and self._format == "matroska"
        delay = _preskip(stream)
        # Matroska's times are in milliseconds, from which FFmpeg subtracts the rounded codec delay.
        first = self._firsts.get(stream.index, 0)
        begin = first * Fraction(stream.time_base) + Fraction(delay, 48_000)  # of the sound, with its priming
        late = round(begin * 48_000) if begin * 1000 > _ROUNDED_TO_ZERO_MS else 0
        hi = wanted.stop / base
        samples: list[Sample] = []
        for count, packet in enumerate(self._container.demux(stream)):
            if packet.pts is None and packet.dts is None:
                break
            if count > _MAX_PACKETS:
                raise UnexpectedLayout("an endless stream of packets")
            pts = packet.pts if packet.pts is not None else packet.dts
            dts = packet.dts if packet.dts is not None else pts
            data = bytes(packet)
            duration = packet.duration or 0
            if opus_in_ms:
                pts = dts = opus_grid(pts - first, 1 / Fraction(stream.time_base)) - delay + late
            elif stream.time_base != base:
                pts = round(pts * stream.time_base / base)
                dts = round(dts * stream.time_base / base)
                duration = round(duration * stream.time_base / base)
            if wanted.track.codec == "opus":
                duration = opus_frames(data)
            if wanted.track.kind == "audio":
                duration = max(duration - round(padding(packet) / base / wanted.track.sample_rate), 0)
            if dts >= hi and pts >= hi:
                break
            samples.append(Sample(data, pts, dts, duration, packet.is_keyframe))
        if wanted.track.kind == "video":
            keys = [i for i, s in enumerate(samples) if s.key and s.pts * base <= wanted.start]
            samples = samples[keys[-1] if keys else 0 :]
        return samples


def describe_stream(stream: Any) -> Track | None:
    """The track of a PyAV stream; None if it cannot be decoded."""
    context = stream.codec_context
    if context is None or stream.type not in ("audio", "video") or context.codec.name not in _DECODERS:
        return None
    extradata = bytes(context.extradata or b"")
    base = Fraction(stream.time_base)
    if stream.type == "video":
        return Track(
            "video", stream.index, context.codec.name, extradata, base, width=context.width, height=context.height
        )
    rate = context.sample_rate
    if not rate:
        return None
    if context.codec.name == "opus":
        extradata = extradata[:10] + b"\0\0" + extradata[12:]
        base = Fraction(1, 48000)
    return Track("audio", stream.index, context.codec.name, extradata, base, rate, context.layout.nb_channels)


def _names(container: Any) -> str:
    """The codecs of a file's tracks, for messages."""
    contexts = [stream.codec_context for stream in container.streams]
    return ", ".join("unknown" if context is None else context.codec.name for context in contexts) or "there is none"


def _preskip(stream: Any) -> int:
    extradata = bytes(stream.codec_context.extradata or b"")
    return int.from_bytes(extradata[10:12], "little") if extradata.startswith(b"OpusHead") else 0


def padding(packet: Any) -> int:
    """Samples to drop from the end of the decoded packet."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[4:8], "little")
