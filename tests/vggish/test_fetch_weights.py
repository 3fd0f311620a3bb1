"""Downloads from a loopback server: resumption, wrong bytes, refusals."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from audioset_batch.errors import InputRefused
from audioset_batch.vggish.fetch import ReleasedFile, fetch_weights

CONTENT = np.random.default_rng(0).bytes(3_000_000)
FILES = (ReleasedFile("model.ckpt", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()),)


class Server(ThreadingHTTPServer):
    """Sends `CONTENT`; `cut` bytes per answer at most, `body` in its place."""

    ranges: list[str | None]
    cut: int | None = None
    body: bytes = CONTENT
    status = 200

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the test."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = self.server.body[start:]
        status = self.server.status
        if wanted and status == 200:
            status = 206 if body else 416
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, folder: Path) -> list[Path]:
    return fetch_weights(folder, f"http://127.0.0.1:{server.server_port}/audioset/", FILES)


def test_downloads_once(server: Server, tmp_path: Path):
    (path,) = fetch(server, tmp_path / "new")
    assert path.read_bytes() == CONTENT
    fetch(server, tmp_path / "new")
    assert server.ranges == [None]
    assert [p.name for p in path.parent.iterdir()] == ["model.ckpt"]


def test_broken_connections_are_taken_up(server: Server, tmp_path: Path):
    server.cut = 1_000_000
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_an_earlier_download_goes_on(server: Server, tmp_path: Path):
    (tmp_path / "model.ckpt.part").write_bytes(CONTENT[:2_500_000])
    fetch(server, tmp_path)
    assert server.ranges == ["bytes=2500000-"]
    (tmp_path / "model.ckpt").rename(tmp_path / "model.ckpt.part")
    fetch(server, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == CONTENT


def test_wrong_leftover_is_fetched_anew(server: Server, tmp_path: Path):
    (tmp_path / "model.ckpt.part").write_bytes(b"x" * 100)
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path):
    server.body = b"<html>log in</html>"
    with pytest.raises(InputRefused, match="MD5") as raised:
        fetch(server, tmp_path)
    assert FILES[0].md5 in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_refusal_and_silence_are_named(server: Server, tmp_path: Path):
    server.status = 404
    with pytest.raises(InputRefused, match="404"):
        fetch(server, tmp_path)
    with pytest.raises(InputRefused, match="cannot be fetched"):
        fetch_weights(tmp_path, "http://127.0.0.1:9", FILES)
