"""Read bounded byte ranges of a stream, and check the server's answer against the request.

YouTube throttles open-ended reads of long videos, but not bounded ranges. A server may lie about sizes or ignore
`Range` (RFC 9110, section 14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final, Protocol

from audioset_batch.errors import SegmentTransient
from audioset_batch.reasons import Reason
from audioset_batch.youtube.streams import Stream, Traffic

_CHUNK: Final = 64 * 1024
_SKIP_LIMIT: Final = 8 * 1024 * 1024
"""If a server ignores `Range`, at most so many bytes are skipped to reach the start of the range."""
_SEGMENT_LIMIT: Final = 16 * 1024 * 1024
"""Limit for one segment or playlist of HLS; real ones are far smaller."""


class Answer(Protocol):
    """An HTTP response whose errors are translated to `SegmentTransient`."""

    status: int
    headers: Any

    def read(self, amount: int) -> bytes:
        """Up to `amount` bytes; b"" at the end."""
        ...


Ask = Callable[[Mapping[str, str]], AbstractContextManager[Answer]]
"""Sends a GET with these headers. Returns an answer with status 416 as well; other errors are raised, translated."""


def label_of(stream: Stream) -> str:
    """The name of a stream in messages."""
    return f"format {stream.format_id}"


class RangedStream:
    """A stream as the `ByteSource` that the media package reads.

    Args:
        ask: Sends one request for the stream's URL.
        stream: The resolved stream.
        traffic: Counter of requests and bytes.
        max_bytes: Limit for all reads together.

    Attributes:
        size: Bytes of the whole stream, as the server says, else as announced, else None.
        max_bytes: As above.
        url_label: Name of the stream in messages.
    """

    def __init__(self, ask: Ask, stream: Stream, traffic: Traffic, max_bytes: int) -> None:
        self._ask = ask
        self._stream = stream
        self._traffic = traffic
        self._left = max_bytes
        self.max_bytes = max_bytes
        self.size = stream.size
        self.url_label = label_of(stream)

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) with one request; fewer only at the end of the stream.

        Raises:
            EgressBlocked: 429.
            SegmentTransient: the connection, the server or the byte cap ended it; with the reason.
        """
        if stop <= start:
            return b""
        if stop - start > self._left:
            raise self._bad(
                Reason.DECODE_ERROR, f"the clip wants more than worker.max_clip_bytes ({self.max_bytes} bytes)"
            )
        headers = {**self._stream.headers, "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        self._traffic.media_requests += 1
        with self._ask(headers) as answer:
            return b"" if answer.status == 416 else self._body(answer, start, stop)

    def _body(self, answer: Answer, start: int, stop: int) -> bytes:
        content_type = str(answer.headers.get("Content-Type") or "")
        if content_type.startswith(("text/", "application/json")):
            raise self._bad(Reason.HTTP_ERROR, f"got {content_type}, expected media")
        skip = 0
        if answer.status == 206:
            first, total = _content_range(answer.headers.get("Content-Range"))
            if first is not None and first != start:
                raise self._bad(Reason.HTTP_ERROR, f"asked for byte {start}, the server sent byte {first}")
            self.size = total if total is not None else self.size
        else:  # the server ignores Range and sends everything
            length = answer.headers.get("Content-Length")
            self.size = int(length) if length and length.isdigit() else self.size
            skip = start
            if skip > _SKIP_LIMIT:
                raise self._bad(Reason.HTTP_ERROR, "the server ignores Range requests")
        expected = stop if self.size is None else min(stop, max(self.size, start))
        body = self._read(answer, skip, expected - start)
        announced = self._stream.size
        if not body and (start == 0 or (announced is not None and start < announced)):
            raise self._bad(Reason.TRUNCATED, f"an empty answer for byte {start}")
        if len(body) < expected - start and self.size is not None:
            raise self._bad(Reason.TRUNCATED, f"got {len(body)} of {expected - start} bytes from byte {start}")
        return body

    def _read(self, answer: Answer, skip: int, length: int) -> bytes:
        parts: list[bytes] = []
        wanted = skip + length
        while wanted > 0:
            chunk = answer.read(min(_CHUNK, wanted))
            if not chunk:
                break
            wanted -= len(chunk)
            self._left -= len(chunk)
            self._traffic.media_bytes += len(chunk)
            parts.append(chunk)
        return b"".join(parts)[skip:]

    def _bad(self, reason: Reason, what: str) -> SegmentTransient:
        return SegmentTransient(reason, f"{self.url_label}: {what}")


class AskFor(Protocol):
    """As `Ask`, for any URL."""

    def __call__(self, headers: Mapping[str, str], url: str) -> AbstractContextManager[Answer]: ...


class SegmentFetcher:
    """Fetches an HLS playlist and its segments; passed to the media package as its `Fetch`.

    Args:
        ask: Sends one request.
        stream: The resolved stream; its URL is the playlist's.
        traffic: Counter of requests and bytes.
        max_bytes: Limit for all reads together.
    """

    def __init__(self, ask: AskFor, stream: Stream, traffic: Traffic, max_bytes: int) -> None:
        self._ask = ask
        self._stream = stream
        self._traffic = traffic
        self._left = max_bytes

    def __call__(self, url: str, span: tuple[int, int] | None) -> bytes:
        """Fetch the bytes of `span`, or all of them if it is None.

        Raises:
            EgressBlocked: 429.
            SegmentTransient: the connection, the server or the byte cap ended it; with the reason.
        """
        if url == self._stream.url:
            data = self._playlist()
        else:
            part = replace(self._stream, url=url, size=None)
            most = min(self._left, _SEGMENT_LIMIT)
            ranged = RangedStream(lambda headers: self._ask(headers, url), part, self._traffic, most)
            data = ranged.read(*(span or (0, most)))
        self._left -= len(data)
        return data

    def _playlist(self) -> bytes:
        self._traffic.media_requests += 1
        data = bytearray()
        with self._ask({**self._stream.headers, "Accept-Encoding": "identity"}, self._stream.url) as answer:
            while chunk := answer.read(_CHUNK):
                data += chunk
                if len(data) > min(self._left, _SEGMENT_LIMIT):
                    raise SegmentTransient(Reason.DECODE_ERROR, f"{label_of(self._stream)}: an endless playlist")
        self._traffic.media_bytes += len(data)
        return bytes(data)


def _content_range(header: str | None) -> tuple[int | None, int | None]:
    """Parse `Content-Range`: `bytes 0-99/1234` -> (0, 1234); None for missing values."""
    unit, _, rest = (header or "").strip().partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return None, None
    return int(first), int(total) if total.isdigit() else None
