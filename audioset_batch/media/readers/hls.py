"""Read a clip from an HLS playlist.

Used only where no single file is available, so it minimizes requests rather than bytes: the playlist, the segments that
contain the clip, and for MPEG-TS the beginning of the first segment, whose timestamp is the video's time zero.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urljoin

import av

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.readers.demux import Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.generic import describe_stream, padding
from audioset_batch.reasons import Reason

Span = tuple[int, int] | None
"""Bytes [start, stop) of a URL; None for all."""

Fetch = Callable[[str, Span], bytes]
"""Fetches a URL; raises only `SegmentTransient` and `EgressBlocked`."""

_HEAD: Final = 64 << 10
"""Enough for the first packet of each track of a segment."""
_MAX_SEGMENTS: Final = 100_000
_FURTHER: Final = 2
"""Further segments on either side, where times in the playlist and in the segments differ."""
_WRAP: Final = Fraction(1 << 33, 90_000)
"""Seconds after which the timestamps of MPEG-TS wrap around."""
_ATTRIBUTE: Final = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_DECIMAL: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{0,30})?")
_PACKED_TIME: Final = b"com.apple.streaming.transportStreamTimestamp\0"


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a playlist, and its start according to the playlist, in seconds."""

    url: str
    span: Span
    start: Fraction


@dataclass(frozen=True, slots=True)
class Playlist:
    """A media playlist of a finished video; `init` is the initialization section that all segments need, if any."""

    parts: tuple[Part, ...]
    end: Fraction
    init: tuple[str, Span] | None


def parse_playlist(text: str, url: str, label: str) -> Playlist:
    """Parse a media playlist (RFC 8216).

    Raises:
        SegmentTransient: `decode_error` if it is no playlist; `no_usable_format` if it is encrypted, live or spliced.
    """
    lines = [line.strip() for line in text.splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: expected an HLS playlist, got {text[:40]!r}")
    if "#EXT-X-ENDLIST" not in lines:
        raise _unusable(label, "that has not ended")
    parts: list[Part] = []
    init: tuple[str, Span] | None = None
    at = Fraction(0)
    duration: Fraction | None = None
    span: Span = None
    for line in lines:
        tag, _, value = line.partition(":")
        try:
            if tag == "#EXTINF":
                duration = _seconds(value.partition(",")[0].strip())
            elif tag == "#EXT-X-BYTERANGE":
                span = _byte_range(value, parts[-1].span if parts else None)
            elif tag == "#EXT-X-MAP":
                named = {key: text.strip('"') for key, text in _ATTRIBUTE.findall(value)}
                where = (
                    _address(url, named["URI"]),
                    _byte_range(named["BYTERANGE"], None) if "BYTERANGE" in named else None,
                )
                if init not in (None, where):
                    raise _unusable(label, "of several files")
                init = where
            elif tag == "#EXT-X-KEY" and "METHOD=NONE" not in value:
                raise _unusable(label, "that is encrypted")
            elif tag == "#EXT-X-DISCONTINUITY":
                raise _unusable(label, "spliced of several recordings")
            elif line and not line.startswith("#"):
                if duration is None or len(parts) >= _MAX_SEGMENTS:
                    raise ValueError("a segment without duration, or too many")
                parts.append(Part(_address(url, line), span, at))
                at, duration, span = at + duration, None, None
        except (ValueError, KeyError, ZeroDivisionError) as error:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: a damaged HLS playlist: {line[:60]!r}") from error
    if not parts:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: an HLS playlist without segments")
    return Playlist(tuple(parts), at, init)


def _unusable(label: str, what: str) -> SegmentTransient:
    return SegmentTransient(Reason.NO_USABLE_FORMAT, f"{label}: an HLS playlist {what}")


def _address(base: str, url: str) -> str:
    whole = urljoin(base, url)
    if not whole.startswith(("https://", "http://")):
        raise ValueError("not an address on the web")
    return whole


def _seconds(text: str) -> Fraction:
    """Parse a decimal number. `Fraction` also accepts exponents, and would expand 1e999999999 in memory."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a duration")
    return Fraction(text)


def _byte_range(value: str, previous: Span) -> Span:
    length, _, start = value.partition("@")
    begin = int(start) if start else (previous[1] if previous else 0)
    if int(length) <= 0 or begin < 0:
        raise ValueError("no range")
    return begin, begin + int(length)


class SegmentedSource:
    """A stream that consists of the segments of an HLS playlist.

    Args:
        fetch: Fetches the playlist and its segments.
        url: URL of the playlist.
        url_label: Name of the stream in messages.
    """

    size: int | None = None
    max_bytes = 0
    """Not read by ranges; `fetch` has a limit of its own."""

    def __init__(self, fetch: Fetch, url: str, url_label: str) -> None:
        self._fetch = fetch
        self._url = url
        self.url_label = url_label
        self._media: SegmentedMedia | None = None

    def read(self, start: int, stop: int) -> bytes:
        """Always raises `UnexpectedLayout`: a playlist is not read by byte ranges."""
        raise UnexpectedLayout("an HLS playlist is not read by bytes")

    def media(self) -> SegmentedMedia:
        """The opened stream, the same for all readers, so that no segment is fetched twice.

        Raises:
            SegmentTransient: as for `parse_playlist`, and whatever fetching raises.
            UnexpectedLayout: FFmpeg cannot open the segments.
        """
        if self._media is None:
            text = self._fetch(self._url, None).decode("utf-8", "replace")
            self._media = SegmentedMedia(self._fetch, parse_playlist(text, self._url, self.url_label), self.url_label)
        return self._media


class SegmentedMedia:
    """A `Media` of segments: fragmented MP4, MPEG-TS, or AAC frames alone."""

    def __init__(self, fetch: Fetch, playlist: Playlist, label: str) -> None:
        self._fetch = fetch
        self._playlist = playlist
        self._label = label
        self._starts = [part.start for part in playlist.parts]
        self._kept: dict[int, bytes] = {}
        self._init = b"" if playlist.init is None else fetch(*playlist.init)
        first = playlist.parts[0]
        begin = first.span[0] if first.span else 0
        # MP4 has an initialization section, and its times count from zero; the other formats have neither.
        self._head = self._init or fetch(
            first.url, (begin, min(begin + _HEAD, first.span[1] if first.span else 1 << 40))
        )
        self._format = _sniff(self._head, self._label)
        self._tracks, packets = _demux(self._head, self._format)
        if not self._tracks:
            raise UnexpectedLayout("no track that can be decoded")
        self._zero = Fraction(0) if self._format == "mov" else self._first_time(packets)

    @property
    def tracks(self) -> Sequence[Track]:
        return self._tracks

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        return None

    def first_sample_time(self, track: Track) -> Fraction | None:
        return None

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        return [self._read(wanted) for wanted in ranges]

    def _read(self, wanted: TrackRange) -> list[Sample]:
        video = wanted.track.kind == "video"
        lo = max(wanted.start - (0 if video else wanted.preroll), Fraction(0))
        if lo >= self._playlist.end:
            return []
        first = max(bisect_right(self._starts, lo) - 1, 0)
        last = max(bisect_left(self._starts, wanted.stop) - 1, first)
        earliest, latest = max(first - _FURTHER, 0), min(last + _FURTHER, len(self._starts) - 1)
        base = wanted.track.time_base
        while True:
            samples = self._samples(wanted.track, first, last)
            begun = any(sample.pts * base <= lo and sample.key for sample in samples)
            ended = any((sample.pts + sample.duration) * base >= wanted.stop for sample in samples)
            if not begun and first > earliest:
                first -= 1
            elif not ended and last < latest:
                last += 1
            else:
                break
        if not samples:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{self._label}: nothing in the segments of {float(lo):.3f} s")
        begin = max((index for index, s in enumerate(samples) if s.key and s.pts * base <= lo), default=0)
        return [sample for sample in samples[begin:] if sample.pts * base < wanted.stop]

    def _samples(self, track: Track, first: int, last: int) -> list[Sample]:
        """All samples of `track` in these segments, in decoding order, with presentation times."""
        _, packets = _demux(self._init + b"".join(map(self._segment, range(first, last + 1))), self._format)
        base = track.time_base
        zero = self._zero
        if self._format == "aac":  # its times count from the first frame in the data
            zero = -self._packed_start(first)
        found: list[Sample] = []
        for sample in packets.get(track.number, ()):
            shift = -zero
            if self._format == "mpegts" and sample.pts * base < self._zero - _WRAP / 2:
                shift += _WRAP
            ticks = round(shift / base)
            found.append(sample._replace(pts=sample.pts + ticks, dts=sample.dts + ticks))
        return found

    def _first_time(self, packets: dict[int, list[Sample]]) -> Fraction:
        """The container time of the first picture, or of the first sound if there is none: muxers align the two."""
        for kind in ("video", "audio"):
            for track in self._tracks:
                if track.kind == kind and packets.get(track.number):
                    return min(sample.pts for sample in packets[track.number]) * track.time_base
        raise UnexpectedLayout("a first segment without packets")

    def _packed_start(self, number: int) -> Fraction:
        """Start of a segment of AAC frames: by its timestamp and the first segment's, or else by the playlist."""
        here, zero = _packed_time(self._segment(number)), _packed_time(self._head)
        if here is None or zero is None:
            return self._starts[number]
        return (here - zero) % _WRAP

    def _segment(self, number: int) -> bytes:
        if number not in self._kept:
            part = self._playlist.parts[number]
            self._kept[number] = self._fetch(part.url, part.span)
        return self._kept[number]


def _sniff(data: bytes, label: str) -> str:
    """FFmpeg's name of the container. Never left to FFmpeg's probing, which also accepts playlists that open files."""
    if data[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg"):
        return "mov"
    if data[:1] == b"\x47":
        return "mpegts"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0):
        return "aac"
    raise SegmentTransient(Reason.DECODE_ERROR, f"{label}: segments that are not known: {data[:16]!r}")


def _packed_time(data: bytes) -> Fraction | None:
    at = data.find(_PACKED_TIME, 0, 1024) if data[:3] == b"ID3" else -1
    value = data[at + len(_PACKED_TIME) :][:8]
    return Fraction(int.from_bytes(value, "big") & ((1 << 33) - 1), 90_000) if at >= 0 and len(value) == 8 else None


def _demux(data: bytes, container_format: str) -> tuple[list[Track], dict[int, list[Sample]]]:
    """The tracks, and the packets of each with the container's times."""
    tracks: list[Track] = []
    packets: dict[int, list[Sample]] = {}
    try:
        with av.open(io.BytesIO(data), "r", format=container_format) as container:
            for stream in container.streams:
                track = describe_stream(stream)
                if track is not None:
                    tracks.append(track)
            known = {track.number: track for track in tracks}
            for packet in container.demux():
                track = known.get(packet.stream.index)
                if track is not None and packet.pts is not None:
                    packets.setdefault(track.number, []).append(_sample(packet, track))
    except av.FFmpegError as error:
        if not tracks:
            raise UnexpectedLayout(f"FFmpeg cannot open it: {error}") from error
    return tracks, packets


def _sample(packet: Any, track: Track) -> Sample:
    scale = Fraction(packet.time_base) / track.time_base
    pts = packet.pts
    dts = pts if packet.dts is None else packet.dts
    duration = (packet.duration or 0) * scale
    if track.kind == "audio":
        duration -= Fraction(padding(packet), track.sample_rate) / track.time_base
    return Sample(bytes(packet), round(pts * scale), round(dts * scale), max(round(duration), 0), packet.is_keyframe)
