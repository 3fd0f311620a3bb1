"""Which host and path is answered with what."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any, Final

from audioset_batch.standin import answers, pages
from audioset_batch.standin.addresses import Address
from audioset_batch.standin.catalog import Catalog, Video
from audioset_batch.standin.delivery import Outlet, Text, deliver
from audioset_batch.standin.drift import drifted
from audioset_batch.standin.faults import Asked, Block, FaultBoard, Where
from audioset_batch.standin.journal import Journal
from audioset_batch.standin.library import Library
from audioset_batch.standin.mediahost import MediaHost
from audioset_batch.standin.outcomes import BLOCK_SAYINGS
from audioset_batch.standin.tracks import AudioTrack
from audioset_batch.standin.wire import HangUp, Request

HOSTS: Final = ("youtube.com", "googlevideo.com", "ytimg.com", "youtube-nocookie.com")
"""These and their subdomains are answered; nothing else is, and nothing is passed on."""

_NEXT: Final = b'{"contents": {"twoColumnWatchNextResults": {}}}'
_URL_SECONDS: Final = 21_600
_HTML: Final = "text/html; charset=utf-8"
_JPEG: Final = base64.b64decode(
    "/9j//gAQTGF2YzYyLjI4LjEwMgD/2wBDAAgEBAQEBAUFBQUFBQYGBgYGBgYGBgYGBgYHBwcICAgHBwcGBgcHCAgICAkJCQgICAgJCQoKCgwMCwsODg4R"
    "ERT/xABKAAEAAAAAAAAAAAAAAAAAAAAAAQEAAAAAAAAAAAAAAAAAAAAAEAEAAAAAAAAAAAAAAAAAAAAAEQEAAAAAAAAAAAAAAAAAAAAA/8AAEQgAEAAQ"
    "AwEiAAIRAAMRAP/aAAwDAQACEQMRAD8AAA//2Q=="
)
"""16 x 16 pixels of grey, for thumbnails."""
_SIZE: Final = _JPEG.index(b"\xff\xc0") + 5
_PLACEHOLDER: Final = _JPEG[:_SIZE] + b"\0\x5a\0\x78" + _JPEG[_SIZE + 4 : -5] + bytes(72) + b"\xff\xd9"
"""120 x 90 pixels of grey, 48 blocks of 12 zero bits: what is sent instead of a thumbnail that is gone."""


class Site:
    """Answers requests that came in through an egress. Thread-safe.

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
        self.board = board
        self._journal = journal
        self._sleep = sleep
        self._media = MediaHost(catalog, library, board, journal, sleep)

    def wait_for_end(self, over: Callable[[], bool]) -> None:
        """Wait until that is over, a minute at most; ends early when the stand-in stops."""
        for _ in range(600):
            if over():
                return
            self._sleep(0.1)

    def expire_urls(self) -> None:
        """Media URLs given out so far are answered with 403 from now on."""
        self._media.expire_urls()

    def handle(self, request: Request, host: str, egress: str, out: Outlet) -> None:
        """Answer one request.

        Raises:
            HangUp: the connection must be closed.
        """
        if delay := self.board.delay(egress):
            self._sleep(delay)
        path = request.path
        if host.endswith("googlevideo.com"):
            self._media.handle(request, host, egress, out)
        elif host.endswith("ytimg.com"):
            self._thumbnail(request, egress, out)
        elif path == "/watch":
            self._watch(request, egress, out)
        elif path == "/youtubei/v1/player":
            self._player(request, egress, out)
        elif path.startswith("/embed/"):
            self._page("embed", path.split("/")[2], egress, pages.embed(), out)
        elif path == "/iframe_api":
            self._other(request, host, egress, out, pages.iframe_api(), "text/javascript")
        elif path.startswith("/s/player/"):
            self._other(request, host, egress, out, pages.player_script(), "text/javascript")
        elif path == "/youtubei/v1/next":
            self._other(request, host, egress, out, _NEXT, "application/json")
        else:
            self._other(request, host, egress, out, None, "text/plain")

    def _watch(self, request: Request, egress: str, out: Outlet) -> None:
        ytid = request.query.get("v", "")
        issue, blocked = self._resolve(egress, ytid, "watch")
        answer = self._answer(ytid, "WEB", egress, issue, blocked)
        page = pages.watch(ytid, answer, kids=self._catalog.get(ytid).kids)
        self._page("watch", ytid, egress, page, out)

    def _page(self, kind: str, ytid: str, egress: str, page: bytes, out: Outlet) -> None:
        self._send(kind, Where.PAGE, ytid, egress, Text(page, _HTML), out)

    def _player(self, request: Request, egress: str, out: Outlet) -> None:
        try:
            asked = json.loads(request.body)
            ytid = str(asked["videoId"])
            client = str(asked["context"]["client"]["clientName"])
        except (ValueError, KeyError, TypeError):
            out.whole(400, "application/json", b'{"error": {"code": 400}}')
            return
        question = f"player {client}"
        issue, blocked = self._resolve(egress, ytid, question)
        if blocked is Block.PLAYER_429:
            out.whole(429, "application/json", b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}')
            self._journal.add("player", egress, ytid=ytid, status=429)
            return
        body = json.dumps(self._answer(ytid, client, egress, issue, blocked)).encode()
        self._send("player", Where.PLAYER, ytid, egress, Text(body, "application/json"), out, question)

    def _resolve(self, egress: str, ytid: str, question: str) -> tuple[int, Block | None]:
        issue, new = self._journal.begin(egress, ytid, question)
        blocked = self.board.spend(egress) if new else self.board.blocked(egress)
        if new:
            self._journal.add("resolve", egress, ytid=ytid, issue=issue, blocked=blocked)
        return issue, blocked

    def _answer(self, ytid: str, client: str, egress: str, issue: int, blocked: Block | None) -> dict[str, Any]:
        video = self._catalog.get(ytid) if blocked is not Block.OTHER_VIDEO else Video("stranger_id", itags=())
        address = Address(video.ytid, egress, issue, time.time_ns(), int(time.time()) + _URL_SECONDS)
        saying = None if blocked is None else BLOCK_SAYINGS.get(blocked)
        return answers.player(video, client, address, self._size, saying)

    def _size(self, video: Video, itag: int, track: AudioTrack | None) -> int:
        return self._library.get(video, itag, track).size

    def _send(
        self, kind: str, where: Where, ytid: str, egress: str, body: Text, out: Outlet, question: str | None = None
    ) -> None:
        fault = self.board.strike(Asked(where, egress, ytid))
        if fault is not None and where is Where.PLAYER:
            body = Text(drifted(body.read(0, body.size), fault.trouble), body.content_type)
        try:
            deliver(out, body, None, fault=fault, location="?again", status=200, sleep=self._sleep)
        except HangUp:
            self._journal.excuse(egress, ytid, question or kind)
            raise
        finally:
            if out.status >= 500:
                self._journal.excuse(egress, ytid, question or kind)
            self._journal.add(kind, egress, ytid=ytid, status=out.status)

    def _thumbnail(self, request: Request, egress: str, out: Outlet) -> None:
        parts = request.path.split("/")
        ytid = parts[2] if len(parts) > 2 and parts[1] in ("vi", "vi_webp") else ""
        fault = self.board.strike(Asked(Where.THUMBNAIL, egress, ytid))
        video = self._catalog.get(ytid)
        picture = _JPEG if video.has_thumbnail else _PLACEHOLDER
        status = 200 if video.has_thumbnail or video.placeholder else 404
        try:
            if request.method == "HEAD" and fault is None:
                out.head(status, {"Content-Type": "image/jpeg", "Content-Length": len(picture)})
                out.flush()
            else:
                body = Text(picture, "image/jpeg")
                deliver(out, body, None, fault=fault, location=request.target, status=status, sleep=self._sleep)
        finally:
            self._journal.add("thumbnail", egress, ytid=ytid, status=out.status)

    def _other(
        self, request: Request, host: str, egress: str, out: Outlet, body: bytes | None, content_type: str
    ) -> None:
        out.whole(404 if body is None else 200, content_type, body or b"")
        self._journal.add("other", egress, host=host, path=request.path, status=out.status)
