"""Sending a body or a range of it, and everything that can go wrong with that."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from audioset_batch.standin.faults import Fault, Trouble
from audioset_batch.standin.wire import HangUp, answer, head

_CHUNK: Final = 256 * 1024
_SLOW_CHUNKS_A_SECOND: Final = 10
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)$")
_EIGHT_GIGABYTES: Final = 8 << 30
SIGN_IN_PAGE: Final = b"<!DOCTYPE html><html><body>Please sign in to this network.</body></html>"
_WEBM_MAGIC: Final = b"\x1a\x45\xdf\xa3"
_HUGE_MP4: Final = b"\0\0\0\x18ftypdash\0\0\0\0iso6mp41" + (3 << 30).to_bytes(4, "big") + b"moov"
"""After the file type, a `moov` box of 3 GiB."""
_HUGE_WEBM: Final = (
    bytes.fromhex("1a45dfa3 9f 4286 81 01 42f7 81 01 42f2 81 04 42f3 81 08 4282 84 7765626d 4287 81 04 4285 81 02")
    + bytes.fromhex("18538067 01ffffffffffffff 1c53bb6b 01")
    + (3 << 30).to_bytes(7, "big")
)
"""After the EBML header, a segment whose first element is 3 GiB of cues."""

_STATUS: Final = {
    Trouble.SERVER_ERROR: 503,
    Trouble.FORBIDDEN: 403,
    Trouble.NOT_FOUND: 404,
    Trouble.TOO_MANY: 429,
}

Sleep = Callable[[float], None]


class Body(Protocol):
    """What an answer carries."""

    content_type: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """These bytes, all of them."""
        ...


class Text:
    """A body in memory."""

    def __init__(self, data: bytes, content_type: str) -> None:
        self._data = data
        self.content_type = content_type
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """See `Body`."""
        return self._data[offset : offset + length]


class OpenFile:
    """A body on disk, read without moving the descriptor's position."""

    def __init__(self, descriptor: int, content_type: str) -> None:
        self._descriptor = descriptor
        self.content_type = content_type
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `Body`."""
        return os.pread(self._descriptor, length, offset)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as asked for, both ends inclusive; `end` None: to the end of the file."""

    start: int
    end: int | None

    @classmethod
    def parse(cls, header: str | None) -> ByteRange | None:
        """From a `Range` header; one that cannot be read counts as absent, as RFC 9110 says."""
        match = _RANGE.match(header or "")
        if match is None:
            return None
        return cls(int(match[1]), int(match[2]) if match[2] else None)


class Outlet:
    """Writes answers, headers together with the body's first piece, and counts the body's bytes."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._pending = b""
        self.bytes = 0
        self.status = 0

    def head(self, status: int, headers: dict[str, str | int]) -> None:
        """Begin an answer."""
        self.status = status
        self._pending = head(status, headers)

    def body(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._send(self._pending + data if self._pending else data)
        self._pending = b""
        self.bytes += len(data)

    def whole(self, status: int, content_type: str, data: bytes, headers: dict[str, str | int] | None = None) -> None:
        """Send an answer in one piece."""
        self.status = status
        self._send(answer(status, content_type, data, headers))
        self.bytes += len(data)

    def flush(self) -> None:
        """Send headers that still wait for a body."""
        if self._pending:
            self._send(self._pending)
            self._pending = b""


def deliver(
    out: Outlet, body: Body, span: ByteRange | None, *, fault: Fault | None, location: str, status: int, sleep: Sleep
) -> None:
    """Answer with a body, or the range of it, as the fault has it.

    Args:
        out: Where the answer goes.
        body: The right body.
        span: The range asked for; None for all.
        fault: What goes wrong, if anything.
        location: Where a redirect loop leads: this URL.
        status: Of the answer where it is neither partial nor struck by the fault.
        sleep: Waits; ends early when the stand-in stops.

    Raises:
        HangUp: the connection cannot be used again.
    """
    if fault is not None and _instead(out, fault, location, sleep):
        return
    trouble = None if fault is None else fault.trouble
    if trouble is Trouble.IGNORE_RANGE:
        span = None
    if span is not None and span.start >= body.size:
        out.whole(416, "text/plain", b"", {"Content-Range": f"bytes */{body.size}"})
        return
    first = 0 if span is None else span.start
    last = body.size - 1 if span is None or span.end is None else min(span.end, body.size - 1)
    length = last - first + 1
    promised, total = length, body.size
    if trouble is Trouble.WRONG_LENGTH:
        promised = 2 * length
    elif trouble is Trouble.HUGE_LENGTH:
        promised = total = _EIGHT_GIGABYTES
    headers: dict[str, str | int] = {"Content-Type": body.content_type, "Content-Length": promised}
    if span is not None:
        headers["Content-Range"] = f"bytes {first}-{first + promised - 1}/{total}"
    out.head(status if span is None else 206, headers)
    if fault is None:
        _send(out, body, first, length)
    else:
        _send_troubled(out, body, first, length, fault, sleep)
    out.flush()


def _send(out: Outlet, body: Body, first: int, length: int) -> None:
    for offset in range(first, first + length, _CHUNK):
        out.body(body.read(offset, min(_CHUNK, first + length - offset)))


def _send_troubled(out: Outlet, body: Body, first: int, length: int, fault: Fault, sleep: Sleep) -> None:
    after = length // 2 if fault.after_bytes is None else min(fault.after_bytes, length)
    match fault.trouble:
        case Trouble.GARBAGE:
            noise = random.Random(f"{fault.ytid}:{first}")
            for offset in range(0, length, _CHUNK):
                out.body(noise.randbytes(min(_CHUNK, length - offset)))
        case Trouble.SLOW:
            step = max(1, fault.bytes_per_second // _SLOW_CHUNKS_A_SECOND)
            for offset in range(first, first + length, step):
                _send(out, body, offset, min(step, first + length - offset))
                sleep(1 / _SLOW_CHUNKS_A_SECOND)
        case Trouble.TRUNCATE | Trouble.RESET | Trouble.STALL:
            _send(out, body, first, after)
            out.flush()
            if fault.trouble is Trouble.STALL:
                sleep(fault.seconds)
            raise HangUp(reset=fault.trouble is Trouble.RESET)
        case Trouble.WRONG_LENGTH | Trouble.HUGE_LENGTH:
            _send(out, body, first, length)
            if fault.trouble is Trouble.HUGE_LENGTH:
                sleep(fault.seconds)
            raise HangUp
        case Trouble.HUGE_HEADER:
            lie = (_HUGE_WEBM if body.read(0, 4) == _WEBM_MAGIC else _HUGE_MP4)[first : first + length]
            out.body(lie)
            _send(out, body, first + len(lie), length - len(lie))
        case _:
            _send(out, body, first, length)


def _instead(out: Outlet, fault: Fault, location: str, sleep: Sleep) -> bool:
    """Answers that have nothing of the body in them; False if the fault is not of that kind."""
    match fault.trouble:
        case Trouble.SERVER_ERROR | Trouble.FORBIDDEN | Trouble.NOT_FOUND | Trouble.TOO_MANY:
            out.whole(_STATUS[fault.trouble], "text/plain", b"")
        case Trouble.HTML:
            out.whole(200, "text/html", SIGN_IN_PAGE)
        case Trouble.EMPTY:
            out.whole(200, "application/octet-stream", b"")
        case Trouble.REDIRECT_LOOP:
            out.whole(302, "text/plain", b"", {"Location": location})
        case Trouble.RESET if fault.after_bytes is None:
            raise HangUp(reset=True)
        case Trouble.SILENT:
            sleep(fault.seconds)
            raise HangUp
        case Trouble.ENDLESS:
            out.head(200, {"Content-Type": "application/octet-stream", "Connection": "close"})
            while True:
                out.body(bytes(_CHUNK))
        case _:
            return False
    return True
