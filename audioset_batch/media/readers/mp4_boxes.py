"""Parse ISO base media boxes and the description of tracks (`moov`); see ISO/IEC 14496-12 and -14."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from audioset_batch.media.readers.demux import Track, UnexpectedLayout

MAX_INDEX_BYTES: Final = 64 << 20
"""Limit for a `moov` or `sidx`; 64 MB describe some 200 hours."""

_AUDIO_OBJECT_TYPES: Final = {0x40: "aac", 0x66: "aac", 0x67: "aac", 0x68: "aac", 0x69: "mp3", 0x6B: "mp3"}
_VIDEO_OBJECT_TYPES: Final = {0x20: "mpeg4"}
_PLAIN_AUDIO_ENTRIES: Final = {b"ac-3": "ac3", b"ec-3": "eac3", b"samr": "amrnb", b"sawb": "amrwb"}
"""Audio codecs whose decoder needs no configuration."""
_VIDEO_ENTRIES: Final = {
    b"avc1": ("h264", b"avcC"),
    b"avc3": ("h264", b"avcC"),
    b"hvc1": ("hevc", b"hvcC"),
    b"hev1": ("hevc", b"hvcC"),
    b"vp09": ("vp9", b"vpcC"),
    b"av01": ("libdav1d", b"av1C"),
    b"mp4v": ("", b"esds"),
    b"s263": ("h263", b"d263"),
}


class Box(NamedTuple):
    """A box: its type, and where its payload begins and ends in the buffer."""

    kind: bytes
    start: int
    stop: int


class BoxHeader(NamedTuple):
    """A box header: type, bytes of the header, bytes of the whole box (0: up to the end of the file)."""

    kind: bytes
    head: int
    size: int


def read_header(data: bytes, at: int = 0) -> BoxHeader:
    """Parse the box header at `at`, which takes up to 16 bytes.

    Raises:
        UnexpectedLayout: it is cut off, or not a box header.
    """
    if at + 8 > len(data):
        raise UnexpectedLayout(f"box header cut off at {at}")
    size, kind = struct.unpack_from(">I4s", data, at)
    head = 8
    if size == 1:
        if at + 16 > len(data):
            raise UnexpectedLayout(f"box header cut off at {at}")
        (size,) = struct.unpack_from(">Q", data, at + 8)
        head = 16
    if size != 0 and size < head:
        raise UnexpectedLayout(f"box {kind!r} claims {size} bytes")
    return BoxHeader(kind, head, size)


def walk(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """The boxes in data[start:stop], one level.

    Raises:
        UnexpectedLayout: if one reaches beyond `stop`.
    """
    at = start
    while at + 8 <= stop:
        header = read_header(data, at)
        end = at + header.size if header.size else stop
        if end > stop:
            raise UnexpectedLayout(f"box {header.kind!r} reaches beyond its parent by {end - stop} bytes")
        yield Box(header.kind, at + header.head, end)
        at = end


def find(data: bytes, start: int, stop: int, *path: bytes) -> Box | None:
    """The first box at `path` below data[start:stop], or None."""
    for box in walk(data, start, stop):
        if box.kind == path[0]:
            return box if len(path) == 1 else find(data, box.start, box.stop, *path[1:])
    return None


@dataclass(frozen=True, slots=True)
class TrackDefaults:
    """`trex`: defaults of a track's fragments."""

    duration: int = 0
    size: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Mp4Track:
    """A track of a `moov`.

    Attributes:
        track: Description for the decoder.
        shift: Ticks to add to media time for presentation time (edit list: empty edits minus media time).
        presented: Ticks of presentation time where the edit list ends, or None.
        tables: Payload ranges of the sample tables within the moov (`stts`, `stsz` ...).
        defaults: Of fragments.
    """

    track: Track
    shift: int
    presented: int | None
    tables: dict[bytes, Box]
    defaults: TrackDefaults = field(default_factory=TrackDefaults)


@dataclass(frozen=True, slots=True)
class Movie:
    """A parsed `moov`: its payload, tracks that can be decoded, and whether fragments follow."""

    data: bytes
    tracks: tuple[Mp4Track, ...]
    fragmented: bool


def parse_movie(data: bytes) -> Movie:
    """Parse the payload of a `moov`.

    Raises:
        UnexpectedLayout: it is damaged, or has edits that only FFmpeg can follow.
    """
    try:
        return _parse_movie(data)
    except (struct.error, IndexError, ZeroDivisionError) as error:
        raise UnexpectedLayout(f"damaged moov: {error}") from error


def _parse_movie(data: bytes) -> Movie:
    movie_scale = 1000
    defaults: dict[int, TrackDefaults] = {}
    traks: list[Box] = []
    fragmented = False
    for box in walk(data, 0, len(data)):
        if box.kind == b"mvhd":
            movie_scale = struct.unpack_from(">I", data, box.start + (20 if data[box.start] else 12))[0] or 1000
        elif box.kind == b"trak":
            traks.append(box)
        elif box.kind == b"mvex":
            fragmented = True
            for inner in walk(data, box.start, box.stop):
                if inner.kind == b"trex":
                    number, _, duration, size, flags = struct.unpack_from(">5I", data, inner.start + 4)
                    defaults[number] = TrackDefaults(duration, size, flags)
    tracks = []
    for trak in traks[:64]:
        track = _parse_track(data, trak, movie_scale, defaults)
        if track is not None:
            tracks.append(track)
    return Movie(data, tuple(tracks), fragmented)


def _parse_track(data: bytes, trak: Box, movie_scale: int, defaults: dict[int, TrackDefaults]) -> Mp4Track | None:
    header = find(data, trak.start, trak.stop, b"tkhd")
    media = find(data, trak.start, trak.stop, b"mdia", b"mdhd")
    tables = find(data, trak.start, trak.stop, b"mdia", b"minf", b"stbl")
    if header is None or media is None or tables is None:
        return None
    (number,) = struct.unpack_from(">I", data, header.start + (20 if data[header.start] else 12))
    (scale,) = struct.unpack_from(">I", data, media.start + (20 if data[media.start] else 12))
    if not scale:
        return None
    boxes = {box.kind: box for box in walk(data, tables.start, tables.stop)}
    if b"stsd" not in boxes:
        return None
    track = _describe(data, boxes[b"stsd"], number, scale)
    if track is None:
        return None
    shift, presented = _edits(data, find(data, trak.start, trak.stop, b"edts", b"elst"), movie_scale, scale)
    return Mp4Track(track, shift, presented, boxes, defaults.get(number, TrackDefaults()))


def _edits(data: bytes, elst: Box | None, movie_scale: int, scale: int) -> tuple[int, int | None]:
    if elst is None:
        return 0, None
    count = struct.unpack_from(">I", data, elst.start + 4)[0]
    layout = struct.Struct(">QqI" if data[elst.start] else ">IiI")
    if count > 16:
        raise UnexpectedLayout(f"an edit list of {count} entries")
    empty = 0
    media_time: int | None = None
    length = 0
    for index in range(count):
        duration, time, rate = layout.unpack_from(data, elst.start + 8 + index * layout.size)
        if rate != 0x10000 or media_time is not None:
            raise UnexpectedLayout("an edit list with several edits, or with a rate")
        if time < 0:
            empty += duration
        else:
            media_time, length = time, duration
    delay = round(Fraction(empty * scale, movie_scale))
    end = delay + round(Fraction(length * scale, movie_scale)) if length else None
    return delay - (media_time or 0), end


def _describe(data: bytes, stsd: Box, number: int, scale: int) -> Track | None:
    entry = next(walk(data, stsd.start + 8, stsd.stop), None)
    if entry is None:
        return None
    base = Fraction(1, scale)
    if entry.kind in (b"mp4a", b"Opus", *_PLAIN_AUDIO_ENTRIES):
        version, _, _, channels, _, _, _, rate = struct.unpack_from(">HHIHHHHI", data, entry.start + 8)
        if version != 0:
            raise UnexpectedLayout(f"audio sample entry of version {version}")
        rate >>= 16
        if entry.kind in _PLAIN_AUDIO_ENTRIES:
            codec = _PLAIN_AUDIO_ENTRIES[entry.kind]
            return Track("audio", number, codec, b"", base, rate or scale, channels)
        if entry.kind == b"Opus":
            config = find(data, entry.start + 28, entry.stop, b"dOps")
            if config is None:
                return None
            return Track("audio", number, "opus", _opus_head(data[config.start : config.stop]), base, 48000, channels)
        esds = find(data, entry.start + 28, entry.stop, b"esds")
        if esds is None:
            return None
        codec, extradata = _esds(data[esds.start + 4 : esds.stop], _AUDIO_OBJECT_TYPES)
        return Track("audio", number, codec, extradata, base, rate or scale, channels) if codec else None
    if entry.kind in _VIDEO_ENTRIES:
        codec, config_kind = _VIDEO_ENTRIES[entry.kind]
        width, height = struct.unpack_from(">HH", data, entry.start + 24)
        config = find(data, entry.start + 78, entry.stop, config_kind)
        extradata = data[config.start : config.stop] if config and codec not in ("vp9", "h263") else b""
        if entry.kind == b"mp4v":
            codec, extradata = _esds(extradata[4:], _VIDEO_OBJECT_TYPES)
            if not codec:
                return None
        return Track("video", number, codec, extradata, base, width=width, height=height)
    return None


def _opus_head(dops: bytes) -> bytes:
    """Convert `dOps` (big-endian) to an OpusHead for the decoder, without pre-skip, which the edit list covers."""
    _, channels, _, rate, gain, family = struct.unpack_from(">BBHIhB", dops)
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, 0, rate, gain, family) + dops[11:]


def _esds(data: bytes, codecs: Mapping[int, str]) -> tuple[str, bytes]:
    """Codec name ("" if unknown) and decoder configuration of an elementary stream descriptor."""
    at, codec = 0, ""
    while at < len(data):
        tag = data[at]
        at += 1
        size = 0
        for _ in range(4):
            byte = data[at]
            at += 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 3:  # ES_Descriptor: id, flags, then its descriptors
            flags = data[at + 2]
            at += 3 + (2 if flags & 0x80 else 0)
            if flags & 0x40:
                at += 1 + data[at]
            at += 2 if flags & 0x20 else 0
        elif tag == 4:  # DecoderConfigDescriptor: 13 bytes, then its descriptors
            codec = codecs.get(data[at], "")
            at += 13
        elif tag == 5:  # DecoderSpecificInfo
            return codec, data[at : at + size]
        else:
            at += size
    return codec, b""
