"""Reading gzip and zlib streams in large pieces, with their own checksums checked."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

_READ: Final = 1 << 17
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZLIB_DEFLATE: Final = b"\x78"


class Readable(Protocol):
    """The part of a binary file that is needed to read records."""

    def read(self, size: int, /) -> bytes: ...


def is_compressed(head: bytes) -> bool:
    """True if a stream that begins with `head` may be gzip (RFC 1952) or zlib (RFC 1950).

    An uncompressed TFRecord may begin with the same bytes, so check its header's checksum first.
    """
    return head.startswith(_GZIP_MAGIC) or (head[:1] == _ZLIB_DEFLATE and int.from_bytes(head[:2]) % 31 == 0)


class DecompressingReader:
    """Decompresses a gzip or zlib stream and checks the CRC and length in its trailer.

    `tarfile`'s own decompression checks neither, and takes the end of a truncated file for the end of the stream.

    Args:
        raw: The compressed stream.
        head: Bytes that have already been read from it.
    """

    def __init__(self, raw: Readable, head: bytes = b"") -> None:
        self._raw = raw
        self._input = head
        self._decompressor = _decompressor()

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end.

        Raises:
            EOFError: The file ends inside the compressed stream.
            zlib.error: Damaged, or a wrong checksum.
        """
        while True:
            if self._decompressor.eof:
                # Several streams may follow one another in a gzip file.
                self._input = self._decompressor.unused_data or self._raw.read(_READ)
                if not self._input.strip(b"\0"):
                    return b""
                self._decompressor = _decompressor()
            if not self._input:
                self._input = self._raw.read(_READ)
                if not self._input:
                    raise EOFError("the compressed stream does not end")
            output = self._decompressor.decompress(self._input, size)
            self._input = self._decompressor.unconsumed_tail
            if output:
                return output


def _decompressor() -> zlib._Decompress:
    # 32 detects gzip and zlib by their headers, 15 allows the largest window.
    return zlib.decompressobj(wbits=32 + 15)
