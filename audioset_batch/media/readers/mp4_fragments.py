"""Fragmented MP4 with one `sidx` in front: which fragments, and which bytes of the first and the last.

Most AudioSet segments start at a multiple of ten seconds, and fragments last about ten seconds, so the sample before
the start is often the last one of a fragment. That fragment's `moof` (a few kilobytes) says where its tail begins,
which saves fetching the rest at the cost of one more request.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from audioset_batch.media.readers.demux import Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.mp4_boxes import MAX_INDEX_BYTES, Movie, Mp4Track, read_header
from audioset_batch.media.readers.mp4_tables import Ints, SampleTable, concat, fragment_table, load_samples
from audioset_batch.media.readers.source import RangeReader

_WORTH_A_REQUEST: Final = 40 << 10
"""Bytes that must be saved for another request to be worthwhile."""
_MEDIA_BOXES: Final = (b"sidx", b"moof", b"styp", b"emsg", b"prft")
_END_MARGIN: Final = 4 << 10


@dataclass(frozen=True, slots=True)
class FragmentIndex:
    """A `sidx`: fragment i is bytes offset[i] to offset[i + 1], ticks start[i] to start[i + 1] of `scale` a second."""

    scale: int
    start: Ints
    offset: Ints

    def __len__(self) -> int:
        return len(self.start) - 1


def parse_index(data: bytes, anchor: int) -> FragmentIndex:
    """Parse the payload of a `sidx` that ends at byte `anchor` of the file.

    Raises:
        UnexpectedLayout: damaged, empty, or an index of indexes.
    """
    try:
        wide = data[0] != 0
        _, scale = struct.unpack_from(">II", data, 4)
        earliest, first = struct.unpack_from(">QQ" if wide else ">II", data, 12)
        at = 28 if wide else 20
        (count,) = struct.unpack_from(">H", data, at + 2)
        rows = np.frombuffer(data, dtype=">u4", count=3 * count, offset=at + 4).astype(np.int64).reshape(count, 3)
    except (struct.error, ValueError, IndexError) as error:
        raise UnexpectedLayout(f"damaged sidx: {error}") from error
    if not scale or not count or (rows[:, 0] >> 31).any() or earliest >= 1 << 62 or first >= 1 << 62:
        raise UnexpectedLayout("an empty sidx, or one that points to others")
    return FragmentIndex(
        scale,
        earliest + np.concatenate([[0], np.cumsum(rows[:, 1])]),
        anchor + first + np.concatenate([[0], np.cumsum(rows[:, 0])]),
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """The range to read of one track, in fragments (`first` to `last`, inclusive) and ticks of presentation time."""

    first: int
    last: int
    lo: int
    hi: int


class FragmentedMp4:
    """A fragmented MP4 that is read through its `sidx`."""

    def __init__(self, reader: RangeReader, movie: Movie, index: FragmentIndex) -> None:
        self._reader = reader
        self._movie = movie
        self._index = index
        self._tables: dict[tuple[int, int], SampleTable] = {}
        self._moof_rate = self._measure_first_moof()

    @property
    def tracks(self) -> Sequence[Track]:
        return [track.track for track in self._movie.tracks]

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        return None

    def first_sample_time(self, track: Track) -> Fraction | None:
        found = next(t for t in self._movie.tracks if t.track.number == track.number)
        table = self._fragment(found, 0)
        return int(table.pts.min()) * track.time_base if len(table) else None

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        return [self._read(wanted) for wanted in ranges]

    def _read(self, wanted: TrackRange) -> list[Sample]:
        track = next(t for t in self._movie.tracks if t.track.number == wanted.track.number)
        span = self._span(track, wanted)
        if span.first > span.last:
            return []
        start = self._first_byte(track, span)
        stop = self._last_byte(track, span)
        self._reader.read_range(start, stop)
        parts = [self._fragment(track, number) for number in range(span.first, span.last + 1)]
        table = concat(parts).cut(span.lo, span.hi, track.track.kind == "video")
        if span.first > 0 and self._starts_late(table, track, span):
            parts.insert(0, self._fragment(track, span.first - 1))
            table = concat(parts).cut(span.lo, span.hi, track.track.kind == "video")
        return load_samples(self._reader, table)

    def _starts_late(self, table: SampleTable, track: Mp4Track, span: _Span) -> bool:
        """True if the first sample is later than the index promised: its times are presentation times, or rounded."""
        if not len(table):
            return True
        return int(table.pts[0]) > span.lo or (track.track.kind == "video" and not table.key[0])

    def _span(self, track: Mp4Track, wanted: TrackRange) -> _Span:
        base = track.track.time_base
        lo = int((wanted.start - wanted.preroll) // base)
        hi = -int(-wanted.stop // base)
        # Some writers' index counts media time, which includes the audio's priming, others' presentation time. Both are
        # looked up, so that enough is read either way.
        rescale = base * self._index.scale
        starts = self._index.start
        earliest, latest = min(lo, lo - _priming(track)), max(hi, hi - _priming(track))
        if int(latest * rescale) > int(starts[-1]) and self._more_follows():
            raise UnexpectedLayout("an index of a part of the file")
        first = int(np.searchsorted(starts, int(earliest * rescale), side="right")) - 1
        last = int(np.searchsorted(starts, int(latest * rescale), side="left")) - 1
        return _Span(max(first, 0), min(last, len(self._index) - 1), lo, hi)

    def _more_follows(self) -> bool:
        """True if there is media behind the end of the index: FFmpeg's `+dash` writes an index for each fragment."""
        end, size = int(self._index.offset[-1]), self._reader.size
        if size is None or end + 8 > size:
            return False
        return self._reader.read_range(end, end + 8)[4:] in _MEDIA_BOXES

    def _share(self, track: Mp4Track, number: int, tick: int) -> Fraction:
        """Position of a presentation tick within fragment `number`, from 0 to 1."""
        begin, end = (int(t) for t in self._index.start[number : number + 2])
        at = tick * track.track.time_base * self._index.scale
        return min(max((at - begin) / max(end - begin, 1), Fraction(0)), Fraction(1))

    def _first_byte(self, track: Mp4Track, span: _Span) -> int:
        begin = int(self._index.offset[span.first])
        size = int(self._index.offset[span.first + 1]) - begin
        if track.track.kind == "video" or self._share(track, span.first, span.lo) * size < _WORTH_A_REQUEST:
            return begin
        table = self._fragment(track, span.first).cut(span.lo, span.hi, video=False)
        return int(table.offset[0]) if len(table) else begin + size

    def _last_byte(self, track: Mp4Track, span: _Span) -> int:
        begin, end = (int(b) for b in self._index.offset[span.last : span.last + 2])
        if (span.last, track.track.number) in self._tables:
            table = self._fragment(track, span.last).cut(span.lo, span.hi, track.track.kind == "video")
            return int((table.offset + table.size).max()) if len(table) else begin
        share = self._share(track, span.last, span.hi - _priming(track))
        head = self._moof_bytes(span.last)
        guess = begin + head + int(share * (end - begin - head) * Fraction(21, 20)) + _END_MARGIN
        return end if end - guess < _WORTH_A_REQUEST // 2 else guess

    def _moof_bytes(self, number: int) -> int:
        ticks = int(self._index.start[number + 1] - self._index.start[number])
        return 512 + int(self._moof_rate * ticks * 1.05)

    def _measure_first_moof(self) -> float:
        """Bytes of `moof` per tick of the index: measured if the first fragment is cached, else estimated for AAC."""
        at = int(self._index.offset[0])
        ticks = max(int(self._index.start[1] - self._index.start[0]), 1)
        if self._reader.has(at, at + 16):
            header = read_header(self._reader.read_exactly(at, at + 16))
            if header.kind == b"moof" and header.size < MAX_INDEX_BYTES:
                return min(header.size / ticks, 1.0)
        return 8 / 1024

    def _fragment(self, track: Mp4Track, number: int) -> SampleTable:
        known = self._tables.get((number, track.track.number))
        if known is not None:
            return known
        at, end = (int(b) for b in self._index.offset[number : number + 2])
        parts: list[SampleTable] = []
        reach = self._moof_bytes(number)
        while at + 8 <= end:
            header = read_header(self._reader.read_exactly(at, min(at + max(reach, 16), end)))
            reach = 16
            if not header.size or at + header.size > end:
                raise UnexpectedLayout(f"box {header.kind!r} reaches out of its fragment")
            if header.kind == b"moof":
                parts.append(fragment_table(self._reader.read_exactly(at, at + header.size), at, track))
            at += header.size
        if not parts:
            raise UnexpectedLayout("a fragment without moof")
        table = concat(parts)
        self._tables[number, track.track.number] = table
        return table


def _priming(track: Mp4Track) -> int:
    """Ticks from media time to presentation time of audio: negative for priming, positive for sound that starts late.

    Zero for video, whose edit list only undoes the delay of reordering: a keyframe is shown at its decode time.
    """
    return track.shift if track.track.kind == "audio" else 0
