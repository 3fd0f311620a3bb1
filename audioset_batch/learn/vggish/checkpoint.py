"""Reads TensorFlow's V1 checkpoints (`vggish_model.ckpt`) without TensorFlow.

Format (tensorflow/core/util/tensor_slice_writer.cc and lib/io/format.cc): one LevelDB-style table.

    data blocks ... | metaindex block | index block | footer (48 bytes)
    footer: metaindex handle, index handle (offset and size, varint64 each), padding, magic
    block:  contents | 1 byte compression | masked CRC-32C of contents and that byte
    contents: entries | uint32 restart offsets ... | uint32 restart count
    entry: varint shared, unshared, value length | key without its first `shared` bytes | value

The value under the empty key is the directory (SavedTensorSlices.meta), each other value one tensor
(SavedTensorSlices.data). Every checksum is checked before a block is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.tfrecord import load_crc32c, mask_crc
from audioset_batch.learn.features.wire import MalformedMessage, iter_fields, read_varint

MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_BYTES: Final = 48
_TRAILER_BYTES: Final = 5
_UNCOMPRESSED: Final = 0
_FLOAT: Final = 1


class _DamagedError(Exception):
    """The text of what is wrong; the public function adds the file."""


class _Handle(NamedTuple):
    offset: int
    size: int


class _Variable(NamedTuple):
    shape: tuple[int, ...]
    type: int


def is_v1_checkpoint(path: Path) -> bool:
    """True if the file ends with the magic number of a V1 checkpoint."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < FOOTER_BYTES:
            return False
        file.seek(-len(MAGIC), 2)
        return file.read() == MAGIC


def read_v1_checkpoint(path: Path, names: Iterable[str] | None = None) -> dict[str, NDArray[np.float32]]:
    """The float32 variables of a V1 checkpoint.

    Args:
        path: The file, e.g. `vggish_model.ckpt`.
        names: Variables to read; names that the file lacks are left out. None: all that are float32.

    Raises:
        InputRefused: Not such a file, or truncated, damaged (a checksum differs) or compressed.
        OSError: It cannot be read.
    """
    wanted = None if names is None else frozenset(names)
    if not is_v1_checkpoint(path):
        raise InputRefused(
            f"{path}: expected a TensorFlow V1 checkpoint, which ends with the magic number {MAGIC.hex()}; "
            "this is not one, or it is truncated"
        )
    # NumPy's mapping closes itself with its last slice.
    mapped = np.memmap(path, dtype=np.uint8, mode="r").data
    try:
        return dict(_tensors(mapped, wanted))
    except (_DamagedError, MalformedMessage) as fault:
        raise InputRefused(f"{path}: damaged checkpoint: {fault}; fetch it again") from fault


def _tensors(file: memoryview, wanted: frozenset[str] | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and values of each wanted variable."""
    footer = bytes(file[-FOOTER_BYTES:])
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    directory: dict[str, _Variable] = {}
    for _, entry in _entries(_block(file, index, "the index")):
        handle, _ = _handle(entry, 0)
        for key, value in _entries(_block(file, handle, f"the block at byte {handle.offset}")):
            if not key:
                directory = _directory(value)
                continue
            for message in _messages(value, 2):
                tensor = _tensor(message, directory, wanted)
                if tensor is not None:
                    yield tensor


def _block(file: memoryview, handle: _Handle, what: str) -> bytes:
    """The contents of a block whose checksum holds."""
    end = handle.offset + handle.size
    if end + _TRAILER_BYTES > len(file):
        raise _DamagedError(f"{what} ends at byte {end}, behind the end of the file")
    contents = bytes(file[handle.offset : end + 1])
    expected = mask_crc(load_crc32c()(contents))
    stored = int.from_bytes(file[end + 1 : end + _TRAILER_BYTES], "little")
    if stored != expected:
        raise _DamagedError(f"checksum of {what} is {stored:#010x}, expected {expected:#010x}")
    if file[end] != _UNCOMPRESSED:
        raise _DamagedError(f"{what} is compressed (type {file[end]}); only uncompressed blocks can be read")
    return contents[:-1]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each entry of a block."""
    if len(block) < 4:
        raise _DamagedError("a block is too short")
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if end < 0:
        raise _DamagedError("a block has more restarts than bytes")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        unshared, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or at + unshared + size > end:
            raise _DamagedError("an entry does not fit into its block")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + size]
        at += size


def _directory(value: bytes) -> dict[str, _Variable]:
    """SavedTensorSlices.meta (1) -> tensor (1, repeated): name 1, shape 2 {dim 2}, type 3."""
    variables: dict[str, _Variable] = {}
    for meta in _messages(value, 1):
        for slot in _messages(meta, 1):
            dimensions = [dimension for shape in _messages(slot, 2) for dimension in _messages(shape, 2)]
            # An absent size is protobuf's way to write 0.
            shape = tuple(_number(dimension, 1) for dimension in dimensions)
            variables[_name(slot)] = _Variable(shape, _number(slot, 3))
    return variables


def _tensor(
    message: bytes, directory: dict[str, _Variable], wanted: frozenset[str] | None
) -> tuple[str, NDArray[np.float32]] | None:
    """SavedSlice: name 1, slice 2 {extent 1}, data 3 (TensorProto: packed float_val 5)."""
    name = _name(message)
    if wanted is not None and name not in wanted:
        return None
    variable = directory.get(name)
    if variable is None:
        raise _DamagedError(f"{name} is not in the directory")
    if variable.type != _FLOAT:
        if wanted is None:
            return None
        raise _DamagedError(f"{name} has data type {variable.type}, expected {_FLOAT} (float32)")
    # An extent without start and length means the whole axis.
    if any(extent for piece in _messages(message, 2) for extent in _messages(piece, 1)):
        raise _DamagedError(f"{name} is stored in slices, which this reader does not join")
    raw = b"".join(values for data in _messages(message, 3) for values in _messages(data, 5))
    count = int(np.prod(variable.shape, dtype=np.int64))
    if len(raw) != 4 * count:
        raise _DamagedError(f"{name} has {len(raw)} bytes, its shape {variable.shape} needs {4 * count}")
    return name, np.frombuffer(raw, "<f4").astype(np.float32, copy=False).reshape(variable.shape)


def _handle(buffer: bytes, at: int) -> tuple[_Handle, int]:
    offset, at = read_varint(buffer, at)
    size, at = read_varint(buffer, at)
    return _Handle(offset, size), at


def _messages(message: bytes, wanted: int) -> list[bytes]:
    """The length-delimited values of one field."""
    fields = iter_fields(message)
    return [value for number, _, value in fields if number == wanted and isinstance(value, bytes)]


def _number(message: bytes, wanted: int) -> int:
    """A varint field, 0 if absent."""
    fields = iter_fields(message)
    return next((value for number, _, value in fields if number == wanted and isinstance(value, int)), 0)


def _name(message: bytes) -> str:
    """Field 1 of SavedSliceMeta and SavedSlice."""
    return b"".join(_messages(message, 1)).decode("utf-8", "replace")
