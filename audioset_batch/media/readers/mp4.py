"""Open an MP4: from its first bytes to a `Media` that knows where each sample is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from audioset_batch.media.readers.demux import Media, Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.mp4_boxes import MAX_INDEX_BYTES, BoxHeader, Movie, parse_movie, read_header
from audioset_batch.media.readers.mp4_fragments import FragmentedMp4, parse_index
from audioset_batch.media.readers.mp4_tables import SampleTable, load_samples, progressive_table
from audioset_batch.media.readers.source import RangeReader, StreamHint

_MERGE_GAP: Final = 256 << 10
"""Ranges closer than this are fetched as one."""
_MAX_TOP_BOXES: Final = 64


def first_request(hint: StreamHint) -> int:
    """Bytes that should hold the index of an MP4: twelve per fragment in the `sidx`, or the head of a `moov`."""
    seconds = hint.duration_seconds or 300.0
    if hint.has_audio and hint.has_video:
        return 24 << 10
    return 1600 + min(int(12 * seconds / (10 if hint.has_audio else 5)), 32 << 10) + 600


def open_mp4(reader: RangeReader) -> Media:
    """Read the index of an MP4, wherever in the file it is.

    Raises:
        UnexpectedLayout: it has no `moov`, has fragments without `sidx`, or is damaged.
        SegmentTransient: it is truncated, or `max_bytes` is exceeded.
    """
    at = 0
    movie: Movie | None = None
    for _ in range(_MAX_TOP_BOXES):
        header = _header(reader, at)
        if header is None:
            break
        if header.kind == b"moov":
            payload = _payload(reader, at, header)
            movie = parse_movie(payload)
            if not movie.fragmented:
                return ProgressiveMp4(reader, movie)
        elif header.kind == b"sidx" and movie is not None:
            index = parse_index(_payload(reader, at, header), at + header.size)
            return FragmentedMp4(reader, movie, index)
        elif header.kind == b"moof":
            break
        if not header.size:
            break
        at += header.size
    raise UnexpectedLayout("fragments without an index" if movie else "no moov")


def _header(reader: RangeReader, at: int) -> BoxHeader | None:
    size = reader.size
    if size is not None and at >= size:
        return None
    # A box behind the media (a moov at the end) is read up to the end of the file at once: it is the last.
    far = not reader.has(at, at + 8)
    if far and size is not None and size - at <= MAX_INDEX_BYTES:
        head = reader.read_range(at, min(size, at + (1 << 20)))[:16]
    else:
        head = reader.read_range(at, at + (16 << 10 if far else 16))[:16]
    return read_header(head) if len(head) >= 8 else None


def _payload(reader: RangeReader, at: int, header: BoxHeader) -> bytes:
    size = header.size
    if not size or size > MAX_INDEX_BYTES:
        raise UnexpectedLayout(f"box {header.kind!r} claims {size} bytes")
    return reader.read_exactly(at + header.head, at + size)


class ProgressiveMp4:
    """An MP4 whose `moov` lists every sample; audio and video are interleaved."""

    def __init__(self, reader: RangeReader, movie: Movie) -> None:
        self._reader = reader
        self._movie = movie
        self._tables: dict[int, SampleTable] = {}

    @property
    def tracks(self) -> Sequence[Track]:
        return [track.track for track in self._movie.tracks]

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        cut = self._cut(TrackRange(track, time, time + track.time_base, Fraction(0)))
        return int(cut.pts[0]) * track.time_base if len(cut) else None

    def first_sample_time(self, track: Track) -> Fraction | None:
        table = self._table(track)
        return int(table.pts.min()) * track.time_base if len(table) else None

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        cuts = [self._cut(wanted) for wanted in ranges]
        byte_ranges = sorted((int(cut.offset.min()), int((cut.offset + cut.size).max())) for cut in cuts if len(cut))
        merged: list[tuple[int, int]] = []
        for start, stop in byte_ranges:
            if merged and start - merged[-1][1] < _MERGE_GAP:
                merged[-1] = merged[-1][0], max(stop, merged[-1][1])
            else:
                merged.append((start, stop))
        for start, stop in merged:
            self._reader.read_exactly(start, stop)
        return [load_samples(self._reader, cut) for cut in cuts]

    def _cut(self, wanted: TrackRange) -> SampleTable:
        lo = int((wanted.start - wanted.preroll) / wanted.track.time_base)
        hi = -int(-wanted.stop // wanted.track.time_base)
        return self._table(wanted.track).cut(lo, hi, wanted.track.kind == "video")

    def _table(self, track: Track) -> SampleTable:
        if track.number not in self._tables:
            found = next(t for t in self._movie.tracks if t.track.number == track.number)
            self._tables[track.number] = progressive_table(self._movie.data, found)
        return self._tables[track.number]
