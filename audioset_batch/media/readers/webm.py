"""WebM with an index (Cues): which bytes hold a clip, without the rest of the first and last cluster.

Clusters of YouTube's audio last ten seconds, and most AudioSet segments start a few milliseconds before one. As blocks
can be found from any byte by following their chain, reading begins at a byte interpolated between two cues. If that is
too late, or the chain is doubtful, more of the cluster is fetched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from audioset_batch.media.readers.demux import Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.source import RangeReader
from audioset_batch.media.readers.webm_clusters import Block, parse_clusters, resync
from audioset_batch.media.readers.webm_header import OPUS_RATE, Header, parse_header

_WORTH_A_SEARCH: Final = 16 << 10
"""Bytes that interpolation must save to be worthwhile."""
_MARGIN: Final = 4 << 10
_OPUS_GRID: Final = 120
"""Samples of the shortest Opus frame, 2.5 ms. Block times are multiples of it, rounded to milliseconds."""
_ROUNDED_TO_ZERO_MS: Final = 2
"""A first block this early is at time zero: muxers round the codec delay away."""
_ROUNDING_MS: Final = 3
"""Error that block times may have."""
_FIRST_CUE_MS: Final = 500


def open_webm(reader: RangeReader) -> WebM:
    """Read header and cues. Raises what `parse_header` raises."""
    return WebM(reader, parse_header(reader))


def opus_frames(packet: bytes) -> int:
    """Samples at 48 kHz in an Opus packet (RFC 6716, section 3.1); 0 if it is invalid."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        size = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        size = (480, 960)[config & 1]
    else:
        size = 120 << (config & 3)
    if code == 3:
        return size * (packet[1] & 0x3F) if len(packet) > 1 else 0
    return size if code == 0 else 2 * size


def opus_grid(ticks: int, ticks_per_second: Fraction) -> int:
    """The number of samples at 48 kHz that a rounded time since the first packet represents."""
    return round(ticks * float(OPUS_RATE / _OPUS_GRID / ticks_per_second)) * _OPUS_GRID


class WebM:
    """A WebM with one track that is read through its cues."""

    def __init__(self, reader: RangeReader, header: Header) -> None:
        self._reader = reader
        self._header = header
        if header.cue_time[0] * 1000 > _FIRST_CUE_MS * header.ticks:
            raise UnexpectedLayout("the first cue is not at the start")
        start = header.cue_byte[0]
        first = parse_clusters(reader.read_range(start, start + 64), 0, header.track.number, heads_only=True)
        if not first.blocks:
            raise UnexpectedLayout("no block where the first cue points")
        self._zero = first.blocks[0].time
        # Then a cue's time is its cluster's timestamp, to which the times of blocks found by their chain are relative.
        self._cues_are_clusters = self._zero == header.cue_time[0] == first.cluster_time
        self._rounded = self._zero if self._zero * 1000 <= _ROUNDED_TO_ZERO_MS * header.ticks else 0

    @property
    def tracks(self) -> Sequence[Track]:
        return [self._header.track]

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        return None

    def first_sample_time(self, track: Track) -> Fraction | None:
        return Fraction(self._zero) / self._header.ticks

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        return [self._read(wanted) for wanted in ranges]

    def _read(self, wanted: TrackRange) -> list[Sample]:
        header = self._header
        video = header.track.kind == "video"
        delay = Fraction(header.delay, OPUS_RATE)
        preroll = Fraction(0) if video else wanted.preroll
        slack = Fraction(_ROUNDING_MS, 1000)
        lo = int((wanted.start - preroll + delay - slack) * header.ticks) + self._rounded
        hi = int((wanted.stop + delay + slack) * header.ticks) + self._rounded + 1
        first = max(bisect_right(header.cue_time, lo) - 1, 0)
        after = max(bisect_left(header.cue_time, hi), first + 1)
        blocks = self._blocks(first, after, lo, hi)
        return self._video_samples(blocks, wanted) if video else self._opus_samples(blocks, lo, hi)

    def _blocks(self, first: int, after: int, lo: int, hi: int) -> list[Block]:
        """Blocks from one at or before `lo` (ticks) to the last before `hi`, or to the end of the file."""
        start = self._cue_byte(first)
        limit = self._cue_byte(after)
        begin = start if self._header.track.kind == "video" else self._guess(first, lo, -1)
        stop = self._guess(after - 1, hi, +1)
        if begin < start + _WORTH_A_SEARCH:
            begin = start
        if stop > limit - _WORTH_A_SEARCH:
            stop = limit
        blocks: list[Block] = []
        for attempt in range(3):
            blocks = self._parse(begin, stop, first, lo)
            short = stop < limit and (not blocks or blocks[-1].time < hi)
            late = begin > start and (not blocks or blocks[0].time > lo)
            if not short and not late:
                break
            if late:
                once = attempt == 0 and not short
                begin = self._further_back(begin, start, blocks, lo, stop) if once else start
            if short:
                stop = limit
        return blocks

    def _further_back(self, begin: int, start: int, blocks: list[Block], lo: int, stop: int) -> int:
        """The byte to begin at instead of `begin`, whose first block was too late."""
        if not blocks or blocks[-1].time <= blocks[0].time:
            return start
        rate = Fraction(stop - begin, blocks[-1].time - blocks[0].time)
        back = begin - 2 * int((blocks[0].time - lo) * rate) - 2 * _MARGIN
        return back if back > start + _WORTH_A_SEARCH else start

    def _parse(self, begin: int, stop: int, first: int, lo: int) -> list[Block]:
        """The blocks in bytes [begin, stop); none if their times are doubtful."""
        data = self._reader.read_exactly(begin, stop)
        header = self._header
        number = header.track.number
        if begin == self._cue_byte(first):
            found = parse_clusters(data, 0, number)
            if found.orphans:
                raise UnexpectedLayout("a cue that points into a cluster")
            return found.blocks
        boundary = self._cue_byte(first + 1) - begin
        per_ms = header.ticks / 1000
        at = resync(data, number, float(per_ms), boundary if 0 < boundary <= len(data) else None)
        if at is None:
            return []
        found = parse_clusters(data, at, number)
        if not found.orphans:
            return found.blocks
        cue = header.cue_time[first]
        last = found.orphans[-1]
        if found.blocks:
            base = found.blocks[0].time - last.time - round(Fraction(opus_frames(last.data), 48) * per_ms)
            if abs(base - cue) <= 2 * per_ms:
                base = cue
        else:
            base = cue
            gap = self._cue_time(first + 1) - cue
            if not self._cues_are_clusters or abs(cue + found.orphans[0].time - lo) * 3 > gap:
                return []
        return [block._replace(time=block.time + base) for block in found.orphans] + found.blocks

    def _guess(self, cue: int, time: int, sign: int) -> int:
        """The byte at `time`, interpolated between `cue` and the next, and a margin towards `sign`."""
        begin, end = self._cue_byte(cue), self._cue_byte(cue + 1)
        ticks = max(self._cue_time(cue + 1) - self._header.cue_time[cue], 1)
        share = min(max(Fraction(time - self._header.cue_time[cue], ticks), Fraction(0)), Fraction(1))
        margin = _MARGIN + (end - begin) // (12 if self._header.track.kind == "video" else 40)
        return min(max(begin + int(share * (end - begin)) + sign * margin, begin), end)

    def _cue_byte(self, index: int) -> int:
        header = self._header
        if index < len(header.cue_byte):
            return header.cue_byte[index]
        end = header.end if header.end is not None else self._reader.size
        if end is None or end < header.cue_byte[-1]:
            raise UnexpectedLayout("a file without an end")
        return end

    def _cue_time(self, index: int) -> int:
        header = self._header
        if index < len(header.cue_time):
            return header.cue_time[index]
        return max(header.duration or 0, header.cue_time[-1] + 1)

    def _opus_samples(self, blocks: list[Block], lo: int, hi: int) -> list[Sample]:
        header = self._header
        start = 0 if self._rounded == self._zero else round(self._zero * OPUS_RATE / header.ticks)
        steps = float(OPUS_RATE / _OPUS_GRID / header.ticks)
        samples: list[Sample] = []
        following = 0  # where the previous packet's samples end
        for block in blocks:
            frames = opus_frames(block.data)
            if not frames:
                raise UnexpectedLayout("an invalid Opus packet")
            position = round((block.time - self._zero) * steps) * _OPUS_GRID - header.delay + start
            if block.time >= hi:
                break
            if samples and abs(following - position) <= 2 * _OPUS_GRID:
                position = following
            following = position + frames
            if block.discard > 0:
                frames = max(frames - round(block.discard * OPUS_RATE / 1_000_000_000), 0)
            samples.append(Sample(block.data, position, position, frames, True))
        keep = next((i for i, block in enumerate(blocks) if block.time >= lo), 0)
        return samples[max(keep - 1, 0) :]

    def _video_samples(self, blocks: list[Block], wanted: TrackRange) -> list[Sample]:
        to_ms = 1000 / self._header.ticks
        times = [round((block.time - self._rounded) * to_ms) for block in blocks]
        lo, hi = int(wanted.start * 1000), -int(-wanted.stop * 1000 // 1)
        keys = [i for i, block in enumerate(blocks) if block.key and times[i] <= lo]
        first = keys[-1] if keys else 0
        return [
            Sample(block.data, time, time, 0, block.key)
            for block, time in zip(blocks[first:], times[first:], strict=True)
            if time < hi
        ]
