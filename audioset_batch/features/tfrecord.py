"""TFRecord framing: reading and writing, both checksums of every record checked.

Per record, little-endian: uint64 length | uint32 masked CRC32C of those 8 bytes | payload | uint32 masked
CRC32C of the payload. Format and mask are those of TensorFlow's `record_writer.h`; files are not compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from audioset_batch.errors import InputRefused, UsageError

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
    """

    source: str
    offset: int
    what: str

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


class Readable(Protocol):
    """The part of a binary file that is needed to read records."""

    def read(self, size: int, /) -> bytes: ...


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
        raise UsageError(
            "features need the package crc32c, which is not installed: pip install 'audioset-batch[learn]'"
        ) from error
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
    # Equal header bytes have an equal checksum, and lengths repeat: each is verified once.
    verified: dict[bytes, int] = {}
    while window.holds(12):
        header = window.data[window.position : window.position + 12]
        length = verified.get(header)
        if length is None:
            problem = _check_header(header, crc32c)
            if problem is not None:
                on_bad(Damage(source, window.offset, problem))
                if not _seek_header(window, crc32c):
                    return
                continue
            length = _HEADER.unpack(header)[0]
            if len(verified) < _KNOWN_HEADERS:
                verified[header] = length
        if not window.holds(length + 16):
            left = len(window.data) - window.position
            on_bad(
                Damage(
                    source,
                    window.offset,
                    f"expected a record of {length + 16} bytes, the file ends after {left}",
                )
            )
            return
        first = window.position + 12
        payload = window.data[first : first + length]
        stored = _CRC.unpack_from(window.data, first + length)[0]
        # The mask is undone in one line here: calling mask_crc costs more than the checksum.
        crc = crc32c(payload)
        if (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF == stored:
            yield window.offset, payload
        else:
            on_bad(
                Damage(
                    source,
                    window.offset,
                    f"wrong payload checksum: stored {stored:#010x}, computed {mask_crc(crc):#010x}",
                )
            )
        window.position = first + length + 4
    left = len(window.data) - window.position
    if left:
        on_bad(Damage(source, window.offset, f"expected a record header of 12 bytes, the file ends after {left}"))


def _check_header(header: bytes, crc32c: Callable[[bytes], int]) -> str | None:
    length, stored = _HEADER.unpack(header)
    computed = mask_crc(crc32c(header[:8]))
    if stored != computed:
        return f"wrong length checksum: stored {stored:#010x}, computed {computed:#010x}"
    if length > MAX_RECORD_BYTES:
        return f"expected a record of at most {MAX_RECORD_BYTES} bytes, its header says {length}"
    return None


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
