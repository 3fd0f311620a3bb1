"""The media and manifest hosts: files by ranges, HLS playlists and segments, all by signed URLs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from audioset_batch.standin import hls
from audioset_batch.standin.addresses import Address, Path, read_address
from audioset_batch.standin.catalog import Catalog, Lock, Video
from audioset_batch.standin.delivery import Body, ByteRange, Outlet, Text, deliver
from audioset_batch.standin.faults import Asked, Block, Fault, FaultBoard, Trouble, Where
from audioset_batch.standin.journal import Journal
from audioset_batch.standin.library import Library
from audioset_batch.standin.tracks import AudioTrack
from audioset_batch.standin.wire import Request


class MediaHost:
    """Answers requests for media that came in through an egress. Thread-safe.

    Args:
        catalog: The videos.
        library: Their files.
        board: What goes wrong.
        journal: Where it is written down.
        sleep: Waits; ends early when the stand-in stops.
    """

    def __init__(
        self, catalog: Catalog, library: Library, board: FaultBoard, journal: Journal, sleep: Callable[[float], None]
    ) -> None:
        self._catalog = catalog
        self._library = library
        self._board = board
        self._journal = journal
        self._sleep = sleep
        self._void_before = 0

    def expire_urls(self) -> None:
        """URLs given out so far are answered with 403 from now on."""
        self._void_before = time.time_ns()

    def handle(self, request: Request, host: str, egress: str, out: Outlet) -> None:
        """Answer one request.

        Raises:
            HangUp: the connection must be closed.
        """
        asked = read_address(request)
        if asked is None:
            out.whole(404, "text/plain", b"")
            self._journal.add("other", egress, host=host, path=request.path, status=out.status)
            return
        path, address = asked
        video = self._catalog.get(address.ytid)
        location = f"https://{host}{request.target}"
        if path is Path.FILE:
            self._file(request, address, video, egress, location, out)
        elif path is Path.SEGMENT:
            self._segment(address, video, egress, location, out)
        else:
            self._playlist(address, video, egress, location, out)

    def _file(self, request: Request, address: Address, video: Video, egress: str, location: str, out: Outlet) -> None:
        span = ByteRange.parse(request.headers.get("range"))
        lock = video.locks.get(address.itag)
        locked = lock in (Lock.N, Lock.CIPHER) or (lock is Lock.TOKEN and "pot" not in request.query)
        tracks = () if locked or address.itag not in video.playable_itags else video.tracks_of(address.itag)
        where = {"start": None if span is None else span.start, "end": None if span is None else span.end}
        with self._struck(Where.MEDIA, address, egress, out, itag=address.itag, **where) as fault:
            track = self._admit(address, video, egress, tracks, out)
            if track is not None:
                body = self._library.get(*_file_sent(video, address.itag, track[0], fault))
                deliver(out, body, span, fault=fault, location=location, status=200, sleep=self._sleep)

    def _playlist(self, address: Address, video: Video, egress: str, location: str, out: Outlet) -> None:
        tracks = hls.hls_tracks(video, address.itag) if address.itag else (None,)
        with self._struck(Where.MANIFEST, address, egress, out, itag=address.itag) as fault:
            track = self._admit(address, video, egress, tracks, out, early=True)
            if track is None:
                return
            if address.itag:
                text = hls.playlist(self._library.segments(video, address.itag, track[0]), address)
            else:
                text = hls.master(video, address)
            body = Text(text.encode(), hls.PLAYLIST_TYPE)
            deliver(out, body, None, fault=fault, location=location, status=200, sleep=self._sleep)

    def _segment(self, address: Address, video: Video, egress: str, location: str, out: Outlet) -> None:
        tracks = hls.hls_tracks(video, address.itag)
        with self._struck(Where.SEGMENT, address, egress, out, itag=address.itag, number=address.segment) as fault:
            track = self._admit(address, video, egress, tracks, out)
            if track is None:
                return
            segments = self._library.segments(video, address.itag, track[0])
            if address.segment >= len(segments):
                out.whole(404, "text/plain", b"")
                return
            one = segments[address.segment]
            file = self._library.get(video, address.itag, track[0])
            body: Body = Text(file.read(one.offset, one.length), file.content_type)
            deliver(out, body, None, fault=fault, location=location, status=200, sleep=self._sleep)

    def _admit(
        self,
        address: Address,
        video: Video,
        egress: str,
        tracks: tuple[AudioTrack | None, ...],
        out: Outlet,
        *,
        early: bool = False,
    ) -> tuple[AudioTrack | None] | None:
        """The track that a URL leads to, or None after a refusal; `early`: an ad need not have ended."""
        now = time.time()
        if self._board.blocked(egress) is Block.MEDIA_429:
            out.whole(429, "text/plain", b"")
            return None
        good = self._void_before <= address.signed and now <= address.expires and address.egress == egress
        if good and (early or now >= address.signed / 1e9 + video.ad_seconds):
            for track in tracks:
                if address.xtags == ("" if track is None else track.xtags):
                    return (track,)
        out.whole(403, "text/plain", b"")
        return None

    @contextmanager
    def _struck(
        self, where: Where, address: Address, egress: str, out: Outlet, **details: Any
    ) -> Iterator[Fault | None]:
        """The fault that a request meets; the request is written down at the end."""
        began, clock = time.time(), time.monotonic()
        fault = self._board.strike(Asked(where, egress, address.ytid, address.itag, address.issue))
        try:
            yield fault
        finally:
            self._journal.add(
                where.value,
                egress,
                time=began,
                ytid=address.ytid,
                **details,
                status=out.status,
                bytes=out.bytes,
                trouble=None if fault is None else fault.trouble,
                seconds=round(time.monotonic() - clock, 4),
            )


def _file_sent(
    video: Video, itag: int, track: AudioTrack | None, fault: Fault | None
) -> tuple[Video, int, AudioTrack | None]:
    """Whose file, in which format and of which track, goes out for a request of this one."""
    if fault is not None and fault.trouble is Trouble.NO_SOUND:
        return video, 134, None
    if fault is not None and fault.trouble is Trouble.SHORTER_VIDEO:
        return replace(video, seconds=5.0), itag, track
    return video, itag, track
