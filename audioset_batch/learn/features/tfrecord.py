"""TFRecord framing: reading and writing, both checksums of every record checked.

Per record, little-endian: uint64 length | uint32 masked CRC32C of those 8 bytes | payload | uint32 masked
CRC32C of the payload. Format and mask are those of TensorFlow's `record_writer.h`. Files that TensorFlow wrote
with GZIP or ZLIB compression are read too; offsets are then those of the decompressed bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn import INSTALL_EXTRA
from audioset_batch.learn.features.compressed import DecompressingReader, Readable, is_compressed

MAX_RECORD_BYTES: Final = 64 << 20
"""A record that claims to be longer is damage; released records are about 1.5 KB."""

_CHUNK: Final = 4 << 20
_HEADER: Final = struct.Struct("<QI")
_CRC: Final = struct.Struct("<I")
_KNOWN_HEADERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where a file is not what it should be.

    Attributes:
        source: The file; for a member of an archive `archive:member`.
        offset: Byte at which the damaged record starts in that file or member.
        what: What was expected and what was found.
        truncated: Everything after this place is missing too, nobody knows how much.
        split: Split of the shard, if known; empty for damage of the archive itself.
    """

    source: str
    offset: int
    what: str
    truncated: bool = False
    split: str = ""

    def __str__(self) -> str:
        return f"{self.source}: byte {self.offset:,}: {self.what}"


class DamagedRecord(InputRefused):
    """A record could not be read and nobody asked to skip it."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"{damage}; fetch the file again, or leave out what is damaged with --skip-bad (Python: on_bad=)"
        )
        self.damage = damage


OnBad = Callable[[Damage], None]
"""Called for every damaged record that is then skipped."""


def raise_damage(damage: Damage) -> None:
    """The `OnBad` that skips nothing."""
    raise DamagedRecord(damage)


def load_crc32c() -> Callable[[bytes], int]:
    """The CRC32C function of the package `crc32c`.

    Raises:
        UsageError: The package is not installed.
    """
    try:
        from crc32c import crc32c
    except ImportError as error:
        raise UsageError(f"features need the package crc32c, which is not installed: {INSTALL_EXTRA}") from error
    function: Callable[[bytes], int] = crc32c
    return function


def mask_crc(crc: int) -> int:
    """CRC32C as it is stored: rotated right by 15 bits plus a constant, modulo 2^32."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class _Window:
    """The part of a stream that is in memory; `base + position` is the offset in the file."""

    __slots__ = ("_stream", "base", "data", "position")

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.data = b""
        self.position = 0
        self.base = 0

    def holds(self, count: int) -> bool:
        """True if `count` bytes from `position` on are in memory, after reading as much as it takes."""
        while len(self.data) - self.position < count:
            more = self._stream.read(max(_CHUNK, count))
            if not more:
                return False
            self.data = self.data[self.position :] + more
            self.base += self.position
            self.position = 0
        return True

    @property
    def offset(self) -> int:
        return self.base + self.position


def iter_payloads(stream: Readable, source: str, on_bad: OnBad = raise_damage) -> Iterator[tuple[int, bytes]]:
    """Yield (offset of the record, payload) for every record with correct checksums.

    Damage goes to `on_bad`. If that returns, reading goes on: after a wrong payload with the next record,
    after a wrong header at the next place where a header with a correct checksum stands.

    Raises:
        DamagedRecord: From the default `on_bad`.
    """
    crc32c = load_crc32c()
    window = _Window(stream)
    try:
        if window.holds(12) and not starts_with_record(window.data) and is_compressed(window.data):
            window = _Window(DecompressingReader(stream, window.data))
        yield from _payloads(window, source, on_bad, crc32c)
    except (EOFError, zlib.error) as error:
        problem = f"the compressed stream is truncated or damaged: {error}"
        on_bad(Damage(source, window.offset, problem, truncated=True))


def starts_with_record(head: bytes) -> bool:
    """True if `head` begins with a record header whose checksum is right."""
    return len(head) >= _HEADER.size and _check_header(head[: _HEADER.size], load_crc32c()) is None


def _payloads(
    window: _Window, source: str, on_bad: OnBad, crc32c: Callable[[bytes], int]
) -> Iterator[tuple[int, bytes]]:
    # Equal header bytes have an equal checksum, and lengths repeat: each is verified once.
    verified: dict[bytes, int] = {}
    while window.holds(12):
        header = window.data[window.position : window.position + 12]
        length = verified.get(header)
        if length is None:
            problem = _check_header(header, crc32c)
            if problem is not None:
                offset, last = window.offset, _is_last_record(window, crc32c)
                found = _seek_header(window, crc32c)
                on_bad(Damage(source, offset, problem, truncated=not (found or last)))
                if not found:
                    return
                continue
            length = _HEADER.unpack(header)[0]
            if len(verified) < _KNOWN_HEADERS:
                verified[header] = length
        if not window.holds(length + 16):
            left = len(window.data) - window.position
            problem = f"expected a record of {length + 16} bytes, the file ends after {left}"
            on_bad(Damage(source, window.offset, problem, truncated=True))
            return
        first = window.position + 12
        payload = window.data[first : first + length]
        stored = _CRC.unpack_from(window.data, first + length)[0]
        # The mask is undone in one line here: calling mask_crc costs more than the checksum.
        crc = crc32c(payload)
        if (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF == stored:
            yield window.offset, payload
        else:
            problem = f"wrong payload checksum: stored {stored:#010x}, computed {mask_crc(crc):#010x}"
            on_bad(Damage(source, window.offset, problem))
        window.position = first + length + 4
    left = len(window.data) - window.position
    if left:
        problem = f"expected a record header of 12 bytes, the file ends after {left}"
        on_bad(Damage(source, window.offset, problem, truncated=True))


def _check_header(header: bytes, crc32c: Callable[[bytes], int]) -> str | None:
    length, stored = _HEADER.unpack(header)
    computed = mask_crc(crc32c(header[:8]))
    if stored != computed:
        return f"wrong length checksum: stored {stored:#010x}, computed {computed:#010x}"
    if length > MAX_RECORD_BYTES:
        return f"expected a record of at most {MAX_RECORD_BYTES} bytes, its header says {length}"
    return None


def _is_last_record(window: _Window, crc32c: Callable[[bytes], int]) -> bool:
    """True if what is left is one record with an intact payload, so that no other is lost with its header."""
    if window.holds(_CHUNK):
        return False
    left = window.data[window.position :]
    return len(left) >= 16 and mask_crc(crc32c(left[12:-4])) == _CRC.unpack(left[-4:])[0]


def _seek_header(window: _Window, crc32c: Callable[[bytes], int]) -> bool:
    """Move to the next place that passes `_check_header`; False at the end of the file."""
    window.position += 1
    while window.holds(12):
        # The upper half of the length is zero in every record that could be accepted.
        found = window.data.find(b"\0\0\0\0", window.position + 4)
        if found < 0:
            window.position = max(window.position + 1, len(window.data) - 11)
            continue
        window.position = found - 4
        if not window.holds(12):
            return False
        if _check_header(window.data[window.position : window.position + 12], crc32c) is None:
            return True
        window.position += 1
    return False


class RecordWriter:
    """Writes payloads with TFRecord framing to a binary file, which stays open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._crc32c = load_crc32c()

    def write(self, payload: bytes) -> None:
        """Append one record.

        Raises:
            OSError: As the stream's `write` does.
        """
        length = struct.pack("<Q", len(payload))
        self._stream.write(
            b"".join(
                (
                    length,
                    _CRC.pack(mask_crc(self._crc32c(length))),
                    payload,
                    _CRC.pack(mask_crc(self._crc32c(payload))),
                )
            )
        )
