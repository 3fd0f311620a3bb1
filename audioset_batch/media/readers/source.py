"""Sources of a stream's bytes, and a reader over them that caches and limits what it fetches."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Final, Protocol

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.readers.demux import UnexpectedLayout
from audioset_batch.reasons import Reason

_MAX_CACHED_BYTES: Final = 32 << 20


class ByteSource(Protocol):
    """A file, usually remote, that is read by byte ranges."""

    @property
    def url_label(self) -> str:
        """Name of the stream in messages; contains no secrets."""

    @property
    def size(self) -> int | None:
        """Size of the whole file in bytes, once known."""

    @property
    def max_bytes(self) -> int:
        """Most bytes that may be read for one clip."""

    def read(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop); fewer only at the end of the file. One request."""


@dataclass(frozen=True, slots=True)
class StreamHint:
    """What is known of a stream in advance. It only decides the size of the first request, so it may be wrong.

    Attributes:
        duration_seconds: Approximate duration, or None.
        content_length: Size of the file in bytes, or None.
        has_audio, has_video: Expected kinds of track. A stream with both is assumed to be a progressive file with a
            long index.
    """

    duration_seconds: float | None = None
    content_length: int | None = None
    has_audio: bool = True
    has_video: bool = False


class RangeReader:
    """Caches what was read from a `ByteSource`, fetches only what is missing, and enforces its `max_bytes`."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.label = source.url_label
        self._left = source.max_bytes
        self._starts: list[int] = []  # starts of the spans, sorted; spans never overlap
        self._spans: dict[int, bytes] = {}
        self._end: int | None = None  # where the file turned out to end

    @property
    def size(self) -> int | None:
        """Size of the file in bytes, if known."""
        return self.source.size if self._end is None else self._end

    def read_exactly(self, start: int, stop: int) -> bytes:
        """Exactly the bytes [start, stop).

        Raises:
            SegmentTransient: `truncated` if the file ends before `stop`; `decode_error` if `max_bytes` is exceeded.
        """
        data = self.read_range(start, stop)
        if len(data) < stop - start:
            raise SegmentTransient(
                Reason.TRUNCATED,
                f"{self.label}: expected bytes {start}-{stop}, but the stream ended at {start + len(data)}",
            )
        return data

    def read_range(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), fewer if the file ends before `stop`; missing parts are fetched.

        Raises:
            SegmentTransient: `truncated` if the file ends before its announced size; `decode_error` if `max_bytes` is
                exceeded.
            UnexpectedLayout: the range is invalid, as from a damaged index.
        """
        if start < 0 or stop < start:
            raise UnexpectedLayout(f"an index that asks for bytes {start} to {stop}")
        parts: list[bytes] = []
        at = start
        while at < stop and (self._end is None or at < self._end):
            index = bisect_right(self._starts, at) - 1
            if index >= 0:
                begin = self._starts[index]
                span = self._spans[begin]
                if at < begin + len(span):
                    parts.append(span if (at, stop) == (begin, begin + len(span)) else span[at - begin : stop - begin])
                    at += len(parts[-1])
                    continue
            upper = self._starts[index + 1] if index + 1 < len(self._starts) else stop
            self._fetch(at, min(stop, upper))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def has(self, start: int, stop: int) -> bool:
        """True if all of [start, stop) is cached."""
        at = start
        while at < stop:
            index = bisect_right(self._starts, at) - 1
            if index < 0 or at >= (end := self._starts[index] + len(self._spans[self._starts[index]])):
                return False
            at = end
        return True

    def clear(self) -> None:
        """Drop the cache, for sequential readers that keep a window of their own."""
        self._starts.clear()
        self._spans.clear()

    def _fetch(self, start: int, stop: int) -> None:
        if stop - start > self._left:
            raise SegmentTransient(
                Reason.DECODE_ERROR,
                f"{self.label}: bytes {start}-{stop} would exceed the cap of {self.source.max_bytes} bytes per clip",
            )
        data = self.source.read(start, stop)
        if len(data) > stop - start:
            raise SegmentTransient(
                Reason.HTTP_ERROR,
                f"{self.label}: asked for {stop - start} bytes at {start}, got {len(data)}: range ignored",
            )
        self._left -= len(data)
        if data:
            insort(self._starts, start)
            self._spans[start] = data
        if len(data) < stop - start:
            self._end = start + len(data)
            claimed = self.source.size
            if claimed is not None and self._end < min(stop, claimed):
                raise SegmentTransient(
                    Reason.TRUNCATED,
                    f"{self.label}: {len(data)} of {stop - start} bytes at {start} came, of {claimed} in the file",
                )


class CachingSource:
    """A `ByteSource` for several readers in turn: what one of them has fetched is not fetched again."""

    def __init__(self, source: ByteSource) -> None:
        self._reader = RangeReader(source)
        self.max_bytes = source.max_bytes
        self._kept = 0

    @property
    def url_label(self) -> str:
        return self._reader.label

    @property
    def size(self) -> int | None:
        return self._reader.size

    def read(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop) with one request for each missing part. Raises what `RangeReader.read_range` raises."""
        if not self._reader.has(start, stop):
            if self._kept > _MAX_CACHED_BYTES:  # longer than any index or clip: a sequential read
                self._reader.clear()
                self._kept = 0
            self._kept += stop - start
        return self._reader.read_range(start, stop)
