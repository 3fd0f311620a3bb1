"""The way in: HTTP proxies that answer CONNECT themselves and speak TLS for YouTube's hosts."""

from __future__ import annotations

import contextlib
import functools
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import trustme

from audioset_batch.standin.delivery import SIGN_IN_PAGE, Outlet
from audioset_batch.standin.faults import Outage
from audioset_batch.standin.site import HOSTS, Site
from audioset_batch.standin.wire import STOP_POLL_SECONDS, BadRequest, HangUp, Request, answer, read_request, reset

_CONNECTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Authority:
    """A certificate authority of our own, and a server context for YouTube's hosts."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self._pem: bytes = authority.cert_pem.bytes()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = [name for host in HOSTS for name in (host, f"*.{host}")]
        authority.issue_cert(*names).configure_cert(self.context)

    def save(self, path: Path) -> None:
        """Write the certificate that clients must trust, in PEM."""
        path.write_bytes(self._pem)


@functools.cache
def _stranger() -> ssl.SSLContext:
    """A server context whose certificate nobody trusts."""
    return Authority().context


class Proxy(socketserver.ThreadingTCPServer):
    """One egress: a proxy on 127.0.0.1; one thread a connection.

    Args:
        egress: Its name.
        port: 0 for any free one.
        site: Answers the requests.
        context: For the TLS inside the tunnels.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, egress: str, port: int, site: Site, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.egress = egress
        self.site = site
        self.context = context
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(STOP_POLL_SECONDS,), name=f"standin-{egress}", daemon=True
        )

    @property
    def url(self) -> str:
        """What a client gives as its proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and end all connections."""
        self.shutdown()
        self.server_close()
        with self._lock:
            live = list(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def tracked(self, connection: socket.socket) -> Iterator[None]:
        """Ends the connection when the proxy stops, and in any case at the end."""
        with self._lock:
            self._live.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._live.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are nothing to print."""


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, BadRequest):
            outage = self.server.site.board.outage(self.server.egress)
            if outage in (Outage.REFUSED, Outage.SILENT):
                if outage is Outage.SILENT:
                    self.server.site.wait_for_end(lambda: self.server.site.board.outage(self.server.egress) is None)
                reset(connection)
                return
            host = self._tunnel(connection, outage)
            if host is None:
                return
            if outage is Outage.TLS:
                _stranger().wrap_socket(connection, server_side=True).close()
                return
            with self.server.context.wrap_socket(connection, server_side=True) as tls, self.server.tracked(tls):
                self._converse(tls, host)

    def _tunnel(self, connection: socket.socket, outage: Outage | None) -> str | None:
        """Read the CONNECT; the host that it asks for, or None after a refusal."""
        with connection.makefile("rb") as stream:
            request = read_request(stream)
        if request is None:
            return None
        host = request.target.rpartition(":")[0].lower()
        known = any(host == one or host.endswith(f".{one}") for one in HOSTS)
        if request.method != "CONNECT" or not known:
            message = f"this stand-in answers only CONNECT to {', '.join(HOSTS)}\n".encode()
            connection.sendall(answer(403, "text/plain", message, {"Connection": "close"}))
            return None
        if outage is Outage.DNS:
            connection.sendall(answer(503, "text/html", b"cannot find the host", {"Connection": "close"}))
            return None
        if outage is Outage.PORTAL:
            where = {"Connection": "close", "Location": "http://portal.invalid/login"}
            connection.sendall(answer(302, "text/html", SIGN_IN_PAGE, where))
            return None
        connection.sendall(_CONNECTED)
        return host

    def _converse(self, tls: ssl.SSLSocket, host: str) -> None:
        with tls.makefile("rb") as stream:
            while (request := self._next(tls, stream)) is not None:
                if self.server.site.board.outage(self.server.egress) is not None:
                    return
                try:
                    self.server.site.handle(request, host, self.server.egress, Outlet(tls.sendall))
                except HangUp as end:
                    if end.reset:
                        reset(tls)
                    return
                if not request.keeps_alive:
                    return

    def _next(self, tls: ssl.SSLSocket, stream: BinaryIO) -> Request | None:
        """The next request. Clients send a POST's headers and body apart, and wait for the acknowledgement in
        between, which Linux would otherwise hold back for 40 ms."""
        if hasattr(socket, "TCP_QUICKACK"):
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return read_request(stream)
