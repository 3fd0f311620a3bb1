"""HTTP/1.1 as far as the stand-in needs it: read a request, write an answer. Light, for benchmarks run beside it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, Final
from urllib.parse import parse_qs, urlsplit

STOP_POLL_SECONDS: Final = 0.1
"""How soon a server notices that it shall stop."""

_MAX_LINE: Final = 65_536
_MAX_HEADERS: Final = 200
_MAX_BODY: Final = 8 * 1024 * 1024


class BadRequest(Exception):
    """Not a request that this server reads; the connection is closed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target's path."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The target's query, the last value of each key."""
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def keeps_alive(self) -> bool:
        """Whether the client goes on with this connection."""
        return self.headers.get("connection", "").lower() != "close"


class HangUp(Exception):
    """Ends the connection; `reset` ends it by a TCP reset."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("reset" if reset else "close")
        self.reset = reset


def read_request(stream: BinaryIO) -> Request | None:
    """The next request of a connection, or None at its end.

    Raises:
        BadRequest: for anything else.
    """
    line = stream.readline(_MAX_LINE)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3:
        raise BadRequest(f"not a request line: {line[:80]!r}")
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_MAX_LINE)
        if line in (b"\r\n", b"\n", b""):
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    try:
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise BadRequest(f"Content-Length {headers['content-length']!r}") from error
    if length > _MAX_BODY:
        raise BadRequest(f"a body of {length} bytes")
    return Request(parts[0], parts[1], headers, stream.read(length) if length else b"")


def head(status: int, headers: Mapping[str, str | int]) -> bytes:
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(status: int, content_type: str, body: bytes, headers: Mapping[str, str | int] | None = None) -> bytes:
    """A whole answer."""
    return head(status, {"Content-Type": content_type, "Content-Length": len(body), **(headers or {})}) + body


def reset(connection: socket.socket) -> None:
    """End a connection by a TCP reset, though files made of it are still open."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
