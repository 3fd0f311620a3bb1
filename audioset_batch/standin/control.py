"""Switching the stand-in from another process: a small JSON service on 127.0.0.1, and its client."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

from audioset_batch.standin.catalog import Video
from audioset_batch.standin.faults import Block, Fault, Outage
from audioset_batch.standin.wire import STOP_POLL_SECONDS, BadRequest, answer, read_request

_TIMEOUT: Final = 600.0
"""Seconds a client waits: `prepare` may have to encode."""


Method = Callable[[dict[str, Any]], Any]
"""Takes the arguments of a call and returns what can be written as JSON."""


class ControlServer(socketserver.ThreadingTCPServer):
    """Answers `POST /<method>` with a JSON object of arguments; the answer is JSON too."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, methods: Mapping[str, Method], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.methods = methods
        self._thread = threading.Thread(
            target=self.serve_forever, args=(STOP_POLL_SECONDS,), name="standin-control", daemon=True
        )

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self.shutdown()
        self.server_close()


class _Handler(socketserver.BaseRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        connection: socket.socket = self.request
        with contextlib.suppress(OSError, BadRequest), connection.makefile("rb") as stream:
            request = read_request(stream)
            if request is None:
                return
            status, result = self._call(request.path.strip("/"), request.body)
            body = json.dumps(result).encode()
            connection.sendall(answer(status, "application/json", body, {"Connection": "close"}))

    def _call(self, name: str, body: bytes) -> tuple[int, Any]:
        method = self.server.methods.get(name)
        if method is None:
            return 404, f"no method {name!r}; there are {', '.join(self.server.methods)}"
        try:
            return 200, method(json.loads(body or b"{}"))
        except (ValueError, TypeError, KeyError) as error:
            return 400, f"{type(error).__name__}: {error}"


class ControlError(RuntimeError):
    """The stand-in refused a call, or is not there."""


class ControlClient:
    """The switches of a `Standin` in another process; methods as there."""

    def __init__(self, url: str) -> None:
        self._url = url
        # The client's own proxy variables must not lead it into the stand-in itself.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def describe(self) -> dict[str, Any]:
        """See `Standin.describe`."""
        found: dict[str, Any] = self._call("describe")
        return found

    def prepare(self) -> None:
        """See `Standin.prepare`."""
        self._call("prepare")

    def put_video(self, video: Video) -> None:
        """See `Standin.put_video`."""
        self._call("put_video", **dataclasses.asdict(video))

    def block(self, mode: Block, egress: str | None = None, seconds: float | None = None) -> None:
        """See `Standin.block`."""
        self._call("block", mode=mode, egress=egress, seconds=seconds)

    def unblock(self, egress: str | None = None) -> None:
        """See `Standin.unblock`."""
        self._call("unblock", egress=egress)

    def cut(self, outage: Outage | None, egress: str | None = None) -> None:
        """See `Standin.cut`."""
        self._call("cut", outage=outage, egress=egress)

    def add_fault(self, fault: Fault) -> None:
        """See `Standin.add_fault`."""
        self._call("add_fault", **dataclasses.asdict(fault))

    def clear_faults(self, ytid: str | None = None) -> None:
        """See `Standin.clear_faults`."""
        self._call("clear_faults", ytid=ytid)

    def set_delay(self, seconds: float, egress: str | None = None) -> None:
        """See `Standin.set_delay`."""
        self._call("set_delay", seconds=seconds, egress=egress)

    def expire_urls(self) -> None:
        """See `Standin.expire_urls`."""
        self._call("expire_urls")

    def events(self, kind: str | None = None, ytid: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """See `Standin.events`."""
        found: list[dict[str, Any]] = self._call("events", kind=kind, ytid=ytid, since=since)
        return found

    def counters(self) -> dict[str, Any]:
        """See `Standin.counters`."""
        found: dict[str, Any] = self._call("counters")
        return found

    def clear_log(self) -> None:
        """See `Standin.clear_log`."""
        self._call("clear_log")

    def _call(self, method: str, **arguments: Any) -> Any:
        request = urllib.request.Request(f"{self._url}/{method}", json.dumps(arguments).encode(), method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ControlError(f"{method}: {error.read().decode()}") from error
        except OSError as error:
            raise ControlError(f"{method}: the stand-in at {self._url} does not answer: {error}") from error
