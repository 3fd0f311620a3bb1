"""Fetching from a loopback server that honours ranges, breaks off, and changes its mind."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.errors import InputRefused, StopEarly, StorageUnusable, UsageError
from audioset_batch.learn.features import fetch as module
from audioset_batch.learn.features.fetch import archive_url, fetch, rsync

BODY = bytes(range(256)) * 4000
PATH = "/v1/features/features.tar.gz"


class Server(http.server.ThreadingHTTPServer):
    body = BODY
    etag: str | None = '"one"'
    break_after: list[int]
    statuses: list[int]
    ranges: list[str | None]
    honour_ranges = True
    send_length = True


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200 or self.path != PATH:
            self.send_error(status if status != 200 else 404)
            return
        first = 0
        if wanted and server.honour_ranges and self.headers.get("If-Range") == server.etag:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= len(server.body) and first:
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.body) - 1}/{len(server.body)}")
        if server.send_length:
            self.send_header("Content-Length", str(len(server.body) - first))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        last = first + server.break_after.pop(0) if server.break_after else len(server.body)
        self.wfile.write(server.body[first:last])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(("127.0.0.1", 0), Handler)
    server.break_after, server.statuses, server.ranges = [], [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def go(server: Server, folder: Path) -> module.Fetched:
    return fetch(folder, base_url=url(server), sleep=lambda seconds: None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_plain_download_is_whole_and_says_that_the_checksum_is_another(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = fetch(tmp_path / "new", base_url=url(server), progress=lambda *place: seen.append(place))
    assert done.path.read_bytes() == BODY
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    assert done.as_published is False and done.resumed_at == 0
    assert seen[-1] == (len(BODY), len(BODY))
    assert names(tmp_path / "new") == ["features.tar.gz"]
    assert fetch(tmp_path / "new", base_url=url(server)).as_published is None
    assert len(server.ranges) == 1


def test_the_published_checksum_is_recognised(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(BODY).hexdigest())
    assert go(server, tmp_path).as_published is True


def test_broken_connections_are_resumed_without_fetching_anything_twice(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    assert go(server, tmp_path).path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000]
    server.statuses = [200, *[503] * 5]
    with pytest.raises(StopEarly, match="continues from there"):
        go(server, tmp_path)
    assert names(tmp_path) == ["features.tar.gz.part", "features.tar.gz.part.json"]
    done = go(server, tmp_path)
    assert done.resumed_at == 100_000 and done.path.read_bytes() == BODY
    assert server.ranges[-1] == "bytes=100000-"


@pytest.mark.parametrize("change", ["etag", "no ranges", "no note", "no etag"])
def test_halves_that_may_not_fit_are_fetched_again(server: Server, tmp_path: Path, change: str) -> None:
    server.etag = None if change == "no etag" else server.etag
    server.break_after = [100_000]
    server.statuses = [200, *[503] * 5]
    with pytest.raises(StopEarly):
        go(server, tmp_path)
    if change == "etag":
        server.etag, server.body = '"two"', BODY[::-1]
    elif change == "no ranges":
        server.honour_ranges = False
    elif change == "no note":
        (tmp_path / "features.tar.gz.part.json").unlink()
    assert go(server, tmp_path).path.read_bytes() == server.body


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "features.tar.gz.part").write_bytes(bytes(len(BODY) + 5))
    (tmp_path / "features.tar.gz.part.json").write_text(json.dumps({"version": server.etag}))
    assert go(server, tmp_path).path.read_bytes() == BODY


def test_refusals_say_what_the_server_said(server: Server, tmp_path: Path) -> None:
    server.statuses = [403]
    with pytest.raises(InputRefused, match=r"HTTP 403 .*--region"):
        go(server, tmp_path)
    assert "features.tar.gz" not in names(tmp_path)
    server.send_length = False
    with pytest.raises(InputRefused, match="no Content-Length"):
        go(server, tmp_path)


def test_nobody_listening_is_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(StopEarly, match="refused"):
        fetch(tmp_path, base_url="http://127.0.0.1:9/v1", sleep=lambda seconds: None)


def test_the_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy is asked for the full URL, which our handler does not know: 404 shows that the request came here.
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputRefused, match="HTTP 404"):
        fetch(tmp_path, base_url="http://features.invalid/v1", sleep=lambda seconds: None)
    assert len(server.ranges) == 1


def test_two_fetches_do_not_write_into_one_file(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "features.tar.gz.part").open("a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StopEarly, match="another process"):
            go(server, tmp_path)


def test_a_full_disk_is_for_later_and_keeps_what_came(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "features.tar.gz.part":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnusable, match="No space left on device"):
        go(server, tmp_path)
    assert "features.tar.gz.part" in names(tmp_path) and "features.tar.gz" not in names(tmp_path)


def test_regions_have_their_urls(tmp_path: Path) -> None:
    expected = "https://storage.googleapis.com/eu_audioset/youtube_corpus/v1/features/features.tar.gz"
    assert archive_url("eu") == expected
    with pytest.raises(UsageError, match="us, eu, asia"):
        fetch(tmp_path, "mars")


def test_gsutil_is_called_with_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UsageError, match="not on PATH"):
        rsync(tmp_path / "to")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gsutil"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/arguments"\nexit $(( $# - 5 ))\n')
    program.chmod(0o755)
    rsync(tmp_path / "to", "asia")
    assert (tmp_path / "arguments").read_text().split() == [
        "-m",
        "rsync",
        "-r",
        "gs://asia_audioset/youtube_corpus/v1/features",
        str(tmp_path / "to"),
    ]
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InputRefused, match="status 3"):
        rsync(tmp_path / "to")
