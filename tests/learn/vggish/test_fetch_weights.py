"""What is particular to the weights: MD5, advice. The transfer itself is tested in test_fetch_features.py."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, StopEarly, UsageError
from audioset_batch.learn.vggish.fetch import ReleasedFile, fetch_weights

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
        self.send_response(206 if start and self.server.status == 200 else self.server.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.server.body) - 1}/{len(self.server.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
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
    url = f"http://127.0.0.1:{server.server_port}/audioset/"
    return fetch_weights(folder, url, FILES, sleep=lambda seconds: None)


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


def test_a_wrong_file_is_fetched_anew(server: Server, tmp_path: Path):
    (tmp_path / "model.ckpt").write_bytes(b"x" * 100)
    (tmp_path / "model.ckpt.part").write_bytes(b"x" * 100)
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path):
    server.body = b"<html>log in</html>"
    with pytest.raises(InputRefused, match="MD5") as raised:
        fetch(server, tmp_path)
    assert FILES[0].md5 in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_refusal_and_silence_say_what_else_can_be_done(server: Server, tmp_path: Path):
    server.status = 404
    with pytest.raises(InputRefused, match=r"404.*copy model.ckpt to"):
        fetch(server, tmp_path)
    with pytest.raises(StopEarly, match=r"gave up.*copy model.ckpt to"):
        fetch_weights(tmp_path, "http://127.0.0.1:9", FILES, sleep=lambda seconds: None)
    with pytest.raises(InputRefused, match="expected a URL"):
        fetch_weights(tmp_path, "weights", FILES, sleep=lambda seconds: None)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="expected a folder"):
        fetch(server, tmp_path / "file")
