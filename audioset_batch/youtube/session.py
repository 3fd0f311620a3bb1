"""yt-dlp's HTTP session with limits: counts requests, enforces deadlines, and copies answers of the player API."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from audioset_batch.errors import SlotExpired
from audioset_batch.sharedfs.clock import boot_time
from audioset_batch.youtube.player_answers import Exchange, client_of
from audioset_batch.youtube.streams import RequestContext, Traffic

_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""No page, player answer, script or range that is asked for comes near this; more is a server that does not stop."""
_CHUNK: Final = 64 * 1024


class Log:
    """Collects yt-dlp's warnings, the only place that says why a client has not answered."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str, *, once: bool = False) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None: ...


class _Body:
    """A response body with a deadline and a size limit.

    Returns the bytes that have arrived instead of waiting for all that were asked for, so that the deadline also
    applies to a server that sends slowly.
    """

    def __init__(self, body: Any, context: RequestContext, exchange: Exchange | None) -> None:
        self._body = body
        self._context = context
        self._left = _MAX_ANSWER_BYTES
        self._exchange = exchange

    def read(self, amount: int | None = None, **options: Any) -> bytes:
        if amount is not None:
            return self._some(amount, options)
        return b"".join(iter(lambda: self._some(_CHUNK, options), b""))

    def _some(self, amount: int, options: dict[str, Any]) -> bytes:
        try:
            _seconds_left(self._context)
            data: bytes = getattr(self._body, "read1", self._body.read)(amount, **options)
        except Exception as error:
            if self._exchange is not None:
                self._exchange.failure = str(error) or type(error).__name__
            raise
        self._left -= len(data)
        if self._left < 0:
            raise TransportError(f"the answer has more than {_MAX_ANSWER_BYTES} bytes")
        if self._exchange is not None:
            self._exchange.body += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _seconds_left(context: RequestContext) -> float:
    left = context.deadline - time.monotonic()
    if left <= 0:
        raise TransportError("timed out: worker.segment_timeout has passed")
    return left


class Session(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """A `YoutubeDL` whose requests are counted and limited; everything else is unchanged.

    Args:
        params: Parameters of the `YoutubeDL`.
        traffic: Counter of the requests.

    Attributes:
        exchanges: Requests to the player API, for pages that contain a player answer, and for manifests, until cleared.
    """

    def __init__(self, params: dict[str, Any], traffic: Traffic) -> None:
        self.exchanges: list[Exchange] = []
        self._traffic = traffic
        self._context = RequestContext()
        super().__init__(params, auto_init=False)

    @contextlib.contextmanager
    def within(self, context: RequestContext) -> Iterator[None]:
        """Apply these limits to the requests that yt-dlp makes while resolving."""
        self._context = context
        try:
            yield
        finally:
            self._context = RequestContext()

    def urlopen(self, req: Any) -> Any:
        """Send a request of yt-dlp's own."""
        return self.send(req, self._context)

    def send(self, req: Any, context: RequestContext) -> Any:
        """Send a request within these limits.

        Raises:
            SlotExpired: the context's first request comes after its `start_by`.
            RequestError: of yt-dlp; also where the deadline has passed.
        """
        left = _seconds_left(context)
        # Checked here and no sooner: yt-dlp takes long to get to its first request, the first time above all.
        if boot_time() > context.start_by:
            raise SlotExpired("the time for this resolve has passed")
        context.start_by = math.inf
        self._traffic.requests += 1
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
        response.fp = _Body(response.fp, context, exchange)
        return response


def _exchange(request: Any) -> Exchange | None:
    """The record of a request whose answer matters; None for others."""
    url = urlsplit(request.url)
    if url.path == "/watch":
        return Exchange("WEB", page=True)
    if url.path.startswith("/api/manifest/"):  # fetched only if no other format can be used
        return Exchange("the manifest", page=True)
    if not url.path.endswith("/youtubei/v1/player"):
        return None
    return Exchange(client_of(request.data))
