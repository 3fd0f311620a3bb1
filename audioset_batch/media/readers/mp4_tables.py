"""Sample tables: of a progressive MP4 (`stbl`) and of one movie fragment (`moof`), as arrays."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.media.readers.demux import Sample, UnexpectedLayout
from audioset_batch.media.readers.mp4_boxes import Box, Mp4Track, find, walk
from audioset_batch.media.readers.source import RangeReader

Ints = npt.NDArray[np.int64]

_MAX_SAMPLES: Final = 10_000_000
"""Some 60 hours of AAC; a table that declares more is damaged."""
_MAX_CONSTANT: Final = 100_000
_NON_SYNC: Final = 0x10000


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Samples in decoding order: int64 arrays of equal length; times in ticks of presentation time.

    `offset` counts from the start of the file, in bytes.
    """

    offset: Ints
    size: Ints
    dts: Ints
    pts: Ints
    duration: Ints
    key: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offset)

    def slice(self, first: int, last: int) -> SampleTable:
        """Samples first (inclusive) to last (exclusive)."""
        s = slice(first, last)
        return SampleTable(self.offset[s], self.size[s], self.dts[s], self.pts[s], self.duration[s], self.key[s])

    def cut(self, lo: int, hi: int, video: bool) -> SampleTable:
        """The samples needed to present ticks [lo, hi): for video from the last keyframe at or before `lo`.

        Without such a keyframe, from the first sample.
        """
        if not len(self):
            return self
        ends = np.flatnonzero(self.pts < hi)
        last = int(ends[-1]) + 1 if len(ends) else 0
        if video:
            keys = np.flatnonzero(self.key & (self.pts <= lo))
            first = int(keys[-1]) if len(keys) else 0
        else:
            first = int(np.searchsorted(self.pts + self.duration, lo, side="right"))
        return self.slice(min(first, last), last)


def concat(parts: list[SampleTable]) -> SampleTable:
    """Concatenate tables."""
    return SampleTable(*(np.concatenate([getattr(part, name) for part in parts]) for name in SampleTable.__slots__))


def progressive_table(moov: bytes, track: Mp4Track) -> SampleTable:
    """The whole sample table of a track of a progressive file.

    Raises:
        UnexpectedLayout: the tables are missing, damaged or inconsistent.
    """
    try:
        return _progressive_table(moov, track)
    except (struct.error, KeyError, ValueError) as error:
        raise UnexpectedLayout(f"damaged sample tables: {error}") from error


def _progressive_table(moov: bytes, track: Mp4Track) -> SampleTable:
    boxes = track.tables
    fixed, count = struct.unpack_from(">II", moov, boxes[b"stsz"].start + 4)
    if count > _MAX_SAMPLES:
        raise UnexpectedLayout(f"a sample table of {count} samples")
    if fixed:
        size = np.full(count, fixed, dtype=np.int64)
    else:
        size = _u32(moov, boxes[b"stsz"].start + 12, count)
    duration = _runs(moov, boxes[b"stts"], count, ">u4")
    dts = np.cumsum(duration) - duration
    pts = dts
    if b"ctts" in boxes:
        pts = dts + _runs(moov, boxes[b"ctts"], count, ">i4")
    if b"stss" in boxes:
        key = np.zeros(count, dtype=np.bool_)
        (keys,) = struct.unpack_from(">I", moov, boxes[b"stss"].start + 4)
        numbers = _u32(moov, boxes[b"stss"].start + 8, keys)
        key[numbers[(numbers >= 1) & (numbers <= count)] - 1] = True
    else:
        key = np.ones(count, dtype=np.bool_)
    offset = _offsets(moov, boxes, size)
    pts, dts = pts + track.shift, dts + track.shift
    if track.presented is not None and track.track.kind == "audio":
        duration = np.clip(track.presented - pts, 0, duration)
    return SampleTable(offset, size, dts, pts, duration, key)


def _offsets(moov: bytes, boxes: dict[bytes, Box], size: Ints) -> Ints:
    wide = b"co64" in boxes
    box = boxes[b"co64" if wide else b"stco"]
    (chunks,) = struct.unpack_from(">I", moov, box.start + 4)
    if chunks > _MAX_SAMPLES:
        raise UnexpectedLayout(f"{chunks} chunks")
    if wide:
        chunk_offset = _array(moov, box.start + 8, chunks, ">u8")
    else:
        chunk_offset = _u32(moov, box.start + 8, chunks)
    (runs,) = struct.unpack_from(">I", moov, boxes[b"stsc"].start + 4)
    table = _u32(moov, boxes[b"stsc"].start + 8, runs * 3).reshape(runs, 3)
    first, per_chunk = table[:, 0] - 1, table[:, 1]
    lengths = np.diff(np.append(first, chunks))
    if runs == 0 or first[0] != 0 or (lengths < 0).any() or int((lengths * per_chunk).sum()) != len(size):
        raise UnexpectedLayout("chunks and samples do not add up")
    in_chunk = np.repeat(per_chunk, lengths)
    chunk_of = np.repeat(np.arange(chunks), in_chunk)
    before = np.cumsum(size) - size  # bytes of all samples before this one
    chunk_first = np.cumsum(in_chunk) - in_chunk  # number of each chunk's first sample
    base = before[np.minimum(chunk_first, max(len(size) - 1, 0))]
    offset: Ints = chunk_offset[chunk_of] + before - base[chunk_of]
    return offset


def _runs(moov: bytes, box: Box, count: int, value: str) -> Ints:
    (entries,) = struct.unpack_from(">I", moov, box.start + 4)
    if box.start + 8 + 8 * entries > box.stop:
        raise UnexpectedLayout("a time table longer than its box")
    table = np.frombuffer(moov, dtype=[("n", ">u4"), ("v", value)], count=entries, offset=box.start + 8)
    lengths = table["n"].astype(np.int64)
    if int(lengths.sum()) != count:
        raise UnexpectedLayout(f"times of {int(lengths.sum())} samples for {count}")
    return np.repeat(table["v"].astype(np.int64), lengths)


def _u32(data: bytes, at: int, count: int) -> Ints:
    return _array(data, at, count, ">u4")


def _array(data: bytes, at: int, count: int, dtype: str) -> Ints:
    return np.frombuffer(data, dtype=dtype, count=count, offset=at).astype(np.int64)


def fragment_table(moof: bytes, position: int, track: Mp4Track) -> SampleTable:
    """The samples of `track` in one `moof` (the whole box, found at byte `position` of the file).

    Raises:
        UnexpectedLayout: it is damaged, or has no decode time.
    """
    try:
        return _fragment_table(moof, position, track)
    except (struct.error, ValueError) as error:
        raise UnexpectedLayout(f"damaged moof: {error}") from error


def _fragment_table(moof: bytes, position: int, track: Mp4Track) -> SampleTable:
    parts: list[SampleTable] = []
    for traf in walk(moof, 8, len(moof)):
        if traf.kind != b"traf":
            continue
        header = find(moof, traf.start, traf.stop, b"tfhd")
        decode = find(moof, traf.start, traf.stop, b"tfdt")
        if header is None:
            raise UnexpectedLayout("a traf without tfhd")
        flags, number = struct.unpack_from(">II", moof, header.start)
        if number != track.track.number:
            continue
        if decode is None:
            raise UnexpectedLayout("a fragment without decode time")
        at = header.start + 8
        base = position
        if flags & 0x1:
            (base,) = struct.unpack_from(">Q", moof, at)
            at += 8
        elif not flags & 0x20000 and parts:
            raise UnexpectedLayout("fragment data relative to the previous track's")
        at += 4 if flags & 0x2 else 0
        defaults = [track.defaults.duration, track.defaults.size, track.defaults.flags]
        for index, bit in enumerate((0x8, 0x10, 0x20)):
            if flags & bit:
                (defaults[index],) = struct.unpack_from(">I", moof, at)
                at += 4
        (time,) = struct.unpack_from(">Q" if moof[decode.start] else ">I", moof, decode.start + 4)
        if time >= 1 << 62:
            raise UnexpectedLayout(f"a fragment at tick {time}")
        offset = base
        for box in walk(moof, traf.start, traf.stop):
            if box.kind == b"trun":
                part, offset = _run(moof, box, base, offset, time, defaults, track.shift)
                if len(part):
                    parts.append(part)
                    time += int(part.duration.sum())
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return SampleTable(empty, empty, empty, empty, empty, np.zeros(0, dtype=np.bool_))
    return parts[0] if len(parts) == 1 else concat(parts)


def _run(
    moof: bytes, box: Box, base: int, offset: int, time: int, defaults: list[int], shift: int
) -> tuple[SampleTable, int]:
    flags, count = struct.unpack_from(">II", moof, box.start)
    flags &= 0xFFFFFF
    at = box.start + 8
    if flags & 0x1:
        offset = base + struct.unpack_from(">i", moof, at)[0]
        at += 4
    first_flags: int | None = None
    if flags & 0x4:
        (first_flags,) = struct.unpack_from(">I", moof, at)
        at += 4
    names = [name for bit, name in ((0x100, "d"), (0x200, "s"), (0x400, "f"), (0x800, "c")) if flags & bit]
    if count > _MAX_SAMPLES or at + 4 * len(names) * count > box.stop:
        raise UnexpectedLayout(f"a run of {count} samples, longer than its box")
    if not names and count > _MAX_CONSTANT:
        raise UnexpectedLayout(f"a run of {count} samples that are all alike")
    flat = np.frombuffer(moof[at : at + 4 * count * len(names)], dtype=">u4")
    rows = flat.reshape(count, len(names))
    columns: dict[str, Any] = {name: rows[:, index].astype(np.int64) for index, name in enumerate(names)}
    duration = columns.get("d", np.full(count, defaults[0], dtype=np.int64))
    size = columns.get("s", np.full(count, defaults[1], dtype=np.int64))
    sample_flags = columns.get("f", np.full(count, defaults[2], dtype=np.int64))
    if first_flags is not None and count:
        sample_flags[0] = first_flags
    dts = time + np.cumsum(duration) - duration
    # In version 0 the offset is unsigned, yet some writers store negative ones; no real offset is near 2**31.
    composition = columns.get("c", np.zeros(count, dtype=np.int64)).astype(np.uint32).astype(np.int32)
    offsets = offset + np.cumsum(size) - size
    table = SampleTable(
        offsets, size, dts + shift, dts + composition + shift, duration, (sample_flags & _NON_SYNC) == 0
    )
    return table, offset + int(size.sum())


def load_samples(reader: RangeReader, table: SampleTable) -> list[Sample]:
    """Fetch the samples of a table.

    Raises:
        SegmentTransient: the stream is truncated, or `max_bytes` is exceeded.
        UnexpectedLayout: a sample has an impossible position.
    """
    if not len(table):
        return []
    start, stop = int(table.offset.min()), int((table.offset + table.size).max())
    if start < 0 or int(table.size.min()) < 0:
        raise UnexpectedLayout("a sample before the start of the file")
    data = memoryview(reader.read_exactly(start, stop))
    rows = zip(
        (table.offset - start).tolist(),
        table.size.tolist(),
        table.pts.tolist(),
        table.dts.tolist(),
        table.duration.tolist(),
        table.key.tolist(),
        strict=True,
    )
    return [
        Sample(bytes(data[offset : offset + size]), pts, dts, duration, key)
        for offset, size, pts, dts, duration, key in rows
    ]
