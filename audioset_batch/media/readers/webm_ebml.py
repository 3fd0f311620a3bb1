"""EBML elements (RFC 8794) and the Matroska ids (RFC 9559) that are read here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from audioset_batch.media.readers.demux import UnexpectedLayout

EBML: Final = 0x1A45DFA3
SEGMENT: Final = 0x18538067
SEEK_HEAD: Final = 0x114D9B74
SEEK: Final = 0x4DBB
SEEK_ID: Final = 0x53AB
SEEK_POSITION: Final = 0x53AC
INFO: Final = 0x1549A966
TIMESTAMP_SCALE: Final = 0x2AD7B1
DURATION: Final = 0x4489
TRACKS: Final = 0x1654AE6B
TRACK_ENTRY: Final = 0xAE
TRACK_NUMBER: Final = 0xD7
CODEC_ID: Final = 0x86
CODEC_PRIVATE: Final = 0x63A2
CODEC_DELAY: Final = 0x56AA
CONTENT_ENCODINGS: Final = 0x6D80
AUDIO: Final = 0xE1
VIDEO: Final = 0xE0
PIXEL_WIDTH: Final = 0xB0
PIXEL_HEIGHT: Final = 0xBA
CUES: Final = 0x1C53BB6B
CUE_POINT: Final = 0xBB
CUE_TIME: Final = 0xB3
CUE_TRACK_POSITIONS: Final = 0xB7
CUE_TRACK: Final = 0xF7
CUE_CLUSTER_POSITION: Final = 0xF1
CLUSTER: Final = 0x1F43B675
TIMESTAMP: Final = 0xE7
SIMPLE_BLOCK: Final = 0xA3
BLOCK_GROUP: Final = 0xA0
BLOCK: Final = 0xA1
REFERENCE_BLOCK: Final = 0xFB
DISCARD_PADDING: Final = 0x75A2

HEAD_MAX: Final = 12
"""Longest header of an element: four bytes of id and eight of size."""
UNKNOWN: Final = -1
"""Size of an element of unknown length."""


class Head(NamedTuple):
    """An element's header: its id, where its payload starts, and the payload's size (or `UNKNOWN`)."""

    id: int
    start: int
    size: int


def read_head(data: bytes, at: int) -> Head | None:
    """The element header at `at`; None if the data ends within it.

    Raises:
        UnexpectedLayout: if there is no valid id or size.
    """
    if at >= len(data):
        return None
    first = data[at]
    id_length = 9 - first.bit_length()
    if not first or id_length > 4:
        raise UnexpectedLayout(f"no EBML id at {at}")
    size_at = at + id_length
    if size_at >= len(data):
        return None
    mark = data[size_at]
    if not mark:
        raise UnexpectedLayout(f"no EBML size at {size_at}")
    size_length = 9 - mark.bit_length()
    start = size_at + size_length
    if start > len(data):
        return None
    size = int.from_bytes(data[size_at:start], "big") & ((1 << 7 * size_length) - 1)
    if size == (1 << 7 * size_length) - 1:
        size = UNKNOWN
    return Head(int.from_bytes(data[at:size_at], "big"), start, size)


def children(data: bytes, start: int, stop: int) -> Iterator[Head]:
    """The elements in data[start:stop], one level, all of them whole.

    Raises:
        UnexpectedLayout: if one is damaged or reaches beyond `stop`.
    """
    at = start
    while at < stop:
        head = read_head(data, at)
        if head is None or head.size == UNKNOWN or head.start + head.size > stop:
            raise UnexpectedLayout(f"an element at {at} reaches beyond its parent")
        yield head
        at = head.start + head.size


def unsigned(data: bytes, head: Head) -> int:
    """An unsigned integer payload (empty: 0)."""
    if head.size > 8:
        raise UnexpectedLayout(f"an integer of {head.size} bytes")
    return int.from_bytes(data[head.start : head.start + head.size], "big")


def signed(data: bytes, head: Head) -> int:
    """A signed integer payload (empty: 0)."""
    if head.size > 8:
        raise UnexpectedLayout(f"an integer of {head.size} bytes")
    return int.from_bytes(data[head.start : head.start + head.size], "big", signed=True)


def real(data: bytes, head: Head) -> float:
    """A float payload of 0, 4 or 8 bytes."""
    if head.size not in (0, 4, 8):
        raise UnexpectedLayout(f"a float of {head.size} bytes")
    if not head.size:
        return 0.0
    return float(struct.unpack_from(">f" if head.size == 4 else ">d", data, head.start)[0])
