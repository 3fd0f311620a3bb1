"""Parse blocks of Matroska clusters, also from bytes that begin in the middle of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from audioset_batch.media.readers import webm_ebml as ebml
from audioset_batch.media.readers.demux import UnexpectedLayout

_CHAIN: Final = 12
"""So many valid blocks in a row, with plausible times, are not a coincidence."""
_MAX_AUDIO_BLOCK: Final = 64 << 10
_MAX_STEP_MS: Final = 250


class Block(NamedTuple):
    """One frame: its time in ticks of the segment (absolute, or of its cluster), data, key, nanoseconds to discard."""

    time: int
    data: bytes
    key: bool
    discard: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The contents of a byte range of clusters.

    Attributes:
        orphans: Blocks before the first cluster header; their times are relative to their unknown cluster.
        blocks: All others, with absolute times.
        cluster_time: Time of the last cluster header, or None.
    """

    orphans: list[Block]
    blocks: list[Block]
    cluster_time: int | None


def parse_clusters(data: bytes, at: int, track: int, *, heads_only: bool = False) -> Blocks:
    """Parse from `at`, an element boundary within or between clusters, to the last whole element.

    With `heads_only`, a block that the end of the data cuts off is returned as well, as the last one.

    Raises:
        UnexpectedLayout: damaged, or laced blocks.
    """
    orphans: list[Block] = []
    blocks: list[Block] = []
    base: int | None = None
    block: Block | None
    while True:
        head = ebml.read_head(data, at)
        if head is None:
            return Blocks(orphans, blocks, base)
        if head.id == ebml.CLUSTER:
            base = None
            timestamp = ebml.read_head(data, head.start)
            while timestamp is not None and timestamp.id != ebml.TIMESTAMP:
                if timestamp.id in (ebml.SIMPLE_BLOCK, ebml.BLOCK_GROUP):
                    raise UnexpectedLayout("a cluster without timestamp")
                timestamp = ebml.read_head(data, timestamp.start + max(timestamp.size, 0))
            if timestamp is None or timestamp.start + timestamp.size > len(data):
                return Blocks(orphans, blocks, base)
            base = ebml.unsigned(data, timestamp)
            at = timestamp.start + timestamp.size
            continue
        if head.size == ebml.UNKNOWN:
            raise UnexpectedLayout("an element of unknown size within a cluster")
        end = head.start + head.size
        if end > len(data):
            if heads_only and head.id == ebml.SIMPLE_BLOCK and base is not None and head.start + 4 <= len(data):
                block = _block(data, head.start, len(data), track, key=True)
                blocks += [block._replace(time=block.time + base)] if block else []
            return Blocks(orphans, blocks, base)
        block = None
        if head.id == ebml.SIMPLE_BLOCK:
            block = _block(data, head.start, end, track, key=bool(data[_flags_at(data, head.start)] & 0x80))
        elif head.id == ebml.BLOCK_GROUP:
            block = _group(data, head, track)
        elif head.id == ebml.CUES:
            return Blocks(orphans, blocks, base)  # an index behind the last cluster
        if block is not None:
            if base is None:
                orphans.append(block)
            else:
                blocks.append(block._replace(time=block.time + base))
        at = end


def _flags_at(data: bytes, at: int) -> int:
    flags = at + (9 - data[at].bit_length()) + 2
    if not data[at] or flags >= len(data):
        raise UnexpectedLayout("a damaged block head")
    return flags


def _block(data: bytes, start: int, end: int, track: int, *, key: bool, discard: int = 0) -> Block | None:
    flags_at = _flags_at(data, start)
    length = flags_at - 2 - start
    number = int.from_bytes(data[start : start + length], "big") & ((1 << 7 * length) - 1)
    if number != track:
        return None
    if flags_at >= end:
        raise UnexpectedLayout("an empty block")
    if data[flags_at] & 0x06:
        raise UnexpectedLayout("laced blocks")
    time = int.from_bytes(data[flags_at - 2 : flags_at], "big", signed=True)
    return Block(time, data[flags_at + 1 : end], key, discard)


def _group(data: bytes, group: ebml.Head, track: int) -> Block | None:
    inner: ebml.Head | None = None
    key, discard = True, 0
    for child in ebml.children(data, group.start, group.start + group.size):
        if child.id == ebml.BLOCK:
            inner = child
        elif child.id == ebml.REFERENCE_BLOCK:
            key = False
        elif child.id == ebml.DISCARD_PADDING:
            discard = ebml.signed(data, child)
    if inner is None:
        return None
    return _block(data, inner.start, inner.start + inner.size, track, key=key, discard=discard)


def resync(data: bytes, track: int, ticks_per_ms: float, boundary: int | None) -> int | None:
    """The first byte of `data` from which a chain of simple blocks of `track` runs, or None.

    The chain must meet `boundary`, a byte where a cluster is known to begin, if that is given and comes first;
    otherwise it must be a dozen blocks long. Only for files with a single track, of a number below 127.
    """
    marker = bytes([0x80 | track])
    at = data.find(b"\xa3")
    limit = len(data) if boundary is None else boundary
    while 0 <= at < limit:
        if _chain_holds(data, at, marker, ticks_per_ms, boundary):
            return at
        at = data.find(b"\xa3", at + 1)
    return None


def _chain_holds(data: bytes, at: int, marker: bytes, ticks_per_ms: float, boundary: int | None) -> bool:
    before: int | None = None
    for length in range(_CHAIN * 4):
        if at == boundary:
            return length > 0
        if boundary is not None and at > boundary:
            return False
        try:
            head = ebml.read_head(data, at)
        except UnexpectedLayout:
            return False
        if head is None:
            return length >= _CHAIN
        if head.id == ebml.CLUSTER:
            return length >= 2
        if head.id != ebml.SIMPLE_BLOCK or not 5 <= head.size <= _MAX_AUDIO_BLOCK:
            return head.id == ebml.BLOCK_GROUP and length >= 3
        if data[head.start : head.start + 1] != marker or head.start + 4 > len(data):
            return False
        if data[head.start + 3] & 0x06:
            return False
        time = int.from_bytes(data[head.start + 1 : head.start + 3], "big", signed=True)
        if before is not None and not 0 < time - before <= _MAX_STEP_MS * ticks_per_ms:
            return False
        before = time
        at = head.start + head.size
    return True
