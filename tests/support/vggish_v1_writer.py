"""Writes small TensorFlow V1 checkpoints for tests; the format is that of `learn.vggish.checkpoint`."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from crc32c import crc32c

from audioset_batch.learn.features.wire import bytes_field, varint

FLOAT = 1


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def block(entries: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """Contents with shared prefixes and one restart, compression byte, checksum."""
    contents, previous = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
            shared += 1
        contents += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    body = contents + struct.pack("<II", 0, 1) + bytes([compression])
    crc = crc32c(body)
    return body + struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def write_v1(
    path: Path,
    arrays: dict[str, np.ndarray],
    *,
    per_block: int = 2,
    compression: int = 0,
    dtype: int = FLOAT,
    sliced: bool = False,
) -> None:
    """A checkpoint of float32 arrays."""
    slots = b""
    values = []
    for name, array in sorted(arrays.items()):
        dimensions = b"".join(bytes_field(2, number_field(1, size)) for size in array.shape)
        slots += bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, dimensions) + number_field(3, dtype))
        extent = number_field(1, 0) + number_field(2, 1) if sliced else b""
        piece = b"".join(bytes_field(1, extent) for _ in array.shape)
        tensor = number_field(1, dtype) + bytes_field(5, array.astype("<f4").tobytes())
        data = bytes_field(1, name.encode()) + bytes_field(2, piece) + bytes_field(3, tensor)
        values.append((b"\0" + name.encode(), bytes_field(2, data)))
    entries = [(b"", bytes_field(1, slots)), *values]
    file, index = b"", []
    for first in range(0, len(entries), per_block):
        group = entries[first : first + per_block]
        written = block(group, compression)
        index.append((group[-1][0], varint(len(file)) + varint(len(written) - 5)))
        file += written
    metaindex_at = len(file)
    file += block([])
    index_at = len(file)
    file += block(index)
    handles = varint(metaindex_at) + varint(index_at - metaindex_at - 5)
    handles += varint(index_at) + varint(len(file) - index_at - 5)
    path.write_bytes(file + handles.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little"))
