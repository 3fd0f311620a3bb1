"""The protobuf wire format: just what a SequenceExample needs. Source: protobuf.dev, "Encoding"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
GROUP_START: Final = 3
GROUP_END: Final = 4
FIXED32: Final = 5

_SIZES: Final = {FIXED64: 8, FIXED32: 4}


class MalformedMessage(ValueError):
    """The bytes are no protobuf message of the expected kind; the text says what was found."""


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """(unsigned value below 2^64, position after it)."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise MalformedMessage("a varint that does not end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7


def iter_fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Yield (field number, wire type, value): int for a varint, else the raw bytes. Groups are skipped whole.

    Raises:
        MalformedMessage: A field is cut off or has an unknown wire type.
    """
    position = 0
    end = len(data)
    depth: list[int] = []
    while position < end:
        tag, position = read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        value: bytes | int
        if number == 0:
            raise MalformedMessage("field number 0")
        if wire == VARINT:
            value, position = read_varint(data, position)
        elif wire == GROUP_START:
            depth.append(number)
            continue
        elif wire == GROUP_END:
            if not depth or depth.pop() != number:
                raise MalformedMessage("a group that ends without having begun")
            continue
        else:
            if wire == BYTES:
                size, position = read_varint(data, position)
            elif wire in _SIZES:
                size = _SIZES[wire]
            else:
                raise MalformedMessage(f"unknown wire type {wire}")
            if size > end - position:
                raise MalformedMessage(f"a field of {size} bytes where {end - position} are left")
            value = data[position : position + size]
            position += size
        if not depth:
            yield number, wire, value
    if depth:
        raise MalformedMessage("a group that does not end")


def varint(value: int) -> bytes:
    """Encode a non-negative int, or a negative one as its 64-bit two's complement (10 bytes)."""
    value &= 0xFFFFFFFFFFFFFFFF
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field: bytes, string, message or packed list."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value
