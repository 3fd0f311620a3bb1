"""Parse the header of a WebM: its one track, its cues, and the declared codec delay."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from audioset_batch.media.readers import webm_ebml as ebml
from audioset_batch.media.readers.demux import Track, UnexpectedLayout
from audioset_batch.media.readers.source import RangeReader, StreamHint

OPUS_RATE: Final = 48000
_MAX_HEADER: Final = 16 << 20
_BEYOND_CUES: Final = 64
"""Bytes of the headers of the first cluster and its first block, read along with the cues."""
_CODECS: Final = {
    "A_OPUS": "opus",
    "V_VP9": "vp9",
    "V_VP8": "vp8",
    "V_AV1": "libdav1d",
    "V_MPEG4/ISO/AVC": "h264",
}


def first_request(hint: StreamHint) -> int:
    """Bytes that should hold header and cues: some 23 per cue."""
    seconds = hint.duration_seconds or 300.0
    return 1600 + min(23 * (1 + int(seconds / (5 if hint.has_video else 10))), 48 << 10)


@dataclass(frozen=True, slots=True)
class Header:
    """Everything in front of the clusters.

    Attributes:
        track: The one track.
        ticks: Ticks of block times per second.
        delay: Audio samples that the decoder returns before presentation time zero.
        cue_time, cue_byte: The cues: ticks, and bytes from the start of the file.
        end: Byte where the segment ends, or None.
        duration: Ticks according to the header, or None.
    """

    track: Track
    ticks: Fraction
    delay: int
    cue_time: list[int]
    cue_byte: list[int]
    end: int | None
    duration: int | None


def _element(reader: RangeReader, at: int) -> ebml.Head | None:
    size = reader.size
    if size is not None and at >= size:
        return None
    return ebml.read_head(reader.read_range(at, at + ebml.HEAD_MAX), 0)


def _payload(reader: RangeReader, at: int, head: ebml.Head) -> bytes:
    if not 0 <= head.size <= _MAX_HEADER:
        raise UnexpectedLayout(f"an element of {head.size} bytes in the header")
    return reader.read_exactly(at + head.start, at + head.start + head.size)


def parse_header(reader: RangeReader) -> Header:
    """Read everything in front of the clusters, and cues behind them if there are none in front.

    Raises:
        UnexpectedLayout: it has no cues, several tracks or an unknown codec, or is damaged.
        SegmentTransient: it is truncated, or `max_bytes` is exceeded.
    """
    try:
        return _parse_header(reader)
    except (struct.error, IndexError) as error:
        raise UnexpectedLayout(f"damaged header: {error}") from error


def _parse_header(reader: RangeReader) -> Header:
    head = _element(reader, 0)
    if head is None or head.id != ebml.EBML or not 0 <= head.size < 4096:
        raise UnexpectedLayout("no EBML header")
    at = head.start + head.size
    segment = _element(reader, at)
    if segment is None or segment.id != ebml.SEGMENT:
        raise UnexpectedLayout("no segment")
    origin = at + segment.start
    end = origin + segment.size if segment.size != ebml.UNKNOWN else reader.size
    scale, duration = 1_000_000, None
    track: Track | None = None
    delay = 0
    cues: list[tuple[int, int]] = []
    cues_at: int | None = None
    at = origin
    while not cues and (end is None or at < end):
        head = _element(reader, at)
        if head is None or head.id == ebml.CLUSTER:
            break
        if head.id == ebml.INFO:
            scale, duration = _info(_payload(reader, at, head))
        elif head.id == ebml.TRACKS:
            track, delay = _one_track(_payload(reader, at, head))
        elif head.id == ebml.SEEK_HEAD:
            cues_at = _seek(_payload(reader, at, head), ebml.CUES)
        elif head.id == ebml.CUES and track is not None:
            stop = at + head.start + head.size
            if 0 <= head.size <= _MAX_HEADER and not reader.has(at, stop):
                reader.read_range(at, stop + _BEYOND_CUES)
            cues = _cues(_payload(reader, at, head), track.number, origin)
        elif head.size == ebml.UNKNOWN:
            raise UnexpectedLayout("an element of unknown size in the header")
        at += head.start + head.size
    if track is None:
        raise UnexpectedLayout("no track in front of the clusters")
    if not cues and cues_at is not None:
        cues = _far_cues(reader, origin + cues_at, end, track.number, origin)
    if not cues:
        raise UnexpectedLayout("no cues")
    ticks = Fraction(1_000_000_000, scale)
    return Header(track, ticks, delay, [time for time, _ in cues], [byte for _, byte in cues], end, duration)


def _far_cues(reader: RangeReader, at: int, end: int | None, track: int, origin: int) -> list[tuple[int, int]]:
    """Read cues behind the clusters, mostly the last element: if the end of the file is near, up to there at once."""
    if end is not None and at < end <= at + (1 << 20) and (reader.size or end) >= end:
        reader.read_range(at, end)
    head = _element(reader, at)
    if head is None or head.id != ebml.CUES:
        return []
    return _cues(_payload(reader, at, head), track, origin)


def _info(data: bytes) -> tuple[int, int | None]:
    """Nanoseconds per tick, and the duration in ticks."""
    scale, duration = 1_000_000, None
    for head in ebml.children(data, 0, len(data)):
        if head.id == ebml.TIMESTAMP_SCALE:
            scale = ebml.unsigned(data, head)
            if not 1000 <= scale <= 100_000_000:
                raise UnexpectedLayout(f"a timestamp scale of {scale} ns")
        elif head.id == ebml.DURATION:
            value = ebml.real(data, head)
            duration = int(value) if 0 < value < 1e12 else None
    return scale, duration


def _seek(data: bytes, wanted: int) -> int | None:
    for seek in ebml.children(data, 0, len(data)):
        if seek.id == ebml.SEEK:
            inner = ebml.children(data, seek.start, seek.start + seek.size)
            found = {h.id: ebml.unsigned(data, h) for h in inner}
            if found.get(ebml.SEEK_ID) == wanted:
                return found.get(ebml.SEEK_POSITION)
    return None


def _one_track(data: bytes) -> tuple[Track, int]:
    entries = [head for head in ebml.children(data, 0, len(data)) if head.id == ebml.TRACK_ENTRY]
    if len(entries) != 1:
        raise UnexpectedLayout(f"{len(entries)} tracks in one WebM")
    entry = entries[0]
    fields = {head.id: head for head in ebml.children(data, entry.start, entry.start + entry.size)}
    codec = _CODECS.get(_text(data, fields.get(ebml.CODEC_ID)))
    number = ebml.unsigned(data, fields[ebml.TRACK_NUMBER]) if ebml.TRACK_NUMBER in fields else 0
    if codec is None or ebml.CONTENT_ENCODINGS in fields or not 1 <= number < 127:
        raise UnexpectedLayout(f"a track of {_text(data, fields.get(ebml.CODEC_ID))!r}")
    private = fields.get(ebml.CODEC_PRIVATE)
    extradata = data[private.start : private.start + private.size] if private else b""
    if codec == "opus":
        return _opus_track(number, extradata, fields, data)
    width = height = 0
    if ebml.VIDEO in fields:
        video = fields[ebml.VIDEO]
        sizes = {h.id: h for h in ebml.children(data, video.start, video.start + video.size)}
        width = ebml.unsigned(data, sizes[ebml.PIXEL_WIDTH]) if ebml.PIXEL_WIDTH in sizes else 0
        height = ebml.unsigned(data, sizes[ebml.PIXEL_HEIGHT]) if ebml.PIXEL_HEIGHT in sizes else 0
    extradata = b"" if codec in ("vp9", "vp8") else extradata
    return Track("video", number, codec, extradata, Fraction(1, 1000), width=width, height=height), 0


def _opus_track(number: int, head: bytes, fields: dict[int, ebml.Head], data: bytes) -> tuple[Track, int]:
    if len(head) < 19 or not head.startswith(b"OpusHead"):
        raise UnexpectedLayout("an Opus track without OpusHead")
    channels, preskip = struct.unpack_from("<BH", head, 9)
    if ebml.CODEC_DELAY in fields:  # the container's value takes precedence over the codec's
        preskip = round(ebml.unsigned(data, fields[ebml.CODEC_DELAY]) * OPUS_RATE / 1_000_000_000)
    # The decoder must not skip samples: what it is given first is from the middle of the stream.
    extradata = head[:10] + b"\0\0" + head[12:]
    return Track("audio", number, "opus", extradata, Fraction(1, OPUS_RATE), OPUS_RATE, channels), preskip


def _text(data: bytes, head: ebml.Head | None) -> str:
    if head is None:
        return ""
    return data[head.start : head.start + head.size].rstrip(b"\0").decode("ascii", "replace")


def _cues(data: bytes, track: int, origin: int) -> list[tuple[int, int]]:
    cues: list[tuple[int, int]] = []
    for point in ebml.children(data, 0, len(data)):
        if point.id != ebml.CUE_POINT:
            continue
        time: int | None = None
        byte: int | None = None
        for head in ebml.children(data, point.start, point.start + point.size):
            if head.id == ebml.CUE_TIME:
                time = ebml.unsigned(data, head)
            elif head.id == ebml.CUE_TRACK_POSITIONS:
                inner = ebml.children(data, head.start, head.start + head.size)
                found = {h.id: ebml.unsigned(data, h) for h in inner if h.size <= 8}
                if found.get(ebml.CUE_TRACK, track) == track:
                    byte = found.get(ebml.CUE_CLUSTER_POSITION)
        if time is not None and byte is not None:
            cues.append((time, origin + byte))
    cues.sort()
    one_each = [cue for index, cue in enumerate(cues) if not index or cue[1] > cues[index - 1][1]]
    if any(later[1] <= earlier[1] for earlier, later in pairwise(one_each)):
        raise UnexpectedLayout("cues out of order")
    return one_each
