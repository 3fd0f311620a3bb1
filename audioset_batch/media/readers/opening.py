"""Open a stream: choose a reader by the first bytes, and fall back on FFmpeg's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from audioset_batch.errors import SegmentTransient
from audioset_batch.media.readers.demux import Media, UnexpectedLayout
from audioset_batch.media.readers.hls import SegmentedSource
from audioset_batch.media.readers.mp4 import first_request as mp4_first_request
from audioset_batch.media.readers.mp4 import open_mp4
from audioset_batch.media.readers.source import ByteSource, RangeReader, StreamHint
from audioset_batch.media.readers.webm import open_webm
from audioset_batch.media.readers.webm_header import first_request as webm_first_request
from audioset_batch.reasons import Reason

_log: Final = logging.getLogger(__name__)

T = TypeVar("T")

_SMALL_FILE: Final = 24 << 10
_MAGIC: Final = 16


def with_media(source: ByteSource, hint: StreamHint, use: Callable[[Media], T]) -> T:
    """Open `source` and call `use` with it; once more with FFmpeg's reader if the fast one does not know the layout.

    Raises:
        SegmentTransient: `truncated` for an empty stream; `decode_error` if it is no media, or damaged.
    """
    if isinstance(source, SegmentedSource):
        try:
            return use(source.media())
        except UnexpectedLayout as error:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{source.url_label}: {error}") from error
    reader = RangeReader(source)
    kind = _sniff(reader, hint)
    try:
        return use(open_mp4(reader) if kind == "mp4" else open_webm(reader))
    except UnexpectedLayout as error:
        _log.info("%s: %s; FFmpeg reads it instead", source.url_label, error)
        first = error
    from audioset_batch.media.readers.generic import GenericMedia

    try:
        return use(GenericMedia(reader, "mov" if kind == "mp4" else "matroska"))
    except UnexpectedLayout as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{source.url_label}: {_both(first, error)}") from error


def _both(first: Exception, second: Exception) -> str:
    """Join the errors of two readers; the second alone if it repeats the first."""
    return str(second) if str(second).startswith(str(first)) else f"{first}; {second}"


def _sniff(reader: RangeReader, hint: StreamHint) -> str:
    first = max(mp4_first_request(hint), webm_first_request(hint))
    if hint.content_length is not None and hint.content_length <= max(_SMALL_FILE, first):
        first = max(hint.content_length, _MAGIC)
    head = reader.read_range(0, first)[:64]
    if not head:
        raise SegmentTransient(Reason.TRUNCATED, f"{reader.label}: the stream is empty")
    if head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"sidx"):
        return "mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "webm"
    if head.lstrip()[:1] == b"<":
        raise SegmentTransient(Reason.DECODE_ERROR, f"{reader.label}: got a web page, not media: {head[:40]!r}")
    raise SegmentTransient(Reason.DECODE_ERROR, f"{reader.label}: not media that is known: {head[:16]!r}")
