"""A loopback file server that breaks off, refuses and forgets, as told."""

from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass, field


@dataclass
class Behaviour:
    """Files by path, and what goes wrong; `requests` records (path, Range header, status)."""

    files: dict[str, bytes]
    cut_after: list[int | None] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"one"'
    lengths: bool = True
    totals: bool = True
    requests: list[tuple[str, str, int]] = field(default_factory=list)


class FlakyServer(http.server.ThreadingHTTPServer):
    """Serves a `Behaviour`; `cut_after` and `statuses` are used up one entry per request."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/csv"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FlakyServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        how = self.server.behaviour
        name = self.path.rsplit("/", 1)[-1]
        wanted = self.headers.get("Range", "")
        status = how.statuses.pop(0) if how.statuses else None
        if status is None and name not in how.files:
            status = 404
        if status is not None:
            how.requests.append((self.path, wanted, status))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>error</html>")
            return
        body = how.files[name]
        begin = 0
        if wanted and how.ranges and self.headers.get("If-Range") == how.etag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin >= len(body):
                how.requests.append((self.path, wanted, 416))
                self.send_response(416)
                self.end_headers()
                return
        code = 206 if begin else 200
        how.requests.append((self.path, wanted, code))
        self.send_response(code)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body) if how.totals else '*'}")
        if how.lengths:
            self.send_header("Content-Length", str(len(body) - begin))
        if how.etag:
            self.send_header("ETag", how.etag)
        self.end_headers()
        cut = how.cut_after.pop(0) if how.cut_after else None
        self.wfile.write(body[begin:] if cut is None else body[begin : begin + cut])
        self.close_connection = True
