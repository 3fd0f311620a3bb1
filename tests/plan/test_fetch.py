"""Fetching against a server that breaks off."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from flaky_server import Behaviour, FlakyServer

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.plan.fetch import FetchOptions, NotThere, fetch, is_copy, join_source

BODY = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    server = FlakyServer(Behaviour({"a.csv": BODY}))
    yield server
    server.stop()


class Pauses:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def options(self, retries: int = 2) -> FetchOptions:
        return FetchOptions(retries=retries, sleep=self.seconds.append, timeout_seconds=5)


def test_breaks_are_resumed_where_they_happened(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000, 50_000, None]
    part = fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert part.read_bytes() == BODY and part.name == "a.csv.part"
    assert [r[1:] for r in server.behaviour.requests] == [
        ("", 200),
        ("bytes=50000-", 206),
        ("bytes=100000-", 206),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv.part"]


def test_a_later_run_continues(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(InputRefused, match=r"gave up after 1 tries.*continues"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    assert server.behaviour.requests[-1][1:] == ("bytes=50000-", 206)


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(InputRefused):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    server.behaviour.files["a.csv"], server.behaviour.etag = BODY[::-1], '"two"'
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, ""), (True, 'W/"weak"')])
def test_servers_that_cannot_resume(server: FlakyServer, tmp_path: Path, ranges: bool, etag: str) -> None:
    server.behaviour.ranges, server.behaviour.etag = ranges, etag
    server.behaviour.cut_after = [50_000]
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    assert [r[2] for r in server.behaviour.requests] == [200, 200]


def test_backoff_doubles_and_ends(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.statuses = [503, 429, 500, 503]
    pauses = Pauses()
    with pytest.raises(InputRefused, match=r"gave up after 4 tries in a row without progress: HTTP 503"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", pauses.options(retries=3))
    assert pauses.seconds == [1.0, 2.0, 4.0]


def test_progress_starts_the_count_again(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [20_000] * 5
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=1)).read_bytes() == BODY


def test_missing_and_forbidden(server: FlakyServer, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"b\.csv: not there \(HTTP 404\)"):
        fetch(f"{server.base}/b.csv", tmp_path / "b.csv", Pauses().options())
    server.behaviour.statuses = [403]
    with pytest.raises(InputRefused, match="HTTP 403"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert len(server.behaviour.requests) == 2


def test_nobody_listens(server: FlakyServer, tmp_path: Path) -> None:
    base = server.base
    server.stop()
    with pytest.raises(InputRefused, match=r"refused.*HTTPS_PROXY"):
        fetch(f"{base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=1))


def test_a_host_that_is_no_name_is_refused_at_once(tmp_path: Path) -> None:
    pauses = Pauses()
    with pytest.raises(InputRefused, match="not a URL"):
        fetch("http://a..b/a.csv", tmp_path / "a.csv", pauses.options())
    assert not pauses.seconds


def test_a_disk_that_fails_is_not_taken_for_the_network(server: FlakyServer, tmp_path: Path) -> None:
    pauses = Pauses()
    with pytest.raises(StorageUnusable, match="cannot write"):
        fetch(f"{server.base}/a.csv", tmp_path / "gone" / "a.csv", pauses.options())
    assert not pauses.seconds and len(server.behaviour.requests) == 1


def test_a_new_version_never_continues_the_bytes_of_the_old_one(
    server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between noting the new version and writing its first byte."""
    server.behaviour.cut_after = [50_000]
    with pytest.raises(InputRefused):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    new = bytes(reversed(BODY))
    server.behaviour.files["a.csv"], server.behaviour.etag = new, '"two"'

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("audioset_batch.plan.fetch._open", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == new


def test_proxy_variables_hold(server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.base.removesuffix("/v1/csv"))
    part = fetch("http://storage.invalid/v1/a.csv", tmp_path / "a.csv", Pauses().options())
    assert part.read_bytes() == BODY
    assert server.behaviour.requests == [("http://storage.invalid/v1/a.csv", "", 200)]


def test_paths_and_file_urls(tmp_path: Path) -> None:
    folder = tmp_path / "with space %41"
    folder.mkdir()
    (folder / "a.csv").write_bytes(BODY)
    for base in (str(folder), folder.as_uri()):
        part = fetch(join_source(base, "a.csv"), tmp_path / "a.csv", FetchOptions())
        assert part.read_bytes() == BODY
        part.unlink()
    with pytest.raises(NotThere, match="no such file"):
        fetch(join_source(str(folder), "b.csv"), tmp_path / "b.csv", FetchOptions())


def test_join() -> None:
    assert join_source("http://h/x/?k=v", "a.csv") == "http://h/x/a.csv?k=v"
    assert join_source("rel/dir", "a.csv") == "rel/dir/a.csv"


def test_whether_a_file_is_a_copy(tmp_path: Path) -> None:
    target, source = tmp_path / "target", tmp_path / "source"
    assert is_copy(str(source), target) is None, "there is nothing to compare"
    target.write_bytes(b"rows\n" * 100_000)
    for content, expected in ((b"rows\n" * 100_000, True), (b"rows\n" * 99_999, False), (b"rows\n" * 100_001, False)):
        source.write_bytes(content)
        assert is_copy(str(source), target) is expected
        source.write_bytes(gzip.compress(content))
        assert is_copy(source.as_uri(), target) is expected
    assert is_copy("http://127.0.0.1:1/source", target) is None, "a URL is not fetched for that"
    source.write_bytes(gzip.compress(target.read_bytes())[:-20])
    with pytest.raises(InputRefused, match="source: cannot be read"):
        is_copy(str(source), target)
    with pytest.raises(NotThere, match="no such file"):
        is_copy(str(tmp_path / "nosuch"), target)
