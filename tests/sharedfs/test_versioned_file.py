"""Compare-and-swap between real processes: no swap is lost, whichever process is killed, and when."""

import dataclasses
import multiprocessing
import os
import random
import secrets
import time
from pathlib import Path

import pytest

from audioset_batch.sharedfs import versioned_file as registers
from audioset_batch.sharedfs.clock import FsClock, read_clock
from audioset_batch.sharedfs.versioned_file import AtomicVersionedFile

FORK = multiprocessing.get_context("fork")


def increment(folder: Path, log: Path, stop_at: float) -> None:
    register = AtomicVersionedFile(folder, "n", keep=3)
    with log.open("ab", buffering=0) as file:
        while time.monotonic() < stop_at:
            version = register.read()
            value = 0 if version is None else int(version.data)
            if register.swap(version, b"%d\n" % (value + 1)) is not None:
                file.write(b".")


def test_no_swap_is_lost_though_writers_are_killed(tmp_path: Path) -> None:
    folder, end = tmp_path / "register", time.monotonic() + 4
    rng = random.Random(1)
    running, count = [], 0
    while time.monotonic() < end:
        while len(running) < 5:
            process = FORK.Process(target=increment, args=(folder, tmp_path / f"log{count}", end + 1))
            process.start()
            running.append(process)
            count += 1
        time.sleep(rng.uniform(0, 0.1))
        victim = running.pop(0)
        victim.kill()
        victim.join()
    for process in running:
        process.join(20)
        assert process.exitcode == 0
    swaps = sum(log.stat().st_size for log in tmp_path.glob("log*"))
    version = AtomicVersionedFile(folder, "n").read()
    assert version is not None
    assert swaps > 100
    # A writer killed between its swap and its log line, or told of failure for sure too late, may add to the value.
    assert swaps <= int(version.data) <= swaps * 1.2 + count
    assert len([p for p in folder.iterdir() if not p.name.endswith(".tmp")]) <= 8


def test_a_swap_from_an_old_value_fails_however_late_it_comes(tmp_path: Path) -> None:
    register = AtomicVersionedFile(tmp_path / "r", "n")
    first = register.swap(None, b"1\n")
    assert first is not None
    value = first
    for number in range(2, 6):
        new = register.swap(value, b"%d\n" % number)
        assert new is not None
        value = new
    assert register.numbers() == [5]
    assert register.swap(None, b"0\n") is None
    assert register.swap(first, b"99\n") is None
    current = register.read()
    assert current is not None and current.data == b"5\n"
    assert register.swap(current, b"6\n") is not None
    assert register.numbers() == [6]


def test_a_name_that_exists_again_is_not_the_version_of_before(tmp_path: Path) -> None:
    """Its file may even have the inode of before, which the filesystem gives out again."""
    register = AtomicVersionedFile(tmp_path, "n")
    first = register.swap(None, b"1\n")
    second = register.swap(first, b"2\n")
    third = register.swap(second, b"3\n")
    assert second is not None and third is not None
    again = tmp_path / "n.2"  # by a swap from the first, killed before it learned that it came too late
    again.write_bytes(secrets.token_hex(8).encode() + b" 2\n")
    stale = dataclasses.replace(second, inode=again.stat().st_ino)
    (tmp_path / "n.3").rename(tmp_path / "n.4")  # the third was succeeded, too, and its name is free
    assert register.swap(stale, b"wrong\n") is None
    assert register.numbers() == [2, 4], "what came too late leaves nothing"
    value = register.read()
    assert value is not None and value.data == b"3\n"
    assert register.swap(value, b"5\n") is not None
    assert register.numbers() == [5]


def test_leftovers_of_a_kill_are_removed_when_they_are_old(tmp_path: Path) -> None:
    old, young = tmp_path / ".n.aa.tmp", tmp_path / ".n.bb.tmp"
    for path in (old, young):
        path.write_text("")
    os.utime(old, (1, 1))
    assert AtomicVersionedFile(tmp_path, "n").swap(None, b"1\n") is not None
    assert not old.exists()
    assert young.exists()


def test_a_torn_version_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers, "_TORN_SECONDS", 0.1)
    register = AtomicVersionedFile(tmp_path, "n", keep=2)
    value = register.swap(None, b"1\n")
    (tmp_path / "n.2").write_bytes(b'{"a": ')
    read = register.read()
    assert read is not None and value is not None and (read.number, read.data) == (1, b"1\n")
    new = register.swap(read, b"3\n")
    assert new is not None and new.number == 3
    assert register.read() == new


def test_only_lines_are_values(tmp_path: Path) -> None:
    for data in (b"", b"1", b"1\n2\n"):
        with pytest.raises(ValueError, match="one line"):
            AtomicVersionedFile(tmp_path, "n").swap(None, data)


def test_the_clock_is_the_filesystems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe").write_text("")
    real = (tmp_path / "probe").stat().st_mtime
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert read_clock(tmp_path) == pytest.approx(real, abs=1)
    clock = FsClock(tmp_path)
    begun = clock.now()
    time.sleep(0.2)
    assert clock.now() - begun == pytest.approx(0.2, abs=0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["probe"]
