"""yt-dlp's session: requests are counted, begin and end in time, and leave a copy of what the player API answers."""

from __future__ import annotations

import math
import time
from typing import Any, Final
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from audioset_batch.adapters.fsclock import boot_time
from audioset_batch.adapters.player_answers import Exchange, client_of
from audioset_batch.adapters.streams import Traffic
from audioset_batch.errors import TooLate

PAGE_LIMIT: Final = 16 * 1024 * 1024
"""No page, player answer or script of YouTube's comes near this; more is a server that does not stop."""
_CHUNK: Final = 64 * 1024


class Log:
    """Collects yt-dlp's warnings: why no client has answered is said nowhere else."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str, *, once: bool = False) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None: ...


class _Body:
    """An answer's body with an end, in time and in bytes.

    Hands out what has come instead of waiting for all that was asked for, so that a server that drips is noticed.
    """

    def __init__(self, body: Any, deadline: float, most: int, exchange: Exchange | None) -> None:
        self._body = body
        self._deadline = deadline
        self._most = self._left = most
        self._exchange = exchange

    def read(self, amount: int | None = None, **options: Any) -> bytes:
        if amount is not None:
            return self._some(amount, options)
        return b"".join(iter(lambda: self._some(_CHUNK, options), b""))

    def _some(self, amount: int, options: dict[str, Any]) -> bytes:
        try:
            _check_deadline(self._deadline)
            data: bytes = getattr(self._body, "read1", self._body.read)(amount, **options)
        except Exception as error:
            if self._exchange is not None:
                self._exchange.failure = str(error) or type(error).__name__
            raise
        self._left -= len(data)
        if self._left < 0:
            raise TransportError(f"the answer has more than {self._most} bytes")
        if self._exchange is not None:
            self._exchange.body += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _check_deadline(deadline: float) -> float:
    """Seconds left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TransportError("timed out: worker.segment_timeout has passed")
    return left


class Session(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """A `YoutubeDL` with counted requests that begin and end in time; everything else is yt-dlp's own.

    Attributes:
        traffic: The counters.
        exchanges: Requests to the player API, for pages with a player answer in them and for manifests, until cleared.
        start_by: A time of `boot_time` after which the next request is not made; it holds for that one alone.
        deadline: A time of `time.monotonic` after which every request fails.
        most: Bytes of the longest answer that is read.
    """

    traffic: Traffic
    exchanges: list[Exchange]
    start_by: float = math.inf
    deadline: float = math.inf
    most: int = PAGE_LIMIT

    def urlopen(self, req: Any) -> Any:
        left = _check_deadline(self.deadline)
        # Looked at here and no sooner: yt-dlp's way to its first request is long, the first time above all.
        if boot_time() > self.start_by:
            raise TooLate("the time for this resolve has passed")
        self.start_by = math.inf
        self.traffic.requests += 1
        if isinstance(req, str):
            req = Request(req)
        exchange = None
        if isinstance(req, Request):
            longest = float(req.extensions.get("timeout") or self.params["socket_timeout"])
            req.extensions["timeout"] = min(longest, left)
            exchange = _exchange(req)
        if exchange is not None:
            self.exchanges.append(exchange)
        try:
            response = super().urlopen(req)
        except RequestError as error:
            if exchange is not None:
                exchange.status = error.status if isinstance(error, HTTPError) else None
                exchange.failure = str(error)
            raise
        if exchange is not None:
            exchange.status = response.status
        response.fp = _Body(response.fp, self.deadline, self.most, exchange)
        return response


def _exchange(request: Any) -> Exchange | None:
    """Where a copy of the answer goes; None for a request that decides nothing."""
    url = urlsplit(request.url)
    if url.path == "/watch":
        return Exchange("WEB", page=True)
    if url.path.startswith("/api/manifest/"):  # fetched only where nothing else can be taken
        return Exchange("the manifest", page=True)
    if not url.path.endswith("/youtubei/v1/player"):
        return None
    return Exchange(client_of(request.data))
