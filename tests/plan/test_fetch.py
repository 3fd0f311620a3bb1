"""Fetching against a server that breaks off."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from audioset_batch.errors import InputRefused, StopEarly, StorageUnusable
from audioset_batch.fetch import FetchOptions, NotThere, Unreachable, fetched, is_copy, join_source
from tests.support.flaky_server import Behaviour, FlakyServer

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
        return FetchOptions(retries=retries, sleep=self.seconds.append, timeout_seconds=5, length_required=False)


def fetch(source: str | tuple[str, ...], target: Path, options: FetchOptions) -> Path:
    with fetched(source, target, options) as file:
        assert file.path.name == f"{target.name}.part" and not target.exists()
    return target


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_breaks_are_resumed_where_they_happened(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000, 50_000, None]
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    assert [r[1:] for r in server.behaviour.requests] == [
        ("", 200),
        ("bytes=50000-", 206),
        ("bytes=100000-", 206),
    ]
    assert names(tmp_path) == ["a.csv"]


def test_a_later_run_continues(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable, match=r"gave up after 1 tries.*50,000 bytes are kept.*continues"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    assert names(tmp_path) == ["a.csv.part", "a.csv.part.json"]
    with fetched(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()) as file:
        assert file.path.read_bytes() == BODY and file.resumed_at == 50_000
    assert server.behaviour.requests[-1][1:] == ("bytes=50000-", 206)


def test_a_half_of_another_source_is_not_continued(server: FlakyServer, tmp_path: Path) -> None:
    """`gzip a.csv` gives a.csv.gz the time of a.csv, which may be all that a server tells versions by."""
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    with pytest.raises(NotThere):
        fetch(str(tmp_path / "nosuch"), tmp_path / "a.csv", Pauses().options())
    assert (tmp_path / "a.csv.part").stat().st_size == 50_000, "a path without a file costs nothing"
    server.behaviour.files = {"a.csv.gz": BODY[::-1]}
    sources = (f"{server.base}/a.csv", f"{server.base}/a.csv.gz")
    with fetched(sources, tmp_path / "a.csv", Pauses().options()) as file:
        assert file.path.read_bytes() == BODY[::-1] and file.resumed_at == 0


def test_a_part_that_is_longer_than_the_file_is_dropped(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    (tmp_path / "a.csv.part").write_bytes(bytes(len(BODY) + 5))
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    assert [status for *_, status in server.behaviour.requests] == [200, 416, 200]


def test_a_password_in_a_url_is_not_written_down(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.files["a.csv?key=hunter2"] = BODY
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv?key=hunter2", tmp_path / "a.csv", Pauses().options(retries=0))
    assert "hunter2" not in (tmp_path / "a.csv.part.json").read_text()


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
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
    with pytest.raises(Unreachable, match=r"gave up after 4 tries in a row .* HTTP 503.*Nothing has arrived"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", pauses.options(retries=3))
    assert names(tmp_path) == []
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
    with pytest.raises(Unreachable, match=r"refused.*HTTPS_PROXY"):
        fetch(f"{base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=1))


@pytest.mark.parametrize("host", ["a..b", "127.0.0.1:x", "[::1"])
def test_a_host_that_is_no_name_is_refused_at_once(tmp_path: Path, host: str) -> None:
    pauses = Pauses()
    with pytest.raises(InputRefused, match="not a URL"):
        fetch(f"http://{host}/a.csv", tmp_path / "a.csv", pauses.options())
    assert not pauses.seconds and names(tmp_path) == []


def test_an_answer_without_a_length_is_taken_only_if_its_content_is_checked(
    server: FlakyServer, tmp_path: Path
) -> None:
    server.behaviour.lengths = False
    with pytest.raises(InputRefused, match="no Content-Length"):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", FetchOptions())
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY


def test_a_range_of_unknown_total_is_whole_only_with_its_own_length(server: FlakyServer, tmp_path: Path) -> None:
    server.behaviour.totals = False
    server.behaviour.cut_after = [40_000, 20_000, None]
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    server.behaviour.cut_after = [40_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv", tmp_path / "b.csv", Pauses().options(retries=0))
    server.behaviour.lengths = False
    with pytest.raises(InputRefused, match="no Content-Length"):
        fetch(f"{server.base}/a.csv", tmp_path / "b.csv", replace(Pauses().options(), length_required=True))


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "fifo", "link of the note"])
def test_what_a_neighbour_puts_in_place_of_the_part_is_not_written_to(
    server: FlakyServer, tmp_path: Path, kind: str
) -> None:
    target, victim = tmp_path / "a.csv", tmp_path / "victim"
    victim.write_bytes(b"precious")
    part = tmp_path / "a.csv.part"
    if kind == "symbolic link":
        part.symlink_to(victim)
    elif kind == "hard link":
        part.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(part)
    else:
        (tmp_path / "a.csv.part.json").symlink_to(victim)
    assert fetch(f"{server.base}/a.csv", target, Pauses().options()).read_bytes() == BODY
    assert victim.read_bytes() == b"precious" and not target.is_symlink()
    assert names(tmp_path) == ["a.csv", "victim"]


def test_two_processes_do_not_write_into_one_file(server: FlakyServer, tmp_path: Path) -> None:
    with (tmp_path / "a.csv.part").open("a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StopEarly, match="another process"):
            fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert not server.behaviour.requests


def test_a_file_that_another_process_has_finished_meanwhile_is_left_alone(
    server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finishes and renames its part between our opening and locking that part."""
    target, part = tmp_path / "a.csv", tmp_path / "a.csv.part"
    part.write_bytes(b"finished by another process")
    lock = fcntl.flock

    def finished_first(*arguments: Any) -> None:
        if not (tmp_path / "theirs").exists():
            part.replace(tmp_path / "theirs")
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", finished_first)
    fetch(f"{server.base}/a.csv", target, Pauses().options())
    assert (tmp_path / "theirs").read_bytes() == b"finished by another process"


@pytest.mark.parametrize("keep", [False, True])
def test_what_the_caller_refuses_is_not_taken(server: FlakyServer, tmp_path: Path, keep: bool) -> None:
    (tmp_path / "a.csv").write_text("old")
    options = replace(Pauses().options(), keep_refused=keep)
    with (
        pytest.raises(InputRefused, match=r"a\.csv\.refused: bad" if keep else r"a\.csv\.part: bad"),
        fetched(f"{server.base}/a.csv", tmp_path / "a.csv", options) as file,
    ):
        raise InputRefused(f"{file.path}: bad")
    assert (tmp_path / "a.csv").read_text() == "old"
    assert names(tmp_path) == ["a.csv", "a.csv.refused"][: 1 + keep]
    with fetched(f"{server.base}/a.csv", tmp_path / "a.csv", options):
        pass
    assert names(tmp_path) == ["a.csv"] and (tmp_path / "a.csv").read_bytes() == BODY


def test_progress_is_reported(server: FlakyServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = FetchOptions(progress=lambda *place: seen.append(place))
    fetch(f"{server.base}/a.csv", tmp_path / "a.csv", options)
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_disk_that_fails_is_not_taken_for_the_network(server: FlakyServer, tmp_path: Path) -> None:
    pauses = Pauses()
    with pytest.raises(StorageUnusable, match="cannot write"):
        fetch(f"{server.base}/a.csv", tmp_path / "gone" / "a.csv", pauses.options())
    assert not pauses.seconds and not server.behaviour.requests


def test_a_full_disk_keeps_what_came(server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full := Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(StorageUnusable, match=r"cannot write.*No space left on device"):
            fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert full.called and "a.csv" not in names(tmp_path)
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY


def test_a_new_version_never_continues_the_bytes_of_the_old_one(
    server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between noting the new version and writing its first byte."""
    server.behaviour.cut_after = [50_000]
    with pytest.raises(Unreachable):
        fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options(retries=0))
    new = bytes(reversed(BODY))
    server.behaviour.files["a.csv"], server.behaviour.etag = new, '"two"'

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("audioset_batch.fetch._Part.write", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options())
    assert fetch(f"{server.base}/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == new


def test_proxy_variables_hold(server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.base.removesuffix("/v1/csv"))
    assert fetch("http://storage.invalid/v1/a.csv", tmp_path / "a.csv", Pauses().options()).read_bytes() == BODY
    assert server.behaviour.requests == [("http://storage.invalid/v1/a.csv", "", 200)]


def test_paths_and_file_urls(tmp_path: Path) -> None:
    folder = tmp_path / "with space %41"
    folder.mkdir()
    (folder / "a.csv").write_bytes(BODY)
    for base in (str(folder), folder.as_uri()):
        copy = fetch(join_source(base, "a.csv"), tmp_path / "a.csv", FetchOptions())
        assert copy.read_bytes() == BODY
        copy.unlink()
    with pytest.raises(NotThere, match="no such file"):
        fetch(join_source(str(folder), "b.csv"), tmp_path / "b.csv", FetchOptions())
    with pytest.raises(InputRefused, match="cannot copy"):
        fetch(str(folder), tmp_path / "b.csv", FetchOptions())
    assert not list(tmp_path.glob("b.csv*"))


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
